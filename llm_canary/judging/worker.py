"""Grades the drawn answers: claims a few by lease, asks the judge, saves, backs off.

Any number of workers may run, on any machines. What one that dies had claimed goes to another when
the lease ends; a judgement is stored once. Nothing here touches the gateway.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.clock import Clock, utc
from llm_canary.errors import ConfigError, DataError, StorageError
from llm_canary.judging.budget import CostCap
from llm_canary.judging.build import Judges, judges_of
from llm_canary.judging.grader import Escalations, Grader, version_of
from llm_canary.judging.judgement import Status
from llm_canary.judging.lines import LONGEST_WAIT_S, Line
from llm_canary.judging.material import stored_sample
from llm_canary.judging.rows import failed_row, graded_row
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
    lapse,
    release,
    renew,
    rubrics_with_work,
    save,
    texts,
)

LEASE_S = 60.0
_RENEWALS = 4.0  # in one lease, so that one or two may fail
_SAVE_EVERY = 64
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
    escalations: Escalations  # so that its share holds over all claims

    @property
    def costs(self) -> bool:
        """Whether a judge is asked; programs cost nothing."""
        return self.judges.first is not None and bool(self.rubric.rubric.asked)


class _Batch(NamedTuple):
    """One claim on its way: by what it is graded, what it may cost, and what it has reserved."""

    kit: _Kit
    cap: CostCap
    reserved: Reserved | None
    day: str


class JudgeWorker:
    """Grades what is claimed; `step` is called again and again by one thread, `end` by another."""

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
        self._lines: dict[str, Line] = {}
        self._last = ""  # the rubric whose turn it was
        self._waits_under = WorkerTerms()
        self._unpriced: set[str] = set()  # judge versions of which that was said
        self._runner: asyncio.Runner | None = None
        self._grading: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._has_ended = False

    def step(self) -> bool:
        """Grade some samples of one rubric; return whether there may be more."""
        if self._has_ended:
            return False
        now_s, terms = self._clock.now_s(), self._terms()
        if terms != self._waits_under:  # others may give the money that is waited for
            for line in self._lines.values():
                line.wait_until_s = now_s
            self._waits_under = terms
        with read_session(self._engine) as session:
            # Without a writer's transaction, for which others would wait.
            ready = rubrics_with_work(session, utc(now_s))
        ready = [each for each in ready if self._line(each).wait_until_s <= now_s]
        if not ready:
            return False
        self._last = next((each for each in ready if each > self._last), ready[0])
        return self._grade_some(self._last, terms, now_s) or len(ready) > 1

    def _line(self, text_id: str) -> Line:
        return self._lines.setdefault(text_id, Line())

    def _grade_some(self, text_id: str, terms: WorkerTerms, now_s: float) -> bool:
        line, now = self._line(text_id), utc(now_s)
        try:
            kit = self._kit(text_id)
        except DataError as error:
            return self._fail_some(text_id, error.message, now)
        except ConfigError as error:  # a secret or a recording that is not here, yet
            _log.error(
                "judging: %s; its queue waits %.0f s", error.message, line.wait_longer(now_s)
            )
            return False
        with write_session(self._engine) as session:
            fail_poison(session, now)
            lapse(session, now)
            batch = _reserved(session, kit, terms, now, line.size)
            claimed = [] if isinstance(batch, NoMoney) else self._claimed(session, text_id, batch)
        if isinstance(batch, NoMoney):
            _wait_for_money(batch, line, now_s)
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
        if self._has_ended:
            with write_session(self._engine) as session:  # what is saved is claimed no more
                release(session, claimed, utc(self._clock.now_s()))
            return False
        line.resize(perf_counter() - began_s)
        self._give_back(line, graded, unasked)
        return not unasked

    def _fail_some(self, text_id: str, why: str, now: datetime) -> bool:
        """Fail the samples of a rubric that cannot be read."""
        line = self._line(text_id)
        with write_session(self._engine) as session:
            fail_poison(session, now)
            lapse(session, now)
            found = claim(session, text_id, now, lease_s=self._lease_s, limit=line.size)
        self._save([failed_row(each, text_id, why) for each in found])
        return bool(found)

    def _claimed(self, session: Session, text_id: str, batch: _Batch) -> list[Claimed]:
        """Claim as many as the reserved money pays for."""
        line, now = self._line(text_id), utc(self._clock.now_s())
        dearest = batch.reserved.dearest_nanousd if batch.reserved else 0
        paid = batch.reserved.nanousd // dearest if batch.reserved and dearest else line.size
        size = min(line.size, max(paid, 1))
        found = claim(
            session, text_id, now, lease_s=self._lease_s, limit=size, new_first=line.new_first
        )
        line.new_first = not line.new_first  # neither kind keeps the other waiting
        return found

    def end(self) -> None:
        """End the present step, from another thread, and begin no other."""
        self._has_ended = True
        if self._grading is not None:
            loop, task = self._grading
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(task.cancel)

    def close(self) -> None:
        """Close what the worker holds open; call it when no step runs."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    async def _held(
        self, claimed: Sequence[Claimed], batch: _Batch, terms: WorkerTerms
    ) -> tuple[int, list[tuple[Claimed, Status]]]:
        """Grade while the lease is renewed."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the runner made one
        self._grading = asyncio.get_running_loop(), task
        if self._has_ended:  # between the claim and here
            return 0, []
        holding = asyncio.ensure_future(self._hold(claimed[0].token))
        try:
            return await self._grade(claimed, batch, terms)
        finally:
            holding.cancel()
            self._grading = None

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
        kit = batch.kit
        with read_session(self._engine) as session:
            known = texts(session, [each.inference_id for each in claimed])
        samples: dict[str, Claimed] = {}
        ready, done, unasked, graded = [], [], [], 0
        for each in claimed:
            sample = stored_sample(each.inference_id, known.get(each.inference_id))
            if sample is None:
                why = "its text is not kept any more"
                done.append(failed_row(each, kit.version, why)._replace(is_unreadable=True))
            else:
                samples[sample.id] = each
                ready.append(sample)
        grader = Grader(kit.rubric, kit.judges.first, escalate=kit.judges.second, cap=batch.cap)
        grader.escalations = kit.escalations
        try:
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
        except asyncio.CancelledError:
            if not self._has_ended:
                raise
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

    def _give_back(
        self, line: Line, graded: int, unasked: Sequence[tuple[Claimed, Status]]
    ) -> None:
        now_s = self._clock.now_s()
        for part in line.after(graded, unasked, now_s):
            worn = [each for each in part.blamed if each.attempts >= MAX_ATTEMPTS]
            self._save([failed_row(each, "", "the judge failed three times") for each in worn])
            line.forget(worn)
            again = [each for each in part.blamed if each.attempts < MAX_ATTEMPTS]
            ready_at = utc(now_s + part.after_s)
            with write_session(self._engine) as session:
                release(session, again, ready_at, is_attempt=True)
                release(session, part.again, ready_at)
        if line.wait_until_s > now_s:
            _log.warning(
                "judging: the judge of %s cannot be asked (%s); its queue waits %.0f s",
                unasked[0][0].rubric_id,
                ", ".join(sorted({status.value for _, status in unasked})),
                line.wait_until_s - now_s,
            )

    def _settle(self, batch: _Batch, judged: int) -> None:
        cap = batch.cap
        if not (cap.calls or batch.reserved):
            return
        if batch.reserved and cap.calls_of_unknown_cost and batch.kit.version not in self._unpriced:
            self._unpriced.add(batch.kit.version)
            _log.warning(
                "judging: the judge of %s has no known price, so max_cost_usd_per_day does not "
                "count its calls and cannot stop them",
                batch.kit.rubric.rubric.id,
            )
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


def _kit_of(text: str) -> _Kit:
    rubric = restore(text)
    judges = judges_of("primary", rubric, Path())
    version = version_of(rubric, judges.first, judges.second)
    name = version.id if version else f"checks:{rubric.content_hash}"
    return _Kit(rubric, judges, name, Escalations())


def _wait_for_money(why: NoMoney, line: Line, now_s: float) -> None:
    if why is NoMoney.RESERVED:
        line.wait(now_s, _RESERVED_WAIT_S)
        return
    _log.warning("judging: the day's %s is spent; the queue waits", "max_cost_usd_per_day")
    line.wait(now_s, LONGEST_WAIT_S)


def _reserved(
    session: Session, kit: _Kit, terms: WorkerTerms, now: datetime, count: int
) -> _Batch | NoMoney:
    limit, day = terms.max_nanousd_per_day, day_of(now)
    if limit is None or not kit.costs:
        return _Batch(kit, CostCap(None), None, day)
    granted = reserve(session, day, limit, count)
    if isinstance(granted, NoMoney):
        return granted
    return _Batch(kit, CostCap(granted.nanousd, granted.dearest_nanousd), granted, day)
