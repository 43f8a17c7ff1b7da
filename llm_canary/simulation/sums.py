"""Enters batches of simulated responses into the sums of a rollout.

The same sums that `metrics.accumulate` reaches response by response, without segments; the
histograms, which are only shown, stay empty. `tests/unit/simulation` holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from llm_canary.metrics.accumulate import DAY_S, Settings, centre_of, close_bucket
from llm_canary.metrics.freeze import MAX_BASELINE, MIN_BASELINE, Frozen, Rule, freeze
from llm_canary.metrics.spec import MetricSpec, Scale
from llm_canary.metrics.state import MetricState, Rollup, add_scores
from llm_canary.simulation.responses import Batch, Bools, Floats, Ints, Seen
from llm_canary.simulation.units import Rows, implied, of_new_units
from llm_canary.stats.score import ScoreState


class _Part(NamedTuple):
    """Responses of one metric with the number that is scored."""

    canary: Bools
    value: Floats
    unit: Ints | None

    def cut(self, start: int, end: int | None = None) -> _Part:
        unit = None if self.unit is None else self.unit[start:end]
        return _Part(self.canary[start:end], self.value[start:end], unit)


class _Moments(NamedTuple):
    """Counts, sums and sums of squares of the numbers in the canary (c) and the control (t)."""

    n_c: int
    n_t: int
    y_c: float
    y_t: float
    yy_c: float
    yy_t: float

    def less(self, few: _Moments) -> _Moments:
        """Return the rest without `few` of the responses."""
        return _Moments(*(a - b for a, b in zip(self, few, strict=True)))  # type: ignore[arg-type]


class _Returning:
    """One metric of the units that come back."""

    def __init__(self, units: int, shares: tuple[float, ...]) -> None:
        self.rows = Rows(units, shares)
        self.n = np.zeros(units)
        self.bucket = np.full(units, -1)
        self.has_failed = np.zeros(units, dtype=bool)


class Sums:
    """The rollup of one rollout, fed by batches; `units` come back (0: each comes once)."""

    def __init__(
        self,
        specs: Mapping[str, MetricSpec],
        settings: Settings,
        *,
        units: int = 0,
        shares: tuple[float, ...] = (),
    ) -> None:
        self.rollup = Rollup()
        self.settings = settings
        self._specs = specs
        self._units, self._shares = units, shares
        self._known = np.zeros(units, dtype=bool)
        self._arms = np.zeros((2, units), dtype=bool)
        self._stages: dict[str, Bools] = {}
        self._day, self._of_day = -1, np.zeros(units, dtype=np.intp)
        self._metrics: dict[str, _Returning] = {}

    def enter(self, batch: Batch) -> Batch:
        """Score what is known at once; return the responses whose outcomes are to follow."""
        self._meet(batch)
        kept = self._within_cap(batch)
        for spec in self._specs.values():
            if spec.outcome is None:
                self._score(spec, kept)
        return kept

    def mature(self, batch: Batch, spec: MetricSpec) -> None:
        """Score the outcomes of responses whose window has closed."""
        self._score(spec, batch)

    def _meet(self, batch: Batch) -> None:
        totals, canary = self.rollup.totals, batch.canary
        n = _pair(canary)
        _count(totals.stage_responses.setdefault(batch.stage, [0, 0]), n)
        for arm in (0, 1):
            if n[arm]:
                last = np.flatnonzero(canary == bool(arm))[-1]
                totals.last_at_s[arm] = batch.at_s(int(last))
        in_stage = totals.stage_units.setdefault(batch.stage, [0, 0])
        if batch.unit is None:
            _count(totals.new_units.setdefault(batch.share, [0, 0]), (n[1], sum(n)))
            _count(in_stage, n)
            _count(totals.units, n)
            return
        once, first = np.unique(batch.unit, return_index=True)
        arm_of = canary[first]  # a unit keeps its arm while the share stays
        new = ~self._known[once]
        if new.any():
            first_seen = totals.new_units.setdefault(batch.share, [0, 0])
            _count(first_seen, (int((new & arm_of).sum()), int(new.sum())))
        self._known[once] = True
        seen = self._stages.setdefault(batch.stage, np.zeros(self._units, dtype=bool))
        _count(in_stage, _pair(arm_of[~seen[once]]))
        seen[once] = True
        for arm in (0, 1):
            own = once[arm_of == bool(arm)]
            totals.units[arm] += int((~self._arms[arm, own]).sum())
            self._arms[arm, own] = True

    def _within_cap(self, batch: Batch) -> Batch:
        if batch.unit is None:
            return batch
        day = int(batch.start_s // DAY_S)
        if day != self._day:
            self._day, self._of_day = day, np.zeros(self._units, dtype=np.intp)
        cap = self.settings.max_per_unit_day
        before = self._of_day[batch.unit]
        self._of_day += np.bincount(batch.unit, minlength=self._units)
        if self._of_day.max(initial=0) <= cap:
            return batch
        over = before + _rank(batch.unit) >= cap
        np.minimum(self._of_day, cap, out=self._of_day)
        _count(self.rollup.totals.over_cap, _pair(batch.canary[over]))
        return _without(batch, over)

    def _score(self, spec: MetricSpec, batch: Batch) -> None:
        state, seen = self.rollup.metric(spec.name), batch.seen[spec.name]
        everyone = batch.canary if seen.applies is None else batch.canary[seen.applies]
        _count(state.applicable, _pair(everyone))
        at = seen.at
        unit = batch.unit if at is None or batch.unit is None else batch.unit[at]
        part = _Part(batch.canary if at is None else batch.canary[at], seen.value, unit)
        _count(state.observed, _pair(part.canary))
        bucket = int(batch.start_s // self.settings.bucket_s)
        if state.frozen is None:
            fixed = self._calibrate(spec, state, part, batch, at)
            head = part if fixed is None else part.cut(0, fixed)
            if spec.needs_baseline:
                head = part if fixed is None else part.cut(0, fixed + 1)
                _count(state.calibrating, _pair(head.canary))
            elif not self._is_warming_up(spec, state, head, batch):
                self._add(spec, head, batch, bucket)
            if fixed is None:
                return
            state.frozen = self._freeze(spec, state.baseline)
            state.baseline = []
            part = part.cut(fixed + spec.needs_baseline)
        if not self._is_warming_up(spec, state, part, batch):
            scaled = part._replace(value=_scored(spec, state.frozen, part.value))
            self._add(spec, scaled, batch, bucket)

    def _freeze(self, spec: MetricSpec, baseline: list[float]) -> Frozen:
        return freeze(spec, self.settings.rules.get(spec.name, Rule()), baseline)

    def _calibrate(
        self, spec: MetricSpec, state: MetricState, part: _Part, batch: Batch, at: Ints | None
    ) -> int | None:
        """Watch the control; return the response at which the metric's numbers become fixed."""
        rule = self.settings.rules.get(spec.name, Rule())
        if not spec.needs_baseline and not any(m.relative for m in rule.stages.values()):
            return 0 if len(part.value) else None
        for index, (canary, value) in enumerate(zip(part.canary, part.value, strict=True)):
            if not canary:
                state.baseline.append(float(value))
            seen = len(state.baseline)
            came_s = batch.at_s(index if at is None else int(at[index]))
            has_waited = came_s - self.settings.started_at_s >= self.settings.calibrate_s
            if seen >= MAX_BASELINE or (seen >= MIN_BASELINE and has_waited):
                return index
        return None

    def _is_warming_up(
        self, spec: MetricSpec, state: MetricState, part: _Part, batch: Batch
    ) -> bool:
        if not spec.skips_warm_up:
            return False
        changes = [each for each in self.settings.share_changes_s if each <= batch.start_s]
        if not changes or batch.start_s >= changes[-1] + self.settings.warmup_s:
            return False
        _count(state.warming_up, _pair(part.canary))
        return True

    def _add(self, spec: MetricSpec, part: _Part, batch: Batch, bucket: int) -> None:
        """Score; a new bucket opens, with its own centre, after its first control response."""
        if not len(part.value):
            return
        state, moments = self.rollup.metric(spec.name), _moments(part)
        if bucket > state.bucket and moments.n_t:
            first = int(np.argmin(part.canary)) + 1
            head = part.cut(0, first)
            opening = _moments_of_few(head)
            self._add_around(spec, head, opening, batch, bucket)
            part, moments = part.cut(first), moments.less(opening)
        self._add_around(spec, part, moments, batch, bucket)

    def _add_around(
        self, spec: MetricSpec, part: _Part, moments: _Moments, batch: Batch, bucket: int
    ) -> None:
        if not len(part.value):
            return
        state = self.rollup.metric(spec.name)
        own = None
        if part.unit is not None:
            own = self._metrics.get(spec.name)
            if own is None:
                own = self._metrics[spec.name] = _Returning(self._units, self._shares)
        whole = self.rollup.slice(spec.name)
        delta = _delta(spec, part, moments, batch.share, centre_of(state, spec, bucket), own)
        if spec.hard_failure:
            canary, n = _first_failures(part, moments, own)
            if n:
                _count(whole.first.setdefault(batch.share, [0, 0]), (canary, n))
        add_scores(whole.score, delta)
        stage = state.stages.setdefault(batch.stage, [0.0, 0.0])
        stage[0] += delta.s
        stage[1] += delta.i
        _collect(state, own, spec, bucket, part, moments)


def _moments(part: _Part) -> _Moments:
    canary, value = part.canary, part.value
    n_c = int(np.count_nonzero(canary))
    in_canary = value[canary]
    y_c, yy_c = float(in_canary.sum()), float(in_canary @ in_canary)
    y_t, yy_t = float(value.sum()) - y_c, float(value @ value) - yy_c
    return _Moments(n_c, len(value) - n_c, y_c, y_t, yy_c, yy_t)


def _moments_of_few(part: _Part) -> _Moments:
    sums: list[list[float]] = [[0, 0.0, 0.0], [0, 0.0, 0.0]]
    for canary, value in zip(part.canary.tolist(), part.value.tolist(), strict=True):
        arm = sums[not canary]
        arm[0] += 1
        arm[1] += value
        arm[2] += value * value
    (n_c, y_c, yy_c), (n_t, y_t, yy_t) = sums
    return _Moments(int(n_c), int(n_t), y_c, y_t, yy_c, yy_t)


def _delta(
    spec: MetricSpec,
    part: _Part,
    moments: _Moments,
    share: float,
    centre: float,
    own: _Returning | None,
) -> ScoreState:
    n_c, n_t, y_c, y_t, yy_c, yy_t = moments
    sums = of_new_units(share, centre, (n_c, n_t), (y_c, y_t), (yy_c, yy_t))
    units = (n_t, n_c)
    if own is not None and part.unit is not None:
        units = _new_in_arm(part, own)
        residual = part.value - centre
        _, gains = own.rows.add(part.unit, part.canary.astype(float), share, residual)
        own.n += np.bincount(part.unit, minlength=len(own.n))
        sums |= {name: float(gain.sum()) for name, gain in gains.items()}
    if spec.is_binary:
        sums |= implied(share, centre, (n_c, n_t))
    return ScoreState(
        **sums,  # type: ignore[arg-type]  # scalars in, scalars out
        n_control=n_t,
        n_canary=n_c,
        units_control=units[0],
        units_canary=units[1],
        sum_control=y_t,
        sumsq_control=yy_t,
        sum_canary=y_c,
        sumsq_canary=yy_c,
    )


def _new_in_arm(part: _Part, own: _Returning) -> tuple[int, int]:
    """Return how many units have their first scored response in (control, canary)."""
    unit = part.unit if part.unit is not None else np.empty(0, dtype=np.intp)
    before = own.rows.c.sum(0)
    control, canary = np.unique(unit[~part.canary]), np.unique(unit[part.canary])
    return (
        int((own.n[control] == before[control]).sum()),
        int((before[canary] == 0).sum()),
    )


def _first_failures(part: _Part, moments: _Moments, own: _Returning | None) -> tuple[int, int]:
    """Return the first failures of units: in the canary, and in both arms."""
    if own is None or part.unit is None:
        return int(moments.y_c), int(moments.y_c + moments.y_t)
    failed = part.value == 1.0
    units, first = np.unique(part.unit[failed], return_index=True)
    new = ~own.has_failed[units]
    own.has_failed[units] = True
    arms = part.canary[failed][first][new]
    return int(arms.sum()), len(arms)


def _collect(
    state: MetricState,
    own: _Returning | None,
    spec: MetricSpec,
    bucket: int,
    part: _Part,
    moments: _Moments,
) -> None:
    if not moments.n_t:
        return
    if bucket > state.bucket:
        close_bucket(state, spec, bucket)
    if own is None or part.unit is None:
        state.bucket_units += moments.n_t
    else:
        units = np.unique(part.unit[~part.canary])
        state.bucket_units += int((own.bucket[units] != bucket).sum())
        own.bucket[units] = bucket
    state.bucket_n += moments.n_t
    state.bucket_sum += moments.y_t


def _scored(spec: MetricSpec, frozen: Frozen, value: Floats) -> Floats:
    """Vectorised `metrics.freeze.scored`."""
    if spec.scale is Scale.QUANTILE and frozen.threshold is not None:
        return (value > frozen.threshold).astype(float)
    if spec.scale is Scale.WINSORISED and frozen.cap is not None:
        return np.minimum(value, frozen.cap)
    return value


def _without(batch: Batch, over: Bools) -> Batch:
    """Return the batch as if the responses in `over` showed nothing and did not exist."""
    seen = {}
    for name, each in batch.seen.items():
        at = np.arange(len(over)) if each.at is None else each.at
        stays = ~over[at]
        applies = ~over if each.applies is None else each.applies & ~over
        seen[name] = Seen(each.value[stays], at[stays], applies)
    return Batch(
        batch.start_s, batch.end_s, batch.stage, batch.share, batch.canary, batch.unit, seen
    )


def _rank(unit: Ints) -> Ints:
    """Return how many earlier responses of the batch each one's unit has."""
    order = np.argsort(unit, kind="stable")
    starts = np.flatnonzero(np.diff(unit[order], prepend=-1))
    lengths = np.diff(starts, append=len(unit))
    rank = np.empty(len(unit), dtype=np.intp)
    rank[order] = np.arange(len(unit)) - np.repeat(starts, lengths)
    return rank


def _pair(canary: Bools) -> tuple[int, int]:
    n = int(np.count_nonzero(canary))
    return len(canary) - n, n


def _count(into: list[int], more: tuple[int, int]) -> None:
    into[0] += more[0]
    into[1] += more[1]
