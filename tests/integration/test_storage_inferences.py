from __future__ import annotations

from sqlalchemy.engine import Engine

from llm_canary.storage.engine import read_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories import inferences, outcomes
from llm_canary.telemetry.events import TargetKind
from tests.factories import NOON_S, make_inference, make_outcome


def test_an_inference_is_found_by_the_id_the_client_has(engine: Engine) -> None:
    event = make_inference(response_id="chatcmpl-7")
    SqlBatchSink(engine).write([event, make_inference(response_id="chatcmpl-8")])

    with read_session(engine) as session:
        assert inferences.by_response_id(session, "chatcmpl-7") == event
        assert inferences.by_response_id(session, "chatcmpl-9") is None
        assert inferences.by_request_id(session, "unknown") is None


def test_the_outcome_that_occurred_last_wins_whatever_came_last(engine: Engine) -> None:
    inference = make_inference(id="request-1")
    early = make_outcome(id="1", occurred_at_s=NOON_S, value=1.0)
    late = make_outcome(id="2", occurred_at_s=NOON_S + 2, value=0.0)
    tie = make_outcome(id="3", occurred_at_s=NOON_S + 2, value=None)
    sink = SqlBatchSink(engine)
    for event in (tie, late, early):
        sink.write([event])

    with read_session(engine) as session:
        assert outcomes.about(session, inference) == (early, late, tie)


def test_outcomes_are_found_by_each_kind_of_target(engine: Engine) -> None:
    inference = make_inference(id="a", response_id="b", session_hash="c")
    mine = [
        make_outcome(target_id="a"),
        make_outcome(target_kind=TargetKind.RESPONSE, target_id="b"),
        make_outcome(target_kind=TargetKind.SESSION, target_id="c"),
    ]
    SqlBatchSink(engine).write([*mine, make_outcome(target_id="b")])

    with read_session(engine) as session:
        found = outcomes.about(session, inference)

    assert {each.id for each in found} == {each.id for each in mine}
