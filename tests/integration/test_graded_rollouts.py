"""The simulated rollouts of tests/support/graded_rollouts.py come to the same on SQL."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.engine import Engine

from llm_canary.clock import utc
from llm_canary.ids import uuid7
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.models.grading import Sample
from tests.support.graded_rollouts import (
    JUDGE,
    LAWS,
    NAME,
    RUBRIC,
    Answer,
    InMemory,
    Law,
    Rollout,
    answers,
    drawn,
)


@pytest.mark.parametrize("law", ["pausing", "by_arm_in_turn"])
def test_what_is_read_in_memory_is_what_sql_says(engine: Engine, law: str) -> None:
    known = answers("pandalm-7b")
    earlier, own = drawn(LAWS[law], known["llama-7b"], known["bloom-7b"], 1)
    with write_session(engine) as session:
        rows = [_row(each, LAWS[law], "earlier") for each in earlier]
        session.execute(insert(Sample), [*rows, *(_row(each, LAWS[law], "r") for each in own)])
    in_memory = Rollout(LAWS[law], own, InMemory(earlier, own, LAWS[law]))
    with read_session(engine) as session:
        by_sql = Rollout(LAWS[law], own, session)
        assert list(by_sql.looks())
    with InMemory.read():
        assert list(in_memory.looks())

    for name in (NAME, JUDGE):
        assert by_sql.sums(name).n_canary > 100
        assert by_sql.sums(name) == pytest.approx(in_memory.sums(name))
    assert by_sql.rollup.totals == in_memory.rollup.totals


def _row(answer: Answer, law: Law, rollout_id: str) -> dict[str, Any]:
    replied = answer.reviewed_s is not None
    return {
        "id": uuid7(),
        "inference_id": answer.id if rollout_id == "r" else f"{rollout_id}{answer.id}",
        "rubric_id": RUBRIC,
        "rubric_text_id": "t",
        "rollout_id": rollout_id,
        "arm": "canary" if answer.canary else "control",
        "stratum": "all",
        "stream": "probability",
        "rate": 1.0,
        "inclusion": 1.0,
        "drawn_at": utc(answer.at_s),
        "closes_at": utc(answer.closes_s),
        "state": "judged",
        "attempts": 1,
        "ready_at": utc(answer.at_s),
        "judge_id": "j",
        "judge_score": answer.judge,
        "review_stream": "probability" if answer.asked else None,
        "review_rate": law.review_rate,
        "reviews_wanted": int(answer.asked),
        "review_state": ("done" if replied else "open") if answer.asked else None,
        "human_score": answer.human if replied else None,
        "reviewed_at": utc(answer.reviewed_s) if answer.reviewed_s is not None else None,
    }
