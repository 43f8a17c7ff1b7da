"""What a browser may say of one answer by the token that came with it, without an API key."""

import json
import time

import pytest
from raw_client import call

from llm_canary.gateway.feedback_token import FeedbackTokens
from llm_canary.routing.table import FeedbackRules, KeyRef

KEY = "sk-app-1234567890"
OTHER_SECRET = b"\xcd" * 32
SHOP = "https://shop.example"


@pytest.fixture
def keyed(gateway, monkeypatch):
    """Return the gateway with one key, which serves web pages of the shop."""
    monkeypatch.setenv("APP_KEY", KEY)
    gateway.swap(
        keys=(KeyRef(name="app", secret="${APP_KEY}"),),
        feedback=FeedbackRules(origins=(SHOP,)),
    )
    return gateway


def ask(gateway):
    """Return an answer of the gateway."""
    body = {"model": "bot", "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"authorization": f"Bearer {KEY}"}
    return call(gateway, "POST", "/v1/chat/completions", body, headers)


def token_of(reply):
    url = reply.headers["x-canary-feedback-url"]
    assert url.startswith("/v1/feedback?token=")
    return url.split("=", 1)[1]


def tell(gateway, body, *, method="POST", path="/v1/feedback", **headers):
    return call(gateway, method, path, body, headers)


def code_of(reply):
    return json.loads(reply.body)["error"]["code"] if reply.status != 202 else None


def outcome(gateway):
    """Return the outcome that was recorded, after the exchange that it is about."""
    return gateway.writer.wait(2)[1]


def test_the_url_of_an_answer_is_all_that_a_browser_needs(keyed):
    reply = ask(keyed)
    said = tell(keyed, {"value": "up"}, path=reply.headers["x-canary-feedback-url"])

    assert said.status == 202
    event = outcome(keyed)
    assert (event.target_kind, event.target_id) == ("request", reply.headers["x-request-id"])
    assert (event.metric, event.value) == ("thumbs", True)
    assert (event.key_name, event.for_any_key) == (None, False)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_can_be_said_again_replaced_and_taken_back(keyed, method):
    token = token_of(ask(keyed))
    assert tell(keyed, {"token": token, "value": True}).status == 202
    assert tell(keyed, {"token": token, "value": False}, method=method).status == 202

    last = keyed.writer.wait(3)[2]
    assert last.value is (None if method == "DELETE" else False)


def test_without_key_and_token_nothing_is_taken(keyed):
    reply = ask(keyed)
    said = tell(keyed, {"request_id": reply.headers["x-request-id"], "value": True})

    assert (said.status, code_of(said)) == (401, "invalid_api_key")


def tampered(token):
    """Return the token with each of its characters changed in turn."""
    return [
        token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        for at in range(len(token))
    ]


def test_no_changed_cut_or_foreign_token_is_taken(keyed):
    token = token_of(ask(keyed))
    foreign = FeedbackTokens(OTHER_SECRET, 60.0).make("0" * 32, time.time())
    wrong = [*tampered(token), token[:-1], token + "A", token + "=", "", "x", 7, foreign, {"a": 1}]
    for each in wrong:
        said = tell(keyed, {"token": each, "value": True})
        assert (said.status, code_of(said)) == (401, "invalid_token"), each

    assert len(keyed.writer.wait(1)) == 1  # the exchange alone


def test_an_expired_token_says_so(keyed):
    secret = keyed.state.snapshot.secret
    token = FeedbackTokens(secret, 60.0).make("0" * 32, time.time() - 61.0)
    said = tell(keyed, {"token": token, "value": True})

    assert (said.status, code_of(said)) == (401, "expired_token")


@pytest.mark.parametrize("target", ["request_id", "response_id", "session"])
def test_a_token_speaks_of_its_own_answer_only(keyed, target):
    said = tell(keyed, {"token": token_of(ask(keyed)), target: "0" * 32, "value": True})

    assert (said.status, code_of(said)) == (400, "invalid_value")


def test_it_serves_the_metrics_that_the_file_allows(keyed):
    token = token_of(ask(keyed))
    said = tell(keyed, {"token": token, "metric": "revenue", "value": 9})
    assert (said.status, code_of(said)) == (403, "metric_not_allowed")

    keyed.swap(feedback=FeedbackRules(metrics=("thumbs", "revenue")))
    assert tell(keyed, {"token": token, "metric": "revenue", "value": 9}).status == 202


def test_an_exchange_that_was_refused_has_no_token(keyed):
    reply = call(keyed, "POST", "/v1/chat/completions", {"model": "bot"}, {})

    assert reply.status == 401
    assert "token" not in reply.headers["x-canary-feedback-url"]


class TestPagesOfOtherOrigins:
    def test_a_page_that_the_file_names_may_ask_and_read(self, keyed):
        asked = call(keyed, "OPTIONS", "/v1/feedback", None, {"origin": SHOP})
        assert asked.status == 200
        assert asked.headers["access-control-allow-origin"] == SHOP
        assert "DELETE" in asked.headers["access-control-allow-methods"]

        for token in (token_of(ask(keyed)), "x"):
            said = tell(keyed, {"token": token, "value": True}, origin=SHOP)
            assert said.headers["access-control-allow-origin"] == SHOP
            assert said.headers["vary"] == "origin"

    @pytest.mark.parametrize("origin", ["https://evil.example", f"{SHOP}.evil", "null", ""])
    def test_another_may_not(self, keyed, origin):
        asked = call(keyed, "OPTIONS", "/v1/feedback", None, {"origin": origin})
        said = tell(keyed, {"token": "x", "value": True}, origin=origin)

        assert "access-control-allow-origin" not in asked.headers | said.headers
