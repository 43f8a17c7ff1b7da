"""Grades the drawn answers: claims a few by lease, asks the judge, saves, backs off.

Any number of workers may run, on any machines. What one that dies had claimed goes to another when
the lease ends; a judgement is stored once. Nothing here touches the gateway.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import msgspec
from sqlalchemy.engine import Engine

from llm_canary.clock import Clock, utc
from llm_canary.errors import ConfigError, DataError
from llm_canary.judging.budget import CostCap
from llm_canary.judging.build import Judges, judges_of
from llm_canary.judging.grader import Grader, Result
from llm_canary.judging.judgement import Spent, Status
from llm_canary.judging.material import recorded_sample
from llm_canary.rubric.grades import Grade, Why
from llm_canary.rubric.keep import restore
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.sample import Sample
from llm_canary.sampling import place
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.judging_days import Reserved, day_of, reserve, settle
from llm_canary.storage.repositories.rubrics import rubric_text
from llm_canary.storage.repositories.samples import (
    MAX_ATTEMPTS,
    Claimed,
    SampleState,
    Saved,
    claim,
    fail_poison,
    has_work,
    release,
    renew,
    save,
    texts,
)

LEASE_S = 60.0  # renewed three times as often
_BATCHES = (8, 512)  # smallest and largest number that is claimed at once
_QUICK_S, _SLOW_S = 1.0, 10.0
_SAVE_EVERY = 64
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 300.0
_OUTAGE = frozenset({Status.PROVIDER_ERROR, Status.TIMEOUT})
_UNCERTAIN_BELOW = 0.7
_UNCERTAIN_RATE = 0.25  # of the answers that the judge is in doubt about, so many go to people
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
        self._runner: asyncio.Runner | None = None

    def step(self) -> bool:
        """Grade some samples; return whether there may be more."""
        now_s = self._clock.now_s()
        if now_s < self._wait_until_s:
            return False
        now, terms = utc(now_s), self._terms()
        with read_session(self._engine) as session:
            if not has_work(session, now):
                return False  # without a writer's transaction, for which others would wait
        with write_session(self._engine) as session:
            fail_poison(session, now)
            claimed = claim(
                session, now, lease_s=self._lease_s, limit=self._size, new_first=self._new_first
            )
            self._new_first = not self._new_first  # neither kind keeps the other waiting
        if not claimed:
            return False
        batch = self._reserved(terms, now, len(claimed))
        if batch is None:
            self._put_back(claimed, _tomorrow(now))
            _log.warning("judging: the day's %s is spent; the queue waits", "max_cost_usd_per_day")
            self._wait_until_s = now_s + _LONGEST_WAIT_S
            return False
        began_s = perf_counter()
        if self._runner is None:
            self._runner = asyncio.Runner()
        asked, unasked = self._runner.run(self._held(claimed, batch, terms))
        self._settle(batch)
        self._resize(perf_counter() - began_s)
        self._after(asked, unasked)
        return not unasked

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
            await asyncio.sleep(self._lease_s / 3.0)
            with write_session(self._engine) as session:
                renew(session, token, utc(self._clock.now_s() + self._lease_s))

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
                self._save([_failed(each, text_id, error.message) for each in own])
                continue
            except ConfigError as error:  # a secret or a recording that is not here, yet
                _log.error("judging: %s", error.message)
                unasked += [(each, Status.PROVIDER_ERROR) for each in own]
                continue
            grader = Grader(kit.rubric, kit.judges.first, escalate=kit.judges.second, cap=batch.cap)
            samples: dict[str, Claimed] = {}
            ready, done = [], []
            for each in own:
                sample = _sample(each, known.get(each.inference_id))
                if sample is None:
                    why = "its text is not kept any more"
                    done.append(_failed(each, kit.version, why)._replace(is_unreadable=True))
                else:
                    samples[sample.id] = each
                    ready.append(sample)
            async for result in grader.grade_all(ready, concurrency=terms.concurrency):
                one = samples[result.sample.id]
                if result.failure in _OUTAGE or result.failure is Status.BUDGET:
                    unasked.append((one, result.failure))
                    continue
                done.append(_saved(one, kit.version, result))
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

        Where others were graded meanwhile it is to blame, and has so many attempts; one alone may
        be, and stands back; where all fail the judge is down, and everything waits.
        """
        now_s = self._clock.now_s()
        if not unasked:
            self._wait_s = self._wait_until_s = 0.0
            return
        for_money = [each for each, status in unasked if status is Status.BUDGET]
        down = [each for each, status in unasked if status is not Status.BUDGET]
        self._wait_s = min(max(2.0 * self._wait_s, _FIRST_WAIT_S), _LONGEST_WAIT_S)
        if down and graded:
            worn = [each for each in down if each.attempts >= MAX_ATTEMPTS]
            self._save([_failed(each, "", "the judge failed three times") for each in worn])
            again = [each for each in down if each.attempts < MAX_ATTEMPTS]
            with write_session(self._engine) as session:
                release(session, again, utc(now_s + self._wait_s), is_attempt=True)
        elif len(down) == 1 and down[0].attempts > 1:
            self._put_back(down, utc(now_s + _LONGEST_WAIT_S))
        else:
            self._put_back(down, utc(now_s))
            self._wait_until_s = now_s + (self._wait_s if down else 0.0)
        self._put_back(for_money, utc(now_s + _FIRST_WAIT_S))

    def _reserved(self, terms: WorkerTerms, now: datetime, count: int) -> _Batch | None:
        limit, day = terms.max_nanousd_per_day, day_of(now)
        if limit is None:
            return _Batch(CostCap(None), None, day)
        with write_session(self._engine) as session:
            granted = reserve(session, day, limit, count)
        if granted is None:
            return None
        return _Batch(CostCap(granted.nanousd, granted.dearest_nanousd), granted, day)

    def _settle(self, batch: _Batch) -> None:
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
                judged=cap.calls,
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


def _sample(claimed: Claimed, known: tuple[Any, ...] | None) -> Sample | None:
    if known is None:
        return None
    endpoint, route, request, response, segments = known
    if request is None or response is None:
        return None
    tags = {str(key): str(value) for key, value in (segments or {}).items()}
    tags |= {"endpoint": endpoint, **({"route": route} if route else {})}
    return recorded_sample(claimed.inference_id, request, response, tags=tags)


def _saved(claimed: Claimed, version: str, result: Result) -> Saved:
    spent = Spent()
    for each in result.judgements:
        spent += each.spent
    asked = next((each for each in result.judgements if each.judge_id == version), None)
    failure = result.failure
    row = {
        "judge_id": version,
        "status": (failure or Status.OK).value,
        "score": result.score.value,
        "passed": result.score.passed,
        "grades": msgspec.to_builtins(dict(result.grades)),
        "reported_model": asked.reported_model if asked else None,
        "injection_suspected": any(each.injection_suspected for each in result.judgements),
        "calls": spent.calls,
        "tokens_in": spent.tokens_in,
        "tokens_out": spent.tokens_out,
        "cost_nanousd": spent.cost_nanousd,
        "latency_s": spent.latency_s,
        "detail": asked.detail if asked else "",
    }
    state = SampleState.JUDGED if failure is None else SampleState.FAILED
    wants = _is_doubted(result) if result.judgements else False
    drawn = place(claimed.id, "uncertain") < _UNCERTAIN_RATE
    return Saved(claimed, state, row, wants_review=wants and drawn)


def _is_doubted(result: Result) -> bool:
    for grade in result.grades.values():
        if isinstance(grade, Grade):
            if grade.confidence is not None and grade.confidence < _UNCERTAIN_BELOW:
                return True
        elif grade.why is not Why.NOT_APPLICABLE:
            return True
    return any(each.injection_suspected for each in result.judgements)


def _failed(claimed: Claimed, version: str, detail: str) -> Saved:
    row: dict[str, Any] = {
        "judge_id": version or "none",
        "status": Status.MISSING.value,
        "score": None,
        "passed": None,
        "grades": {},
        "reported_model": None,
        "injection_suspected": False,
        "calls": 0,
        "tokens_in": None,
        "tokens_out": None,
        "cost_nanousd": None,
        "latency_s": None,
        "detail": detail[:500],
    }
    return Saved(claimed, SampleState.FAILED, row)


def _tomorrow(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
