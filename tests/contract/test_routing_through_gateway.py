"""Which arm serves whom, as a client and the telemetry see it."""

import json
import re

import pytest
from raw_client import call, chat
from running_gateway import make_split

from llm_canary.gateway import state
from llm_canary.routing.table import KeyRef, Variant


@pytest.fixture(autouse=True)
def upstream_that_answers(upstream):
    async def script(got, client):
        message = {"role": "assistant", "content": got.json["model"]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        await client.answer({"id": "chatcmpl-9", "model": "real", "choices": [choice]})

    upstream.script = script


def served(gateway, headers=None, **fields):
    return chat(gateway, headers, **fields).json["choices"][0]["message"]["content"]


def test_without_a_rollout_control_serves_and_nothing_is_compared(gateway):
    assert served(gateway) == "model-a"

    event = gateway.event()
    assert (event.assigned, event.reason, event.eligible) == ("control", "no_rollout", False)
    assert event.unit_hash and event.unit_source == "body:user"


def test_a_running_split_serves_both_arms_and_sticks(gateway):
    gateway.change(route={"split": make_split(0.5)})

    arms = [served(gateway, user=f"u{i % 20}") for i in range(40)]

    assert arms[:20] == arms[20:] and set(arms) == {"model-a", "model-b"}
    for event in gateway.writer.wait(40):
        assert event.eligible and event.reason == "hash"
        assert (event.rollout_id, event.stage, event.share) == ("rollout-1", "initial", 0.5)
        assert event.settle_s == 15.0  # scoring waits for a retry by the client
        assert event.model == {"control": "model-a", "canary": "model-b"}[event.served]


def test_the_same_user_in_header_and_body_is_one_unit(gateway):
    for headers, fields in (({"x-canary-user": "jané".encode()}, {}), ({}, {"user": "jané"})):
        chat(gateway, headers, **fields)

    first, second = gateway.writer.wait(2)
    assert first.unit_hash == second.unit_hash
    assert (first.unit_source, second.unit_source) == ("header:x-canary-user", "body:user")
    assert "jan" not in repr(gateway.events)


@pytest.mark.parametrize(
    ("body", "source"),
    [
        ({"user": 42}, "body:user"),
        ({"user": "", "metadata": {"user_id": "m"}}, "body:metadata.user_id"),
        ({"user": None, "metadata": {"user_id": "m"}}, "body:metadata.user_id"),
        ({"user": {"a": 1}, "metadata": "text"}, "conversation"),
        ({"user": True, "metadata": {"user_id": ["m"]}}, "conversation"),
    ],
)
def test_only_texts_and_whole_numbers_name_a_user(gateway, body, source):
    gateway.change(route={"unit": ("body:user", "body:metadata.user_id")})

    chat(gateway, **body)

    assert gateway.event().unit_source == source


def test_a_conversation_without_a_user_keeps_its_arm(gateway):
    gateway.change(route={"split": make_split(0.5)})
    system, hi = {"role": "system", "content": "s"}, {"role": "user", "content": "Hi"}
    turns = [[system, hi], [system, hi, {"role": "assistant", "content": "a"}, hi]]
    other = [system, {"role": "user", "content": "Ho"}]

    for messages in (*turns, other):
        chat(gateway, messages=messages, user=None)

    first, later, another = gateway.writer.wait(3)
    assert first.unit_hash == later.unit_hash != another.unit_hash
    assert first.unit_source == "conversation" and first.eligible


def test_anonymous_requests_may_stay_on_control(gateway):
    gateway.change(route={"anonymous": "control", "split": make_split(1.0)})

    assert served(gateway, user=None) == "model-a"
    event = gateway.event()
    assert (event.reason, event.eligible, event.unit_hash) == ("anonymous", False, None)


def test_a_pin_serves_what_it_says_and_is_never_compared(gateway):
    gateway.change(route={"split": make_split(0.0)})
    opaque = chat(gateway, {"x-canary-pin": "canary"}).headers["x-canary-variant"]

    assert served(gateway, {"x-canary-pin": opaque}) == "model-b"
    assert served(gateway, {"x-canary-pin": "control"}) == "model-a"
    assert {event.reason for event in gateway.writer.wait(3)} == {"pin"}
    assert not any(event.eligible for event in gateway.events)


def test_a_pin_that_names_nothing_is_a_400(gateway):
    reply = chat(gateway, {"x-canary-pin": "canary"})

    assert reply.status == 400 and reply.error["code"] == "unknown_variant"


def test_variant_ids_are_opaque_and_differ(gateway):
    gateway.change(route={"split": make_split(0.5)})

    ids = {}
    for i in range(20):
        reply = chat(gateway, user=f"u{i}")
        ids.setdefault(reply.headers["x-canary-variant"], set()).add(
            reply.json["choices"][0]["message"]["content"]
        )
        assert reply.headers["x-canary-rollout"] == "support-v13"
        assert reply.headers["x-canary-feedback-url"].endswith(reply.headers["x-request-id"])

    assert len(ids) == 2 and all(len(models) == 1 for models in ids.values())
    assert not any("canary" in name or "control" in name for name in ids)


def test_who_is_not_eligible_stays_on_control(gateway):
    rules = {"geo": ["de", "at"], "account_age_days": {"min": 30}}
    segments = {"geo": "header:x-canary-segment-geo"}
    gateway.change(route={"split": make_split(1.0, eligible=rules), "segments": segments})
    age = "x-canary-segment-account-age-days"

    assert served(gateway, {"x-canary-segment-geo": "de", age: "31"}) == "model-b"
    assert served(gateway, {"x-canary-segment-geo": "fr", age: "31"}) == "model-a"
    assert served(gateway, {"x-canary-segment-geo": "de", age: "29"}) == "model-a"
    assert served(gateway, {"x-canary-segment-geo": "de"}) == "model-a"
    first, second, *_ = gateway.writer.wait(4)
    assert (first.reason, second.reason) == ("hash", "ineligible")
    assert first.segments == {"geo": "de", "account_age_days": "31"}


def test_segments_are_recorded(gateway):
    declared = {
        "tier": "header:x-tier",
        "language": "detect",
        "input_length": "first_message",
        "hour": "derive",
    }
    gateway.change(route={"segments": declared})
    text = "Wie kann ich mein Passwort ändern und ist das sicher?"

    chat(gateway, {"x-tier": "gold"}, messages=[{"role": "user", "content": text}])

    segments = gateway.event().segments
    assert segments.pop("hour").isdigit()
    assert segments == {"tier": "gold", "language": "de", "input_length": "short"}


def test_no_log_serves_but_neither_compares_nor_keeps_content(gateway):
    gateway.change(route={"split": make_split(1.0), "content": "full"})

    assert served(gateway, {"x-canary-no-log": "1"}) == "model-b"

    event = gateway.event()
    assert event.reason == "hash" and not event.eligible
    assert (
        event.request_text is event.response_text is event.content_hash is event.body_hash is None
    )


def test_no_log_keeps_no_hash_of_the_conversation(gateway):
    gateway.change(route={"content": "full"})

    messages = [{"role": "user", "content": "Hi"}]
    call(gateway, body={"model": "bot", "messages": messages}, headers={"x-canary-no-log": "1"})

    assert (gateway.event().unit_source, gateway.event().unit_hash) == ("conversation", None)


def test_a_hidden_segment_is_recorded_as_a_hash_and_still_decides(gateway):
    split = make_split(1.0, eligible={"gender": ["female"]})
    gateway.change(
        route={
            "split": split,
            "segments": {"gender": "header:x-gender"},
            "hash_segments": ("gender",),
        }
    )

    arms = [served(gateway, {"x-gender": gender}) for gender in ("female", "male", "female")]

    assert arms == ["model-b", "model-a", "model-b"]
    values = [event.segments["gender"] for event in gateway.writer.wait(3)]
    assert values[0] == values[2] != values[1]
    assert all(re.fullmatch("h-[0-9a-f]{12}", value) for value in values)


def test_a_text_that_nobody_has_time_to_redact_is_dropped_and_the_facts_stay(gateway, monkeypatch):
    monkeypatch.setattr(state, "_MAX_PENDING_BYTES", -1)
    gateway.change(route={"content": "redacted"})

    served(gateway, messages=[{"role": "user", "content": "I am jo@x.example"}])

    event = gateway.event()
    assert event.request_text is event.response_text is None
    assert event.completion_tokens is not None and event.terminal == "completed"
    assert gateway.state.texts_dropped == 1


def test_a_prompt_becomes_the_first_system_message_and_params_override(gateway, upstream):
    control = Variant(
        upstream="up",
        model="model-a",
        prompt="support/v12",
        prompt_hash="p12",
        prompt_text='Be "kind".\nÜber alles.',
        params={"temperature": 0.2, "model": "never", "stop": ["x"]},
    )
    gateway.change(route={"control": control})
    own = {"role": "system", "content": "mine"}
    hi = {"role": "user", "content": "Hi"}

    chat(gateway, messages=[own, hi], temperature=1.5, top_k=3)

    sent = upstream.received[0].json
    assert sent["messages"] == [{"role": "system", "content": control.prompt_text}, own, hi]
    assert (sent["temperature"], sent["stop"], sent["top_k"]) == (0.2, ["x"], 3)
    assert sent["model"] == "model-a"
    assert (gateway.event().prompt, gateway.event().prompt_hash) == ("support/v12", "p12")


def test_the_messages_bytes_are_not_touched(gateway, upstream):
    messages = (
        '[ {"role":"user" , "content":"caf\\u00e9 \\/ 1.0e2","n":1.0e2, "x":12345678901234567890} ]'
    )
    body = f'{{"model":"bot", "messages":{messages}, "user":"u","stream":false}}'

    call(gateway, body=body.encode())

    assert messages.encode() in upstream.received[0].body


def test_a_request_that_needs_no_change_travels_byte_for_byte(gateway, upstream):
    gateway.change(route={"control": Variant(upstream="up", model="bot")})
    body = b'{ "messages":[{"content":"x","role":"user"}] ,"model":"bot","a":1.50, "a":2 }'

    call(gateway, body=body)

    assert upstream.received[0].body == body


def test_a_default_upstream_gets_unknown_models_untouched(gateway, upstream):
    gateway.swap(default_upstream="up")
    body = json.dumps(
        {"model": "gpt-9", "messages": [{"role": "user", "content": "x"}], "stream": True}
    )

    reply = call(gateway, body=body.encode())

    assert reply.status == 200 and upstream.received[0].body == body.encode()
    event = gateway.event()
    assert (event.route, event.upstream, event.model) == (None, "up", "gpt-9")
    assert (event.assigned, event.eligible) == (None, False)


def test_a_swap_changes_the_next_request(gateway):
    gateway.change(route={"split": make_split(1.0)})
    assert served(gateway) == "model-b"

    gateway.change(route={"split": None})

    assert served(gateway) == "model-a"


def test_cost_is_priced_in_nano_dollars(gateway, upstream):
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 40},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }

    async def script(_, client):
        await client.answer({"choices": [], "usage": usage})

    upstream.script = script

    chat(gateway)

    event = gateway.event()
    assert event.cost_nanousd == 60 * 100 + 40 * 50 + 10 * 400
    assert event.uncached_cost_nanousd == 100 * 100 + 10 * 400
    assert (event.cached_tokens, event.reasoning_tokens) == (40, 4)
    assert event.usage_source == "provider"


def test_without_a_price_the_cost_is_unknown_not_zero(gateway):
    gateway.change(route={"control": Variant(upstream="up", model="m")})

    chat(gateway)

    assert gateway.event().cost_nanousd is None


@pytest.mark.parametrize(
    ("policy", "request_part", "answer"),
    [
        ("none", None, None),
        ("hash", None, None),
        ("redacted", "[EMAIL_", "model-a"),
        ("full", "a@b.example", "model-a"),
    ],
)
def test_content_is_kept_as_the_route_says(gateway, policy, request_part, answer):
    gateway.change(route={"content": policy})

    chat(gateway, messages=[{"role": "user", "content": "I am a@b.example"}])

    event = gateway.event()
    assert event.response_text == answer
    assert (event.content_hash is None) == (policy == "none")
    assert (event.request_text is None) == (request_part is None)
    if request_part:
        assert request_part in event.request_text
    if policy != "full":
        assert "a@b.example" not in repr(event)


@pytest.fixture
def keyed(gateway, monkeypatch):
    monkeypatch.setenv("APP_KEY", "app-secret")
    monkeypatch.setenv("OPS_KEY", "ops-secret")
    keys = (
        KeyRef(name="app", secret="${APP_KEY}"),
        KeyRef(name="ops", secret="${OPS_KEY}", may_pin=True),
        KeyRef(name="lost", secret="${NO_SUCH_KEY_HERE}"),
    )
    gateway.swap(keys=keys)
    return gateway


@pytest.mark.parametrize(
    "value", [None, "Bearer nope", "Bearer ", "Basic app-secret", "app-secret"]
)
def test_a_missing_or_wrong_key_is_a_401(keyed, value):
    reply = chat(keyed, {"authorization": value} if value else {})

    assert reply.status == 401 and reply.error["code"] == "invalid_api_key"
    assert (keyed.event().terminal, keyed.event().key_name) == ("rejected", None)


def test_a_right_key_opens_from_anywhere_and_is_named(keyed):
    headers = {
        "authorization": "Bearer app-secret",
        "host": "gw.example",
        "origin": "https://x.example",
    }

    assert chat(keyed, headers).status == 200
    assert keyed.event().key_name == "app"
    assert "app-secret" not in repr(keyed.event())


def test_only_a_key_with_the_right_may_pin(keyed):
    refused = chat(keyed, {"authorization": "Bearer app-secret", "x-canary-pin": "control"})
    allowed = chat(keyed, {"authorization": "Bearer ops-secret", "x-canary-pin": "control"})

    assert refused.status == 403 and refused.error["code"] == "pin_not_allowed"
    assert allowed.status == 200
