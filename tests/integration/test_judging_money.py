"""What judges may cost: reserved is not spent, nothing leaks, and a raised limit is seen."""

from __future__ import annotations

import asyncio
import logging

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from llm_canary.clock import ManualClock, utc
from llm_canary.judging import worker as module
from llm_canary.judging.worker import WorkerTerms
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.judging_days import (
    NoMoney,
    Reserved,
    day_of,
    days,
    mean_nanousd,
    reserve,
    settle,
)
from llm_canary.storage.repositories.sample_facts import ArmSamples
from tests.integration.test_judge_worker import (
    CLOCK_S,
    OddJudge,
    counts,
    drain,
    fill,
    worker_of,
)

DAY = day_of(utc(CLOCK_S))


def spend(engine: Engine, nanousd: int, **more: int) -> None:
    facts = {"dearest_nanousd": 1_000, "judged": 1, "calls": 1, "unknown_cost": 0} | more
    with write_session(engine) as session:
        settle(session, DAY, reserved_nanousd=0, spent_nanousd=nanousd, **facts)


def hold(engine: Engine, limit_nanousd: int, count: int) -> Reserved | NoMoney:
    with write_session(engine) as session:
        return reserve(session, DAY, limit_nanousd, count)


def test_one_batch_reserves_a_tenth_of_what_is_free_at_most(engine: Engine) -> None:
    spend(engine, 1_000)

    assert hold(engine, 201_000, 512) == Reserved(20_000, 1_000)
    assert hold(engine, 201_000, 3) == Reserved(3_000, 1_000)
    assert hold(engine, 5_000 + 24_000, 512) == Reserved(1_000, 1_000)


def test_reserved_by_others_is_not_spent(engine: Engine) -> None:
    spend(engine, 1_000)
    for _ in range(2):
        assert hold(engine, 3_000, 512) == Reserved(1_000, 1_000)

    assert hold(engine, 3_000, 1) is NoMoney.RESERVED
    spend(engine, 1_500)
    assert hold(engine, 3_000, 1) is NoMoney.SPENT


def test_money_that_another_worker_holds_is_asked_for_again_in_seconds(engine: Engine) -> None:
    fill(engine, 3)
    clock = ManualClock(CLOCK_S)
    spend(engine, 1_000)
    held = hold(engine, 2_000, 1)
    assert isinstance(held, Reserved)
    worker = worker_of(engine, OddJudge(), clock, limit_nanousd=2_000)
    worker.step()
    with write_session(engine) as session:
        settle(
            session, DAY, reserved_nanousd=held.nanousd, spent_nanousd=0, dearest_nanousd=0,
            judged=0, calls=0, unknown_cost=0,
        )  # fmt: skip
    clock.advance(3.0)
    worker.step()
    worker.close()

    assert counts(engine) == ArmSamples(waiting=2, judged=1, graded=1)


def test_a_raised_limit_is_seen_at_once(engine: Engine) -> None:
    fill(engine, 20)
    clock, judge = ManualClock(CLOCK_S), OddJudge()
    spend(engine, 5_000)
    worker = worker_of(engine, judge, clock, limit_nanousd=5_000)
    for _ in range(5):
        worker.step()
        clock.advance(1.0)
    before = counts(engine)
    worker._terms = lambda: WorkerTerms(8, 1_000_000)
    drain(worker)
    worker.close()

    assert before == ArmSamples(waiting=20)
    assert counts(engine) == ArmSamples(judged=20, graded=20)


def test_an_error_in_a_step_gives_the_reserved_money_back(engine: Engine) -> None:
    fill(engine, 20)
    clock, judge = ManualClock(CLOCK_S), OddJudge()

    async def fail(*_: object) -> None:
        raise ValueError

    judge.grade = fail  # type: ignore[method-assign,assignment]
    worker = worker_of(engine, judge, clock, limit_nanousd=40_000)
    for _ in range(3):
        with pytest.raises((ValueError, ExceptionGroup)):
            worker.step()
        clock.advance(61.0)
    worker.close()

    with read_session(engine) as session:
        assert [each.reserved_nanousd for each in days(session)] == [0]


def test_an_answer_costs_all_of_its_calls(engine: Engine) -> None:
    """Ten answers took fifteen calls, of which three did not say what they cost."""
    with read_session(engine) as session:
        assert mean_nanousd(session) is None
    spend(engine, 12_000, judged=10, calls=15, unknown_cost=3)

    with read_session(engine) as session:
        assert mean_nanousd(session) == pytest.approx(1_500.0)


def test_a_lease_that_could_not_be_renewed_once_is_renewed_the_next_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(engine, 1)
    clock, judge = ManualClock(CLOCK_S), OddJudge()
    sound, renewals = judge.grade, []
    renew = module.renew

    def renew_later(*args):
        renewals.append(args)
        if len(renewals) == 1:
            raise OperationalError("UPDATE sample", {}, Exception("database is locked"))
        return renew(*args)

    async def grade_slowly(*args):
        clock.advance(30.0)
        for _ in range(500):
            if len(renewals) < 2:
                await asyncio.sleep(0.02)
        return await sound(*args)

    monkeypatch.setattr(module, "renew", renew_later)
    judge.grade = grade_slowly  # type: ignore[method-assign]
    worker = worker_of(engine, judge, clock)
    worker._lease_s = 0.4
    with caplog.at_level(logging.WARNING):
        worker.step()
    worker.close()

    assert len(renewals) >= 2
    assert "could not be renewed" in caplog.text
    with engine.connect() as connection:
        assert connection.execute(text("SELECT state FROM sample")).scalar_one() == "judged"


def test_a_limit_that_a_judge_without_a_price_passes_is_said_once_by_each_worker(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    fill(engine, 20)
    worker = worker_of(engine, OddJudge(cost_nanousd=None), ManualClock(CLOCK_S), limit_nanousd=1)
    with caplog.at_level(logging.WARNING):
        drain(worker)
    worker.close()

    assert caplog.text.count("the judge of helpful has no known price") == 1
