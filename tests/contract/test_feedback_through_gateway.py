"""What apps say later about an answer: accepted at once, checked, and turned into events."""

import re

import pytest
from raw_client import call

from llm_canary.gateway import state
from llm_canary.routing.bucket import unit_hash
from llm_canary.routing.table import ContentStore

OURS = "0" * 31 + "a"


def send(gateway, body, method="POST", path="/v1/feedback", headers=None):
    return call(gateway, method, path, body, headers)


def test_a_thumb_is_accepted_before_any_request_is_known(gateway):
    reply = send(gateway, {"request_id": OURS, "value": True})

    assert reply.status == 202
    event = gateway.event()
    assert event.id == reply.json["id"]
    assert (event.target_kind, event.target_id) == ("request", OURS)
    assert (event.metric, event.value) == ("thumbs", True)
    assert event.occurred_at_s == event.at_s


@pytest.mark.parametrize(
    ("target", "kind", "target_id"),
    [
        ({"response_id": "chatcmpl-abc"}, "response", "chatcmpl-abc"),
        ({"response_id": "any id of a provider"}, "response", "any id of a provider"),
        ({"request_id": "chatcmpl-abc"}, "response", "chatcmpl-abc"),
        ({"session": "s-1"}, "session", unit_hash(b"\xab" * 32, "s-1")),
    ],
)
def test_an_answer_may_be_named_by_its_own_id_or_session(gateway, target, kind, target_id):
    assert send(gateway, target | {"value": 1}).status == 202
    assert (gateway.event().target_kind, gateway.event().target_id) == (kind, target_id)


def test_the_feedback_url_of_an_answer_needs_only_a_value(gateway):
    reply = send(gateway, {"value": "down"}, path=f"/v1/feedback?request_id={OURS}")

    assert reply.status == 202
    assert (gateway.event().target_id, gateway.event().value) == (OURS, False)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (True, True),
        (1, True),
        ("up", True),
        (False, False),
        (0, False),
        (-1, False),
        ("down", False),
    ],
)
def test_thumbs_are_up_or_down(gateway, value, kept):
    send(gateway, {"request_id": OURS, "value": value})

    assert gateway.event().value is kept


@pytest.mark.parametrize("value", [True, 0.25, 3, "billing"])
def test_other_metrics_take_truths_numbers_and_labels(gateway, value):
    send(gateway, {"request_id": OURS, "metric": "task", "value": value})

    assert gateway.event().value == value


def test_put_replaces_and_delete_revokes(gateway):
    send(gateway, {"request_id": OURS, "value": True})
    send(gateway, {"request_id": OURS, "value": False}, "PUT")
    reply = send(gateway, None, "DELETE", f"/v1/feedback?request_id={OURS}&metric=thumbs")

    assert reply.status == 202
    assert [event.value for event in gateway.writer.wait(3)] == [True, False, None]


def test_comments_are_redacted_and_keys_of_idempotency_kept(gateway):
    gateway.change(route={"content": ContentStore.REDACTED})
    body = {"request_id": OURS, "value": 1, "comment": "mail me: jo@x.example"}
    send(gateway, body, headers={"idempotency-key": "k-1"})

    assert gateway.event().idempotency_key == "k-1"
    assert re.fullmatch(r"mail me: \[EMAIL_[0-9a-f]{4}\]", gateway.event().comment)


def test_a_comment_is_not_kept_where_no_route_keeps_text(gateway):
    send(gateway, {"request_id": OURS, "value": 1, "comment": "so slow"})

    assert gateway.event().comment is None


def test_a_label_is_redacted_too(gateway):
    send(gateway, {"request_id": OURS, "metric": "asked_by", "value": "jo@x.example"})

    assert gateway.event().value.startswith("[EMAIL_")


def test_a_comment_for_which_there_is_no_room_is_left_out_and_counted(gateway, monkeypatch):
    monkeypatch.setattr(state, "_MAX_PENDING_BYTES", -1)
    gateway.change(route={"content": ContentStore.FULL})

    send(gateway, {"request_id": OURS, "value": 1, "comment": "so slow"})

    assert (gateway.event().value, gateway.event().comment) == (True, None)
    assert gateway.state.texts_dropped == 1


@pytest.mark.parametrize(
    "moment", ["2026-01-02T03:04:05Z", "2026-01-02T05:04:05+02:00", 1767323045]
)
def test_it_may_have_happened_earlier(gateway, moment):
    send(gateway, {"request_id": OURS, "value": 1, "occurred_at": moment})

    assert gateway.event().occurred_at_s == 1767323045


@pytest.mark.parametrize(
    ("change", "param"),
    [
        pytest.param({"request_id": None}, "request_id", id="no-target"),
        pytest.param({"response_id": "x"}, "response_id", id="two-targets"),
        pytest.param({"request_id": "guess"}, "request_id", id="no-id-of-ours"),
        pytest.param({"request_id": 5}, "request_id", id="target-a-number"),
        pytest.param({"request_id": "x" * 10_000}, "request_id", id="target-too-long"),
        pytest.param({"value": None}, "value", id="no-value"),
        pytest.param({"value": "maybe"}, "value", id="thumbs-maybe"),
        pytest.param({"value": 2}, "value", id="two-thumbs"),
        pytest.param({"value": []}, "value", id="value-a-list"),
        pytest.param({"metric": "m", "value": {"a": 1}}, "value", id="value-an-object"),
        pytest.param({"metric": "m", "value": "x" * 500}, "value", id="label-too-long"),
        pytest.param({"metric": "a b"}, "metric", id="metric-with-space"),
        pytest.param({"metric": 7}, "metric", id="metric-a-number"),
        pytest.param({"comment": "x" * 5_000}, "comment", id="comment-too-long"),
        pytest.param({"idempotency_key": ""}, "idempotency_key", id="empty-key"),
        pytest.param({"occurred_at": "yesterday"}, "occurred_at", id="no-date"),
        pytest.param({"occurred_at": "2026-01-02T03:04:05"}, "occurred_at", id="no-zone"),
        pytest.param({"occurred_at": 9e12}, "occurred_at", id="in-the-future"),
        pytest.param({"occurred_at": True}, "occurred_at", id="date-a-truth"),
        pytest.param({"thumb": 1}, "thumb", id="unknown-field"),
    ],
)
def test_a_wrong_field_is_named(gateway, change, param):
    reply = send(gateway, {"request_id": OURS, "value": True} | change)

    assert reply.status == 400 and reply.error["param"] == param
    assert param in reply.error["message"]
    assert not gateway.events


@pytest.mark.parametrize("body", [b"[]", b"7", b"{", b"", b'{"value": 1e999}', b"null"])
def test_what_is_no_feedback_is_a_400(gateway, body):
    assert send(gateway, body).status == 400


def test_a_huge_feedback_is_a_413(gateway):
    assert send(gateway, b"[" * 100_000).status == 413


ITEM = {"request_id": OURS, "metric": "task_completed", "value": True}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([ITEM, ITEM | {"value": False}], id="a-list"),
        pytest.param(
            b'{"request_id":"%s","metric":"task_completed","value":true}\n\n'
            b'{"request_id":"%s","metric":"task_completed","value":false}\n'
            % (OURS.encode(), OURS.encode()),
            id="one-per-line",
        ),
    ],
)
def test_many_outcomes_come_at_once(gateway, body):
    reply = send(gateway, body, path="/v1/outcomes")

    assert reply.status == 202 and reply.json["accepted"] == 2
    assert [event.value for event in gateway.writer.wait(2)] == [True, False]


def test_one_wrong_outcome_refuses_all_and_says_which(gateway):
    reply = send(gateway, [ITEM, ITEM | {"value": None}], path="/v1/outcomes")

    assert reply.status == 400 and reply.error["param"] == "[1].value"
    assert not gateway.events


@pytest.mark.parametrize("body", [b"", b"[]", b"[1]", b"nonsense", b'{"request_id":'])
def test_what_are_no_outcomes_is_a_400(gateway, body):
    assert send(gateway, body, path="/v1/outcomes").status == 400


def test_a_full_queue_says_try_again(gateway, monkeypatch):
    monkeypatch.setattr(gateway.writer, "put", lambda _: False)

    reply = send(gateway, {"request_id": OURS, "value": True})

    assert reply.status == 503 and reply.error["code"] == "overloaded"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/feedback", 202),
        ("GET", "/v1/models", 200),
        ("GET", "/healthz", 200),
        ("GET", "/nothing", 404),
        ("PATCH", "/v1/outcomes", 405),
        ("POST", "/v1/chat/completions", 400),
    ],
)
def test_no_browser_shows_or_keeps_an_answer_of_the_gateways_own(gateway, method, path, status):
    body = {"request_id": OURS, "value": True} if method == "POST" else None
    reply = send(gateway, body, method=method, path=path)

    assert reply.status == status
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
