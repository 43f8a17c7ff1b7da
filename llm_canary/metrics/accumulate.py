"""Enters one response into the sums of its rollout; pure, in the order in which it is called.

A response counts once, with the arm and the share it was routed with, however late its outcome. It
is skipped, in both arms alike, beyond the daily cap of its unit, in the warm-up after a ramp (cost
and latency), and while the control is still being watched to fix the metric's numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import msgspec

from llm_canary.metrics.freeze import MAX_BASELINE, MIN_BASELINE, Rule, freeze, scored
from llm_canary.metrics.spec import PRIOR_RESPONSES, MetricSpec, ResponseFacts, Scale
from llm_canary.metrics.state import (
    ALL,
    MetricState,
    Rollup,
    UnitMetric,
    UnitState,
    raise_maxima,
)
from llm_canary.stats.histogram import bin_of
from llm_canary.stats.score import ScoreState, update

DAY_S = 86_400.0
SNAPSHOT_S = 21_600.0  # restarts of the watch for harm that begins late
MIN_BUCKET_UNITS = 50
MAX_SEGMENT_VALUES = 24
OTHER = "other"
LARGEST = 1e50  # what is larger has no variance that a float could hold, and is refused
_RATE = Scale.RATE
KNOWN_AFTER = 20  # responses of an arm, after which a further reported model is a change


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One eligible response, as routed."""

    at_s: float
    canary: bool
    share: float
    stage: str
    facts: ResponseFacts
    segments: dict[str, str] = {}
    reported_model: str | None = None  # only when the assigned variant served


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan fixes about scoring."""

    rules: dict[str, Rule]
    max_per_unit_day: int = 50
    warmup_s: float = 0.0
    calibrate_s: float = 0.0  # watch the control at least this long, unless it has been seen enough
    bucket_s: float = 3_600.0
    started_at_s: float = 0.0
    share_changes_s: tuple[float, ...] = ()  # ascending


@dataclass(slots=True)
class _Visit:
    """One response on its way into the sums: what all of its metrics ask for."""

    rollup: Rollup
    unit: UnitState
    response: Response
    settings: Settings
    arm: int
    bucket: int
    scores: dict[str, ScoreState]  # by metric, of those in its slices and its stage


def enter(
    rollup: Rollup,
    unit: UnitState,
    response: Response,
    specs: dict[str, MetricSpec],
    settings: Settings,
) -> bool:
    """Score everything known at once; return False when the response is not to be scored at all.

    The outcome metrics of a response for which this returns True follow by `mature`.
    """
    totals, arm = rollup.totals, int(response.canary)
    if not 0.0 < response.share < 1.0:
        totals.unusable += 1
        return False
    _meet(rollup, unit, response)
    day = int(response.at_s // DAY_S)
    of_day = unit.days.get(day, 0)
    if of_day >= settings.max_per_unit_day:
        totals.over_cap[arm] += 1
        return False
    unit.days[day] = of_day + 1
    visit = _visit(rollup, unit, response, settings)
    for spec in specs.values():
        if spec.outcome is None:
            _score(visit, spec)
    return True


def mature(
    rollup: Rollup,
    unit: UnitState,
    response: Response,
    spec: MetricSpec,
    settings: Settings,
) -> None:
    """Score the outcome of a response whose window has closed."""
    _score(_visit(rollup, unit, response, settings), spec)


def _visit(rollup: Rollup, unit: UnitState, response: Response, settings: Settings) -> _Visit:
    return _Visit(
        rollup,
        unit,
        response,
        settings,
        int(response.canary),
        int(response.at_s // settings.bucket_s),
        rollup.waiting(unit.slices or (), response.stage),
    )


def look(rollup: Rollup, specs: dict[str, MetricSpec], at_s: float) -> None:
    """Prepare the sums for a decision: running maxima and, every six hours, a restart point."""
    for (name, slice_), state in rollup.slices.items():
        frozen, spec = rollup.metric(name).frozen, specs.get(name)
        if frozen is None or spec is None:
            continue
        raise_maxima(state, frozen, binary=spec.is_binary)
        if slice_ == ALL:
            metric, score = rollup.metric(name), state.score
            if not metric.snapshots:
                metric.snapshots.append((at_s, 0.0, 0.0))
                metric.squares.append((0.0, 0.0))
            elif at_s - metric.snapshots[-1][0] >= SNAPSHOT_S:
                metric.snapshots.append((at_s, score.s, state.harm_v[0]))
                metric.squares.append((score.pp, score.xx))


def _meet(rollup: Rollup, unit: UnitState, response: Response) -> None:
    totals, arm, share = rollup.totals, int(response.canary), response.share
    if unit.slices is None:
        unit.slices = tuple(
            f"{segment}={_known(rollup, segment, value)}"
            for segment, value in sorted(response.segments.items())
        )
        first = totals.new_units.setdefault(share, [0, 0])
        first[0] += arm
        first[1] += 1
    # In its arm, at the share it is known at, a unit says nothing new.
    if share != (unit.lowest_canary_share if response.canary else unit.highest_control_share):
        _check_arm(rollup, unit, response)
    stage = response.stage
    if stage not in unit.stages:
        unit.stages.append(stage)
        totals.stage_units.setdefault(stage, [0, 0])[arm] += 1
    of_stage = totals.stage_responses.get(stage)
    if of_stage is None:
        of_stage = totals.stage_responses[stage] = [0, 0]
    of_stage[arm] += 1
    last = totals.last_at_s[arm]
    if last is None or response.at_s > last:
        totals.last_at_s[arm] = response.at_s
    model = response.reported_model
    if model is not None:
        models = totals.models[arm]
        models[model] = models.get(model, 0) + 1
        if not totals.known_models[arm] and sum(models.values()) >= KNOWN_AFTER:
            totals.known_models[arm] = sorted(models)


def _check_arm(rollup: Rollup, unit: UnitState, response: Response) -> None:
    """Count a unit once whose arms no share explains.

    With nested buckets no unit is canary at share a and control at share b >= a.
    """
    was_wrong = _is_contradictory(unit)
    if (unit.lowest_canary_share if response.canary else unit.highest_control_share) is None:
        rollup.totals.units[response.canary] += 1
    if response.canary:
        lowest = unit.lowest_canary_share
        unit.lowest_canary_share = response.share if lowest is None else min(lowest, response.share)
    else:
        highest = unit.highest_control_share
        unit.highest_control_share = (
            response.share if highest is None else max(highest, response.share)
        )
    if _is_contradictory(unit) and not was_wrong:
        rollup.totals.in_both_arms += 1


def _is_contradictory(unit: UnitState) -> bool:
    low, high = unit.lowest_canary_share, unit.highest_control_share
    return low is not None and high is not None and high >= low


def _known(rollup: Rollup, segment: str, value: str) -> str:
    values = rollup.totals.segment_values.setdefault(segment, [])
    if value in values:
        return value
    if len(values) >= MAX_SEGMENT_VALUES:
        value = OTHER  # a header that names each user would make a slice of each user
    if value not in values:
        values.append(value)
    return value


def _score(visit: _Visit, spec: MetricSpec) -> None:
    name, response, unit = spec.name, visit.response, visit.unit
    state = visit.rollup.counters(name)
    number = _number(visit, spec, state)
    if number is None:
        return
    own = unit.metrics.get(name)
    if own is None:
        own = unit.metrics[name] = UnitMetric()
    score = visit.scores.get(name)
    if score is None:
        score = visit.scores[name] = ScoreState()
    canary, bucket = response.canary, visit.bucket
    update(
        score,
        own,
        canary=canary,
        share=response.share,
        value=number,
        centre=centre_of(state, spec, bucket),
        binary=spec.is_binary,
    )
    if number == 1.0 and spec.hard_failure and not own.has_failed:
        own.has_failed = True
        visit.rollup.note_first(name, unit.slices or (), share=response.share, canary=canary)
    if not canary:
        _collect(state, own, spec, bucket, number)


def _number(visit: _Visit, spec: MetricSpec, state: MetricState) -> float | None:
    """Return the number to be scored; None when there is none, and count why."""
    arm, facts = visit.arm, visit.response.facts
    if not spec.applies(facts):
        return None
    state.applicable[arm] += 1
    value = spec.value(facts)
    if value is None:
        return None
    is_rate, frozen = spec.scale is _RATE, state.frozen
    if not (value in (0.0, 1.0) if is_rate else _is_usable(spec, value)):
        state.refused += 1
        return None
    state.observed[arm] += 1
    if is_rate and frozen is not None and not spec.is_counted:
        return value
    if spec.is_counted:
        _count(state, arm, value)
    beside = spec.denominator or spec.uncut
    denominator = 1.0 if beside is None else beside(facts)
    if state.frozen is None:
        _calibrate(state, visit.response, spec, visit.settings, (value, denominator))
        if spec.needs_baseline:
            state.calibrating[arm] += 1
            return None
    if spec.skips_warm_up and _is_warming_up(visit.response, visit.settings):
        state.warming_up[arm] += 1
        return None
    if spec.denominator is not None:
        state.denominator[arm] += denominator
    return value if state.frozen is None else scored(spec, state.frozen, value, denominator)


def _is_usable(spec: MetricSpec, value: float) -> bool:
    return abs(value) <= LARGEST and (value >= 0.0 or spec.is_signed)


def _count(state: MetricState, arm: int, value: float) -> None:
    if value == 0.0:
        state.zeros[arm] += 1
    else:
        bins, bin_ = state.bins[arm], bin_of(value)
        bins[bin_] = bins.get(bin_, 0) + 1


def _calibrate(
    state: MetricState,
    response: Response,
    spec: MetricSpec,
    settings: Settings,
    pair: tuple[float, float],
) -> None:
    rule = settings.rules.get(spec.name, Rule())
    if not spec.needs_baseline and not any(m.relative for m in rule.stages.values()):
        state.frozen = freeze(spec, rule, state.baseline)
    else:
        if not response.canary:
            state.baseline.append(pair[0])
            state.denominators.append(pair[1])
        seen = len(state.baseline)
        has_waited = response.at_s - settings.started_at_s >= settings.calibrate_s
        is_full = seen >= MAX_BASELINE
        is_divisible = spec.denominator is None or any(state.denominators)
        if is_full and not is_divisible:
            state.baseline, state.denominators = [], []  # nothing yet to divide by: begin again
        elif is_full or (seen >= MIN_BASELINE and has_waited and is_divisible):
            state.frozen = freeze(spec, rule, state.baseline, state.denominators)
    if state.frozen is not None:
        state.baseline, state.denominators = [], []


def _is_warming_up(response: Response, settings: Settings) -> bool:
    changes, at_s = settings.share_changes_s, response.at_s
    if not changes or at_s < changes[0]:
        return False
    last = changes[-1] if at_s >= changes[-1] else changes[bisect_right(changes, at_s) - 1]
    return at_s < last + settings.warmup_s


def centre_of(state: MetricState, spec: MetricSpec, bucket: int) -> float:
    """Return the control's mean that was known when the bucket of the request began."""
    if state.centres and bucket >= state.centres[-1][0]:
        return state.centres[-1][1]
    position = bisect_right(state.centres, bucket, key=lambda entry: entry[0])
    if position:
        return state.centres[position - 1][1]
    return spec.prior if state.frozen is None else state.frozen.centre


def _collect(
    state: MetricState, own: UnitMetric, spec: MetricSpec, bucket: int, number: float
) -> None:
    if bucket > state.bucket:
        close_bucket(state, spec, bucket)
    if bucket < state.bucket:
        return  # its bucket has closed: the centre may not change under responses already scored
    if own.bucket != bucket:
        own.bucket = bucket
        state.bucket_units += 1
    state.bucket_n += 1
    state.bucket_sum += number


def close_bucket(state: MetricState, spec: MetricSpec, bucket: int) -> None:
    """Open `bucket`; the one before gives the next centre if enough units were in it."""
    if state.bucket_units >= MIN_BUCKET_UNITS:
        mean = state.bucket_sum / state.bucket_n
        if spec.is_binary:
            floor = 0.5 / (max(state.bucket_n, PRIOR_RESPONSES) + 1)
            mean = min(max(mean, floor), 1.0 - floor)
        state.centres.append((bucket, mean))
    state.bucket, state.bucket_units, state.bucket_n, state.bucket_sum = bucket, 0, 0, 0.0
