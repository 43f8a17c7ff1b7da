"""What happened to one request can be read back, from either database."""

import pytest

from llm_canary.api.app import create_api
from llm_canary.clock import ManualClock
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.telemetry.events import TargetKind
from tests.factories import NOON_S, make_inference, make_outcome
from tests.support.asgi import AsgiClient
from tests.support.control import api_services


@pytest.fixture
def client(engine):
    return AsgiClient(create_api(api_services(engine, ManualClock())))


@pytest.fixture
def inference(engine):
    stored = make_inference(response_id="chatcmpl-9", session_hash="5e55")
    SqlBatchSink(engine).write([stored])
    return stored


@pytest.mark.parametrize("name", ["id", "response_id"])
def test_a_request_is_found_by_our_id_and_by_the_providers(client, inference, name):
    found = client.get(f"/api/v1/requests/{getattr(inference, name)}").json()

    assert found["inference"]["id"] == inference.id
    assert found["inference"]["latency_ms"] == inference.latency_ms
    assert found["outcomes"] == []


def test_everything_said_about_it_is_there_and_the_last_word_is_last(client, engine, inference):
    said = [
        make_outcome(target_id=inference.id, value=False, occurred_at_s=NOON_S + 9),
        make_outcome(target_id=inference.id, value=True, occurred_at_s=NOON_S + 5),
        make_outcome(
            target_kind=TargetKind.RESPONSE, target_id="chatcmpl-9", occurred_at_s=NOON_S + 6
        ),
        make_outcome(target_kind=TargetKind.SESSION, target_id="5e55", occurred_at_s=NOON_S + 7),
        make_outcome(target_id="another-request"),
        make_outcome(target_kind=TargetKind.SESSION, target_id=inference.id),
    ]
    SqlBatchSink(engine).write(said)

    outcomes = client.get(f"/api/v1/requests/{inference.id}").json()["outcomes"]

    assert [each["occurred_at_s"] - NOON_S for each in outcomes] == [5, 6, 7, 9]
    assert outcomes[-1]["value"] == 0.0


def test_prompt_and_answer_are_there_only_when_they_were_stored(client, engine, inference):
    full = make_inference(content_store="full", request_text="hello", response_text="world")
    SqlBatchSink(engine).write([full])

    kept = client.get(f"/api/v1/requests/{full.id}").json()["inference"]
    bare = client.get(f"/api/v1/requests/{inference.id}").json()["inference"]

    assert (kept["request_text"], kept["response_text"]) == ("hello", "world")
    assert "request_text" not in bare


def test_an_unknown_request_is_404_and_says_that_new_ones_take_a_second(client):
    answer = client.get("/api/v1/requests/nope")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "take a second" in answer.json()["error"]["message"]
