"""When a stage may be decided, were the difference and the traffic to stay as they are.

For people only: nothing is decided by it. A gate's score grows with its information and its
variance likewise, so the distance to a look's bound, in standard errors, grows with the root.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf, log, sqrt

import msgspec

from llm_canary.decision.evidence import Evidence, MetricEvidence
from llm_canary.decision.gates import LOOKS, least_units, look_times_s
from llm_canary.decision.plan import Plan, Stage
from llm_canary.decision.rules import AV_PART, alpha_promote, specs_of
from llm_canary.stats.boundaries import obrien_fleming
from llm_canary.stats.mixture import log_e
from llm_canary.stats.score import effective_canary_units


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """Stage ages in seconds; `expected_s` is None where it is unknown or not within the stage."""

    earliest_s: float
    latest_s: float  # then a person is asked
    expected_s: float | None = None
    binding: str | None = None  # the gate that takes longest, or keeps it from being known
    is_known: bool = True  # False: a gate has too little to go by


def outlook(plan: Plan, stage: Stage, evidence: Evidence, open_: Collection[str]) -> Outlook:
    """Return when the stage may be left; `open_` are the gates that have not passed yet."""
    if not stage.is_measured:
        lasts = max(stage.for_s, stage.min_s)
        return Outlook(earliest_s=lasts, latest_s=lasts, expected_s=lasts)
    shortest = max(stage.min_s, plan.full_cycle_s)
    latest = max(stage.max_s, shortest, evidence.progress.extended_until_s or 0.0)
    found = Outlook(earliest_s=shortest, latest_s=latest)
    by_name = {each.metric: each for each in evidence.metrics}
    slowest, binding = max(shortest, evidence.stage_age_s), None
    specs = specs_of(plan) if open_ else {}
    for name in open_:
        metric = by_name.get(name)
        if metric is None or metric.frozen is None or not _is_moving(metric, evidence):
            return msgspec.structs.replace(found, binding=name, is_known=False)
        least = least_units(stage, specs[name])
        at = _proven_at(plan, stage, evidence, metric, least)
        if at is None:
            return msgspec.structs.replace(found, binding=name)
        if at > slowest or binding is None:
            slowest, binding = max(at, slowest), name
    return msgspec.structs.replace(found, expected_s=slowest, binding=binding)


def _is_moving(metric: MetricEvidence, evidence: Evidence) -> bool:
    return evidence.stage_age_s > 0.0 and metric.stage_i > 0.0 and bool(metric.stage_v)


def _proven_at(
    plan: Plan, stage: Stage, evidence: Evidence, metric: MetricEvidence, least: int
) -> float | None:
    """Return the stage age of the first look that would show it, None when none would."""
    frozen = metric.frozen
    if frozen is None:
        return None
    margin, age = frozen.margins.get(stage.name, 0.0), evidence.stage_age_s
    shifted, v = margin * metric.score.i - metric.score.s, metric.stage_v or 0.0
    if margin <= 0.0 or shifted <= 0.0:
        return None
    alpha = alpha_promote(plan, evidence.attempt)
    times = look_times_s(plan, stage)
    bounds = obrien_fleming(alpha * (1.0 - AV_PART), LOOKS)[-len(times) :]
    needed = _growth_to_floor(metric, least, -log(plan.alpha_promote) * frozen.span / margin)
    for number, (time, bound) in enumerate(zip(times, bounds, strict=True), start=1):
        at = max(time, age)
        growth = 1.0 + metric.stage_i * (at / age - 1.0) / metric.score.i
        if growth < needed:
            continue
        is_ahead = number > evidence.progress.looks_done
        by_look = is_ahead and shifted * sqrt(growth / v) >= bound
        always = log_e(shifted * growth, v * growth, frozen.v0_not_worse)
        if by_look or always >= -log(alpha * AV_PART):
            return at
    return None


def _growth_to_floor(metric: MetricEvidence, least: int, canary: float) -> float:
    """Return by which factor the units have to grow before a proof counts."""
    state = metric.score
    units = effective_canary_units(state)
    if units <= 0.0 or not state.units_canary:
        return inf
    return max(least / units, canary / state.units_canary)
