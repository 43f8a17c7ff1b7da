from __future__ import annotations

import pytest
from sqlalchemy.engine import Engine

from llm_canary.storage.engine import read_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories import inferences
from llm_canary.telemetry.events import TargetKind, Terminal
from tests.factories import NOON_S, make_inference, make_outcome


def test_an_inference_is_found_by_the_id_the_client_has(engine: Engine) -> None:
    event = make_inference(response_id="chatcmpl-7")
    SqlBatchSink(engine).write([event, make_inference(response_id="chatcmpl-8")])

    with read_session(engine) as session:
        assert inferences.by_response_id(session, "chatcmpl-7") == event
        assert inferences.by_response_id(session, "chatcmpl-9") is None
        assert inferences.by_request_id(session, "unknown") is None


def test_many_are_found_at_once_and_unknown_ones_are_missing(engine: Engine) -> None:
    events = [make_inference() for _ in range(3)]
    SqlBatchSink(engine).write(events)

    with read_session(engine) as session:
        found = inferences.by_request_ids(session, [*(event.id for event in events), "unknown"])

    assert found == {event.id: event for event in events}


def test_recent_ones_come_newest_first(engine: Engine) -> None:
    old, middle, new = (make_inference(at_s=NOON_S + second) for second in range(3))
    other = make_inference(at_s=NOON_S + 9, rollout_id="rollout-2")
    SqlBatchSink(engine).write([middle, new, old, other])

    with read_session(engine) as session:
        assert inferences.recent(session, "rollout-1", limit=2) == [new, middle]
        assert inferences.recent(session, limit=1) == [other]
        assert inferences.count(session) == 4


def test_only_comparable_responses_are_counted_by_arm(engine: Engine) -> None:
    SqlBatchSink(engine).write(
        [
            make_inference(),
            make_inference(),
            make_inference(terminal=Terminal.TIMEOUT),
            make_inference(assigned="control"),
            make_inference(eligible=False),
            make_inference(rollout_id="rollout-2"),
        ]
    )

    with read_session(engine) as session:
        counts = inferences.count_by_arm(session, "rollout-1")

    assert counts == {
        ("canary", Terminal.COMPLETED): 2,
        ("canary", Terminal.TIMEOUT): 1,
        ("control", Terminal.COMPLETED): 1,
    }


def test_the_outcome_that_occurred_last_wins_whatever_came_last(engine: Engine) -> None:
    early = make_outcome(id="1", occurred_at_s=NOON_S, value=True)
    late = make_outcome(id="2", occurred_at_s=NOON_S + 2, value=False)
    tie = make_outcome(id="3", occurred_at_s=NOON_S + 2, value=None)
    sink = SqlBatchSink(engine)
    for event in (tie, late, early):
        sink.write([event])

    with read_session(engine) as session:
        found = inferences.outcomes_for(session, "thumbs", request_ids=["request-1"])

    records = found[TargetKind.REQUEST, "request-1"]
    assert [record.id for record in records] == ["3", "2", "1"]


def test_outcomes_are_found_by_each_kind_of_target(engine: Engine) -> None:
    SqlBatchSink(engine).write(
        [
            make_outcome(target_id="a"),
            make_outcome(target_kind=TargetKind.RESPONSE, target_id="b"),
            make_outcome(target_kind=TargetKind.SESSION, target_id="c"),
            make_outcome(target_id="b"),
            make_outcome(target_id="a", metric="task_completed"),
        ]
    )

    with read_session(engine) as session:
        found = inferences.outcomes_for(
            session, "thumbs", request_ids=["a"], response_ids=["b"], session_hashes=["c"]
        )

    assert {key: len(records) for key, records in found.items()} == {
        (TargetKind.REQUEST, "a"): 1,
        (TargetKind.RESPONSE, "b"): 1,
        (TargetKind.SESSION, "c"): 1,
    }


def test_more_targets_than_a_statement_takes_are_looked_up(engine: Engine) -> None:
    SqlBatchSink(engine).write([make_outcome(target_id="39999")])

    with read_session(engine) as session:
        found = inferences.outcomes_for(
            session, "thumbs", request_ids=[str(number) for number in range(40_000)]
        )

    assert len(found) == 1


@pytest.mark.parametrize(
    ("changes", "is_replaced"),
    [
        pytest.param({"at_s": NOON_S + 2}, True, id="the-sdk-tried-again"),
        pytest.param({"at_s": NOON_S + 17}, False, id="too-late-to-be-the-retry"),
        pytest.param({"at_s": NOON_S - 1}, False, id="an-earlier-attempt-replaces-nothing"),
        pytest.param({"at_s": NOON_S + 2, "retry_count": 0}, False, id="the-user-asked-again"),
        pytest.param({"at_s": NOON_S + 2, "body_hash": "other"}, False, id="another-question"),
        pytest.param({"at_s": NOON_S + 2, "unit_hash": "other"}, False, id="another-user"),
    ],
)
def test_which_failure_a_retry_replaced(
    engine: Engine, changes: dict[str, object], is_replaced: bool
) -> None:
    failure = make_inference(status=500, latency_ms=1_000.0)
    SqlBatchSink(engine).write([failure, make_inference(**{"retry_count": 1} | changes)])

    with read_session(engine) as session:
        replaced = inferences.retried(session, [failure])

    assert replaced == ({failure.id} if is_replaced else set())
