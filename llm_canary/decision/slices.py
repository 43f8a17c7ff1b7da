"""The segments of a rollout: each metric in each slice, and which of them are flagged."""

from __future__ import annotations

from math import log

import msgspec

from llm_canary.decision.compare import ROUGH_BELOW, Comparison, compare, segment_log_e
from llm_canary.decision.evidence import Evidence, MetricEvidence, SliceEvidence
from llm_canary.decision.harm import flagged_segments, processes
from llm_canary.decision.plan import MetricKind, Plan
from llm_canary.decision.rules import kinds, specs_of
from llm_canary.metrics.freeze import Frozen
from llm_canary.metrics.spec import MetricSpec, Scale
from llm_canary.stats.mixture import interval
from llm_canary.stats.score import effect, effective_canary_units


class SliceComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One metric in one slice, in the words of `Comparison`."""

    segment: str
    value: str
    is_protected: bool
    is_flagged: bool  # over metrics and segments together, at a false discovery rate of 10 %
    rolls_back: bool  # its evidence alone rings the alarm over all metrics and segments
    comparison: Comparison


def slices(plan: Plan, evidence: Evidence) -> tuple[SliceComparison, ...]:
    """Return every slice that has been seen, by segment, value and metric."""
    running = processes(plan, evidence)
    flagged = {(each.metric, each.slice) for each in flagged_segments(running, evidence.protected)}
    alarming = {
        (each.metric, each.slice)
        for each in running
        if each.log_e + log(each.weight) >= -log(plan.alpha_rollback)
    }
    specs, of = specs_of(plan), kinds(plan)
    found = []
    for metric in evidence.metrics:
        spec = specs.get(metric.metric)
        if spec is None:
            continue
        kind = of.get(metric.metric, MetricKind.SECONDARY)
        for part in metric.segments:
            key = (metric.metric, f"{part.segment}={part.value}")
            found.append(
                SliceComparison(
                    segment=part.segment,
                    value=part.value,
                    is_protected=part.segment in evidence.protected,
                    is_flagged=key in flagged,
                    rolls_back=key in alarming,
                    comparison=_compared(plan, spec, kind, metric, part),
                )
            )
    return tuple(sorted(found, key=lambda each: (each.segment, each.value)))


def _compared(
    plan: Plan, spec: MetricSpec, kind: MetricKind, metric: MetricEvidence, part: SliceEvidence
) -> Comparison:
    own = msgspec.structs.replace(
        metric, score=part.score, quantiles=(None, None), denominators=(0.0, 0.0)
    )
    base = msgspec.structs.replace(
        compare(spec, kind, own), is_rough=effective_canary_units(part.score) < ROUGH_BELOW
    )
    if spec.scale is Scale.QUANTILE:  # of a slice only the shares above the threshold are kept
        base = msgspec.structs.replace(
            base,
            unit=spec.scored_unit,
            control=_mean(part.score.sum_control, part.score.n_control),
            canary=_mean(part.score.sum_canary, part.score.n_canary),
        )
    frozen, estimate = metric.frozen, effect(part.score)
    is_one_sided = not part.score.n_control or not part.score.n_canary
    if frozen is None or estimate is None or is_one_sided:
        return base
    return _with_interval(base, spec, frozen, part, plan.alpha_rollback)


def _with_interval(
    base: Comparison, spec: MetricSpec, frozen: Frozen, part: SliceEvidence, alpha: float
) -> Comparison:
    low, high = interval(
        part.score,
        alpha=alpha,
        v0=frozen.v0_harm,
        v0_upper=frozen.v0_not_worse,
        binary=spec.is_binary,
    )
    estimate = effect(part.score) or 0.0
    if spec.is_binary:  # two shares cannot differ by more than everything
        low, high = (None if end is None or abs(end) > 1.0 else end for end in (low, high))
        estimate = min(max(estimate, -1.0), 1.0)
    per = frozen.per_response
    return msgspec.structs.replace(
        base,
        difference=estimate / per,
        low=None if low is None else low / per,
        high=None if high is None else high / per,
        margin=frozen.final_margin / per if frozen.final_margin > 0.0 else None,
        threshold=frozen.threshold,
        log_e_harm=segment_log_e(part, frozen),
    )


def _mean(total: float, n: int) -> float | None:
    return total / n if n else None
