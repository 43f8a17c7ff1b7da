"""Grades the drawn answers: claims a few by lease, asks the judge, saves, backs off.

Any number of workers may run, on any machines. What one that dies had claimed goes to another when
the lease ends; a judgement is stored once. Nothing here touches the gateway.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.clock import Clock, utc
from llm_canary.errors import ConfigError, DataError, StorageError
from llm_canary.judging.budget import CostCap
from llm_canary.judging.build import Judges, judges_of
from llm_canary.judging.grader import Grader
from llm_canary.judging.judgement import Status
from llm_canary.judging.rows import failed_row, graded_row, sample_of
from llm_canary.rubric.keep import restore
from llm_canary.rubric.load import LoadedRubric
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.judging_days import (
    NoMoney,
    Reserved,
    day_of,
    reserve,
    settle,
)
from llm_canary.storage.repositories.rubrics import rubric_text
from llm_canary.storage.repositories.samples import (
    MAX_ATTEMPTS,
    Claimed,
    Saved,
    claim,
    fail_poison,
    has_work,
    release,
    renew,
    save,
    texts,
)

LEASE_S = 60.0
_RENEWALS = 4.0  # in one lease, so that one or two may fail
_BATCHES = (8, 512)  # smallest and largest number that is claimed at once
_QUICK_S, _SLOW_S = 1.0, 10.0
_SAVE_EVERY = 64
_FIRST_WAIT_S, _LONGEST_WAIT_S, _LONGEST_ALONE_S = 1.0, 300.0, 3_600.0
_RESERVED_WAIT_S = 2.0
_OUTAGE = frozenset({Status.PROVIDER_ERROR, Status.TIMEOUT})
_log = logging.getLogger(__name__)


class WorkerTerms(NamedTuple):
    """What the configuration says about judging."""

    concurrency: int = 8
    max_nanousd_per_day: int | None = None


class _Kit(NamedTuple):
    """A rubric with its judges, made once."""

    rubric: LoadedRubric
    judges: Judges
    version: str


class _Batch(NamedTuple):
    """One claim on its way: what it may cost, and what became of it."""

    cap: CostCap
    reserved: Reserved | None
    day: str


class _Alone(NamedTuple):
    """When an answer failed last: how many others had been graded, and how long it stands back."""

    graded: int
    wait_s: float


class JudgeWorker:
    """Grades what is claimed; `step` is called again and again by one thread."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        terms: Callable[[], WorkerTerms] = WorkerTerms,
        *,
        lease_s: float = LEASE_S,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._terms = terms
        self._lease_s = lease_s
        self._kits: dict[str, _Kit] = {}
        self._size = _BATCHES[0]
        self._new_first = True
        self._wait_s = 0.0
        self._wait_until_s = 0.0
        self._waits_under = WorkerTerms()
        self._graded = 0
        self._alone: dict[str, _Alone] = {}
        self._runner: asyncio.Runner | None = None

    def step(self) -> bool:
        """Grade some samples; return whether there may be more."""
        now_s, terms = self._clock.now_s(), self._terms()
        if now_s < self._wait_until_s and terms == self._waits_under:
            return False  # other terms may give the money that it waits for
        self._waits_under = terms
        now = utc(now_s)
        with read_session(self._engine) as session:
            if not has_work(session, now):
                return False  # without a writer's transaction, for which others would wait
        with write_session(self._engine) as session:
            fail_poison(session, now)
            batch = _reserved(session, terms, now, self._size)
            claimed = [] if isinstance(batch, NoMoney) else self._claimed(session, now, batch)
        if isinstance(batch, NoMoney):
            self._wait_for_money(batch, now_s)
            return False
        graded = 0
        unasked: list[tuple[Claimed, Status]] = []
        try:
            if not claimed:
                return False
            began_s = perf_counter()
            if self._runner is None:
                self._runner = asyncio.Runner()
            graded, unasked = self._runner.run(self._held(claimed, batch, terms))
        finally:
            self._settle(batch, graded)
        self._resize(perf_counter() - began_s)
        self._after(graded, unasked)
        return not unasked

    def _claimed(self, session: Session, now: datetime, batch: _Batch) -> list[Claimed]:
        """Claim as many as the reserved money pays for."""
        dearest = batch.reserved.dearest_nanousd if batch.reserved else 0
        paid = batch.reserved.nanousd // dearest if batch.reserved and dearest else self._size
        size = min(self._size, max(paid, 1))
        found = claim(session, now, lease_s=self._lease_s, limit=size, new_first=self._new_first)
        self._new_first = not self._new_first  # neither kind keeps the other waiting
        return found

    def _wait_for_money(self, why: NoMoney, now_s: float) -> None:
        if why is NoMoney.RESERVED:
            self._wait_until_s = now_s + _RESERVED_WAIT_S
            return
        _log.warning("judging: the day's %s is spent; the queue waits", "max_cost_usd_per_day")
        self._wait_until_s = now_s + _LONGEST_WAIT_S

    def close(self) -> None:
        """Close what the worker holds open; call it when no step runs."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    async def _held(
        self, claimed: Sequence[Claimed], batch: _Batch, terms: WorkerTerms
    ) -> tuple[int, list[tuple[Claimed, Status]]]:
        """Grade while the lease is renewed."""
        holding = asyncio.ensure_future(self._hold(claimed[0].token))
        try:
            return await self._grade(claimed, batch, terms)
        finally:
            holding.cancel()

    async def _hold(self, token: str) -> None:
        while True:
            await asyncio.sleep(self._lease_s / _RENEWALS)
            try:
                with write_session(self._engine) as session:
                    renew(session, token, utc(self._clock.now_s() + self._lease_s))
            except StorageError as error:  # the lease still lasts for the next attempts
                _log.warning("judging: a lease could not be renewed: %s", error.message)

    async def _grade(
        self, claimed: Sequence[Claimed], batch: _Batch, terms: WorkerTerms
    ) -> tuple[int, list[tuple[Claimed, Status]]]:
        """Return how many were graded, and whom nobody could be asked about."""
        with read_session(self._engine) as session:
            known = texts(session, [each.inference_id for each in claimed])
        by_text: dict[str, list[Claimed]] = defaultdict(list)
        for each in claimed:
            by_text[each.rubric_text_id].append(each)
        graded, unasked = 0, []
        for text_id, own in by_text.items():
            try:
                kit = self._kit(text_id)
            except DataError as error:
                self._save([failed_row(each, text_id, error.message) for each in own])
                continue
            except ConfigError as error:  # a secret or a recording that is not here, yet
                _log.error("judging: %s", error.message)
                unasked += [(each, Status.PROVIDER_ERROR) for each in own]
                continue
            grader = Grader(kit.rubric, kit.judges.first, escalate=kit.judges.second, cap=batch.cap)
            samples: dict[str, Claimed] = {}
            ready, done = [], []
            for each in own:
                sample = sample_of(each, known.get(each.inference_id))
                if sample is None:
                    why = "its text is not kept any more"
                    done.append(failed_row(each, kit.version, why)._replace(is_unreadable=True))
                else:
                    samples[sample.id] = each
                    ready.append(sample)
            async for result in grader.grade_all(ready, concurrency=terms.concurrency):
                one = samples[result.sample.id]
                if result.failure in _OUTAGE or result.failure is Status.BUDGET:
                    unasked.append((one, result.failure))
                    continue
                done.append(graded_row(one, kit.version, result))
                graded += 1
                if len(done) >= _SAVE_EVERY:
                    self._save(done)
                    done = []
            self._save(done)
        return graded, unasked

    def _kit(self, text_id: str) -> _Kit:
        if text_id not in self._kits:
            with read_session(self._engine) as session:
                text = rubric_text(session, text_id)
            if text is None:
                raise DataError("the rubric of its rollout is not stored")
            self._kits[text_id] = _kit_of(text)
        return self._kits[text_id]

    def _save(self, results: Sequence[Saved]) -> None:
        if results:
            with write_session(self._engine) as session:
                save(session, results, utc(self._clock.now_s()))

    def _put_back(self, claimed: Sequence[Claimed], ready_at: datetime) -> None:
        if claimed:
            with write_session(self._engine) as session:
                release(session, claimed, ready_at)

    def _after(self, graded: int, unasked: Sequence[tuple[Claimed, Status]]) -> None:
        """Give back what nobody could be asked about.

        Where others were graded meanwhile it is to blame, and has so many attempts; so has one that
        fails alone, if any were graded since it last did; else it stands back, longer each time.
        Where all fail the judge is down, and everything waits.
        """
        now_s = self._clock.now_s()
        self._graded += graded
        if not unasked:
            self._wait_s = self._wait_until_s = 0.0
            return
        for_money = [each for each, status in unasked if status is Status.BUDGET]
        down = [each for each, status in unasked if status is not Status.BUDGET]
        self._wait_s = min(max(2.0 * self._wait_s, _FIRST_WAIT_S), _LONGEST_WAIT_S)
        if down and graded:
            self._blame(down, utc(now_s + self._wait_s))
        elif len(down) == 1 and down[0].attempts > 1:
            self._failed_alone(down[0], now_s)
        else:
            self._put_back(down, utc(now_s))
            self._wait_until_s = now_s + (self._wait_s if down else 0.0)
        self._put_back(for_money, utc(now_s + _FIRST_WAIT_S))

    def _blame(self, failed: Sequence[Claimed], ready_at: datetime) -> None:
        """Count an attempt of each, and give up those that have had all."""
        worn = [each for each in failed if each.attempts >= MAX_ATTEMPTS]
        self._save([failed_row(each, "", "the judge failed three times") for each in worn])
        again = [each for each in failed if each.attempts < MAX_ATTEMPTS]
        with write_session(self._engine) as session:
            release(session, again, ready_at, is_attempt=True)
        self._alone |= {each.id: _Alone(self._graded, _LONGEST_WAIT_S) for each in again}
        for each in worn:
            self._alone.pop(each.id, None)

    def _failed_alone(self, failed: Claimed, now_s: float) -> None:
        before = self._alone.get(failed.id, _Alone(self._graded, _LONGEST_WAIT_S))
        if self._graded > before.graded:
            self._blame([failed], utc(now_s + _LONGEST_WAIT_S))
            return
        self._put_back([failed], utc(now_s + before.wait_s))
        wait_s = min(2.0 * before.wait_s, _LONGEST_ALONE_S)
        self._alone[failed.id] = _Alone(self._graded, wait_s)

    def _settle(self, batch: _Batch, judged: int) -> None:
        cap = batch.cap
        if not (cap.calls or batch.reserved):
            return
        with write_session(self._engine) as session:
            settle(
                session,
                batch.day,
                reserved_nanousd=batch.reserved.nanousd if batch.reserved else 0,
                spent_nanousd=cap.spent_nanousd,
                dearest_nanousd=cap.dearest_nanousd,
                judged=judged,
                calls=cap.calls,
                unknown_cost=cap.calls_of_unknown_cost,
            )

    def _resize(self, took_s: float) -> None:
        low, high = _BATCHES
        if took_s < _QUICK_S:
            self._size = min(2 * self._size, high)
        elif took_s > _SLOW_S:
            self._size = max(self._size // 2, low)


def _kit_of(text: str) -> _Kit:
    rubric = restore(text)
    judges = judges_of("primary", rubric, Path())
    version = judges.first.version.id if judges.first else f"checks:{rubric.content_hash}"
    return _Kit(rubric, judges, version)


def _reserved(session: Session, terms: WorkerTerms, now: datetime, count: int) -> _Batch | NoMoney:
    limit, day = terms.max_nanousd_per_day, day_of(now)
    if limit is None:
        return _Batch(CostCap(None), None, day)
    granted = reserve(session, day, limit, count)
    if isinstance(granted, NoMoney):
        return granted
    return _Batch(CostCap(granted.nanousd, granted.dearest_nanousd), granted, day)
