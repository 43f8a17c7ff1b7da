"""A worker that has to end in the middle of a slow batch; and what one batch knows of the last."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock
from llm_canary.judging.build import Judges
from llm_canary.judging.grader import Escalations
from llm_canary.judging.judgement import Judgement, Status
from llm_canary.judging.worker import JudgeWorker, _Kit
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import AskedCriterion
from llm_canary.storage.repositories.sample_facts import ArmSamples
from tests.integration.test_judge_worker import (
    CLOCK_S,
    KIND,
    TEXT,
    OddJudge,
    counts,
    drain,
    fill,
    judgements,
    worker_of,
)


@dataclass
class SlowJudge(OddJudge):
    """Answers the first three at once and the others never."""

    async def grade(self, sample: Sample, criteria: Sequence[AskedCriterion]) -> Judgement:
        given = await super().grade(sample, criteria)
        if len(self.asked) > 3:
            await asyncio.sleep(3_600)
        return given


def test_a_worker_that_ends_keeps_what_is_graded_and_gives_the_rest_back(engine: Engine) -> None:
    fill(engine, 8)
    judge = SlowJudge()
    worker = worker_of(engine, judge, ManualClock(CLOCK_S), limit_nanousd=1_000_000)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            worker.step()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 20
    while len(judge.asked) < 8:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    worker.end()
    thread.join(20)
    assert not thread.is_alive()
    worker.close()
    left = counts(engine)
    with engine.connect() as connection:
        noted = connection.execute(text("SELECT judged, reserved_nanousd FROM judging_day")).one()
    begins_another = worker.step()
    other = worker_of(engine, OddJudge(), ManualClock(CLOCK_S))
    drain(other)
    other.close()

    assert raised == []
    assert tuple(noted) == (3, 0)
    assert left == ArmSamples(judged=3, graded=3, waiting=5)
    assert not begins_another
    assert counts(engine) == ArmSamples(judged=8, graded=8)
    assert {n for _, n in judgements(engine)} == {1}


@pytest.mark.parametrize("batch", [1, 8])
def test_the_share_of_the_second_judge_holds_over_all_claims(engine: Engine, batch: int) -> None:
    """The first one never gives a grade; the second may be asked about a quarter."""
    fill(engine, 80)
    first, second = OddJudge(status=Status.REFUSED), OddJudge()
    second.version = replace(second.version, id="second")
    worker = JudgeWorker(engine, ManualClock(CLOCK_S))
    worker._kits[TEXT.id] = _Kit(KIND, Judges(first, second), "both", Escalations())
    worker._line(TEXT.id).size = batch
    while worker.step():
        worker._line(TEXT.id).size = batch
    worker.close()

    assert sum(first.asked.values()) == 80
    assert sum(second.asked.values()) == 20
