"""The segments of a rollout: each metric in each slice, and which of them are flagged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log
from typing import NamedTuple

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


class Slices(msgspec.Struct, frozen=True, kw_only=True):
    """Slices by segment, then value, then metric; values in the order in which they matter."""

    slices: tuple[SliceComparison, ...] = ()
    left_out: dict[str, int] = {}  # segment -> values that there was no room for


class _Seen(NamedTuple):
    """One metric in one slice, before anything is computed of it."""

    metric: MetricEvidence
    part: SliceEvidence
    log_e: float | None  # of harm, where it counts for the alarm
    is_flagged: bool
    rolls_back: bool


def slices(
    plan: Plan, evidence: Evidence, *, only: str | None = None, most: int | None = None
) -> Slices:
    """Return every slice that has been seen; `only` of one segment, `most` values of each at most.

    Values with a mark come first and are never left out, then those with the most canary responses.
    Marks are made over all slices, and an interval is solved for what is returned alone.
    """
    by_segment: dict[str, dict[str, list[_Seen]]] = {}
    for each in _seen(plan, evidence):
        if only is None or each.part.segment == only:
            values = by_segment.setdefault(each.part.segment, {})
            values.setdefault(each.part.value, []).append(each)
    found: list[_Seen] = []
    left_out = {}
    for segment, values in sorted(by_segment.items()):
        ranked = sorted(values.values(), key=_rank)
        room = len(ranked) if most is None else max(most, sum(map(_is_marked, ranked)))
        left_out[segment] = len(ranked[room:])
        found += [each for own in ranked[:room] for each in own]
    specs, of = specs_of(plan), kinds(plan)
    return Slices(
        slices=tuple(
            SliceComparison(
                segment=each.part.segment,
                value=each.part.value,
                is_protected=each.part.segment in evidence.protected,
                is_flagged=each.is_flagged,
                rolls_back=each.rolls_back,
                comparison=_compared(
                    plan,
                    specs[each.metric.metric],
                    of.get(each.metric.metric, MetricKind.SECONDARY),
                    each,
                ),
            )
            for each in found
        ),
        left_out=left_out,
    )


def _seen(plan: Plan, evidence: Evidence) -> Iterator[_Seen]:
    running = processes(plan, evidence)
    log_e = {(each.metric, each.slice): each.log_e for each in running}
    flagged = {(each.metric, each.slice) for each in flagged_segments(running, evidence.protected)}
    alarming = {
        (each.metric, each.slice)
        for each in running
        if each.log_e + log(each.weight) >= -log(plan.alpha_rollback)
    }
    specs = specs_of(plan)
    for metric in evidence.metrics:
        for part in metric.segments if metric.metric in specs else ():
            key = (metric.metric, f"{part.segment}={part.value}")
            yield _Seen(metric, part, log_e.get(key), key in flagged, key in alarming)


def _rank(own: Sequence[_Seen]) -> tuple[bool, int, str]:
    most = max(each.part.score.n_canary for each in own)
    return not _is_marked(own), -most, own[0].part.value


def _is_marked(own: Sequence[_Seen]) -> bool:
    return any(each.is_flagged or each.rolls_back for each in own)


def _compared(plan: Plan, spec: MetricSpec, kind: MetricKind, seen: _Seen) -> Comparison:
    metric, part = seen.metric, seen.part
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
    return _with_interval(base, spec, frozen, seen, plan.alpha_rollback)


def _with_interval(
    base: Comparison, spec: MetricSpec, frozen: Frozen, seen: _Seen, alpha: float
) -> Comparison:
    part = seen.part
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
        log_e_harm=segment_log_e(part, frozen) if seen.log_e is None else seen.log_e,
    )


def _mean(total: float, n: int) -> float | None:
    return total / n if n else None
