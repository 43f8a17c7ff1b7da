"""The one alarm over all metrics and segments: the weighted average of their e-values.

Weights are fixed with the plan: half on the metrics over all units, half on the segments (all of it
on the former when none are configured). Protected segments, if there are any, have half of the
segments' half for themselves. Within a segment the k-th value seen weighs 1/((k+1)(k+2)), so that
nobody needs to know the values beforehand. Absent ones count as 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import exp, log

import msgspec

from llm_canary.decision.compare import harm_log_e, is_within_final_margin, segment_log_e
from llm_canary.decision.evidence import Evidence, MetricEvidence
from llm_canary.decision.plan import MetricKind, Plan
from llm_canary.decision.rules import deciding, kinds, specs_of
from llm_canary.stats.exact import log_e_ratio
from llm_canary.stats.global_test import average_log_e, e_bh
from llm_canary.stats.score import ScoreState

SEGMENT_FDR = 0.10


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One e-process with its weight; `slice` is "all" or "segment=value"."""

    metric: str
    slice: str
    weight: float
    log_e: float


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the alarm and who rings it."""

    log_e: float
    threshold: float
    culprits: tuple[Process, ...] = ()  # those without which it would not ring, worst first

    @property
    def rings(self) -> bool:
        """Whether the rollout must be rolled back."""
        return self.log_e >= self.threshold


def alarm(plan: Plan, found: Sequence[Process], *, distrusted: Collection[str] = ()) -> Alarm:
    """Return the alarm over the processes of all metrics, but for those in `distrusted`."""
    return _alarm(plan, [each for each in found if each.metric not in distrusted])


def hard_alarm(plan: Plan, evidence: Evidence) -> Alarm:
    """Return the alarm over hard guardrails alone, fit for a comparison in doubt.

    Only first failures count, against the split of units as it was observed, not as it was meant:
    so an arm that merely gets too many or too few units is not accused.
    """
    of, specs = kinds(plan), specs_of(plan)
    split = {
        each.share: each.canary / each.total
        for each in evidence.health.new_units
        if 0 < each.canary < each.total
    }
    by_name = {each.metric: each for each in evidence.metrics}
    found = []
    for name in deciding(plan):
        spec, each = specs.get(name), by_name.get(name)
        if spec is None or each is None or not spec.hard_failure:
            continue
        first = [one for one in each.first if one.share in split]
        if of[name] is MetricKind.GUARDRAIL and first:
            counts = [one.canary for one in first], [one.total for one in first]
            log_e = log_e_ratio(*counts, [split[one.share] for one in first], 1.0, side="up")
            weight = overall_weight(plan, evidence)
            found.append(Process(metric=name, slice="all", weight=weight, log_e=log_e))
    return _alarm(plan, found)


def overall_weight(plan: Plan, evidence: Evidence) -> float:
    """Return the weight of one metric over all units."""
    return (0.5 if evidence.segments else 1.0) / max(len(deciding(plan)), 1)


def processes(plan: Plan, evidence: Evidence) -> list[Process]:
    """Return every e-process that has begun.

    The null of a metric is "no harm at all"; once "not worse by the final margin" is shown for it,
    a small real harm is for a person to weigh, and its overall process does not ring.
    """
    names = deciding(plan)
    by_name = {each.metric: each for each in evidence.metrics}
    overall = overall_weight(plan, evidence)
    weights = {name: each / len(names) for name, each in _segment_weights(evidence).items()}
    found: list[Process] = []
    for name in names:
        each = by_name.get(name)
        if each is None or each.frozen is None or not _is_in_both_arms(each.score):
            continue
        if not is_within_final_margin(each, each.frozen, plan.alpha_rollback):
            log_e = harm_log_e(each, each.frozen)
            found.append(Process(metric=name, slice="all", weight=overall, log_e=log_e))
        found += _of_segments(each, weights)
    return found


def _segment_weights(evidence: Evidence) -> dict[str, float]:
    """Return the weight of each segment, over all metrics."""
    protected = evidence.protected
    others = [name for name in evidence.segments if name not in protected]
    families = [family for family in (protected, others) if family]
    return {name: 0.5 / len(families) / len(family) for family in families for name in family}


def flagged_segments(
    found: Sequence[Process], protected: Collection[str] = ()
) -> tuple[Process, ...]:
    """Return the segments that are worse at a false discovery rate of 10 % (e-BH).

    The protected ones are a family of their own, so that many others do not dilute them.
    """
    families: tuple[list[Process], list[Process]] = ([], [])
    for each in found:
        if each.slice != "all":
            families[each.slice.partition("=")[0] in protected].append(each)
    return tuple(
        own[index]
        for own in reversed(families)
        if own
        for index in e_bh([each.log_e for each in own], q=SEGMENT_FDR, total=len(own))
    )


def _is_in_both_arms(score: ScoreState) -> bool:
    """Say whether there is anything to compare.

    The score of one arm alone measures how far its frozen centre is off, not the canary.
    """
    return score.n_control > 0 and score.n_canary > 0


def _of_segments(each: MetricEvidence, weights: Mapping[str, float]) -> list[Process]:
    if each.frozen is None:
        return []
    return [
        Process(
            metric=each.metric,
            slice=f"{part.segment}={part.value}",
            weight=weights[part.segment] / ((part.rank + 1) * (part.rank + 2)),
            log_e=segment_log_e(part, each.frozen),
        )
        for part in each.segments
        if part.segment in weights and _is_in_both_arms(part.score)
    ]


def _alarm(plan: Plan, found: list[Process]) -> Alarm:
    threshold = -log(plan.alpha_rollback)
    if not found:
        return Alarm(log_e=0.0, threshold=threshold)
    total = average_log_e([each.log_e for each in found], [each.weight for each in found])
    if total < threshold:
        return Alarm(log_e=total, threshold=threshold)
    return Alarm(log_e=total, threshold=threshold, culprits=_culprits(found, total, threshold))


def _culprits(found: list[Process], total: float, threshold: float) -> tuple[Process, ...]:
    """Return the largest contributions, until the rest alone would be silent."""
    worst = sorted(found, key=lambda each: each.log_e + log(each.weight), reverse=True)
    named: list[Process] = []
    rest = 1.0
    for each in worst:
        if named and log(max(rest, 1e-300)) + total < threshold:
            break
        named.append(each)
        rest -= exp(each.log_e + log(each.weight) - total)
    return tuple(named)
