"""One metric, canary against control: values, difference, interval and the evidence of harm."""

from __future__ import annotations

from math import log

import msgspec

from llm_canary.decision.evidence import Counts, MetricEvidence, SliceEvidence
from llm_canary.decision.plan import MetricKind, Plan
from llm_canary.decision.words import change_text, value_text
from llm_canary.metrics.freeze import Frozen
from llm_canary.metrics.spec import MetricSpec, Scale, Unit
from llm_canary.stats.exact import log_e_ratio
from llm_canary.stats.global_test import average_log_e, restart_log_e
from llm_canary.stats.mixture import interval, log_e, log_e_three
from llm_canary.stats.score import ScoreState, effect, effective_canary_units

ROUGH_BELOW = 50.0  # effective canary units under which an interval is only an indication


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of one metric.

    `control` and `canary` are in `unit` and the metric's own orientation; `difference`, `low`,
    `high`, `margin` and `tolerance` in `scored_unit`, where larger is worse (for quantiles: the
    share of responses above the frozen threshold).
    """

    metric: str
    kind: MetricKind
    unit: Unit = Unit.NUMBER
    scored_unit: Unit = Unit.NUMBER
    larger_is_better: bool = False
    n_control: int = 0  # responses scored
    n_canary: int = 0
    units_control: int = 0
    units_canary: int = 0
    effective_units: float = 0.0
    control: float | None = None
    canary: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    tolerance: float | None = None
    threshold: float | None = None
    log_e_harm: float | None = None  # of "worse than control", natural log
    is_rough: bool = True
    first_failures: tuple[int, int, float] | None = None  # canary units, all, expected in canary


def compare(spec: MetricSpec, kind: MetricKind, found: MetricEvidence) -> Comparison:
    """Return counts and values of one metric; what is not known yet is None."""
    state = found.score
    n_eff = effective_canary_units(state)
    return Comparison(
        metric=spec.name,
        kind=kind,
        unit=spec.unit,
        scored_unit=spec.scored_unit,
        larger_is_better=spec.larger_is_better,
        n_control=state.n_control,
        n_canary=state.n_canary,
        units_control=state.units_control,
        units_canary=state.units_canary,
        effective_units=n_eff,
        control=_value(spec, found, canary=False),
        canary=_value(spec, found, canary=True),
        is_rough=n_eff < ROUGH_BELOW,
    )


def with_evidence(
    base: Comparison, spec: MetricSpec, found: MetricEvidence, *, plan: Plan, stage: str
) -> Comparison:
    """Return the comparison with the difference, its interval and the evidence of harm."""
    frozen, state = found.frozen, found.score
    if frozen is None or effect(state) is None:
        return base
    low, high = _interval(spec, found, frozen, plan)
    margin = frozen.margins.get(stage, frozen.final_margin)
    difference = effect(state) or 0.0
    if spec.is_binary:  # few units may estimate more than there can be
        difference = min(max(difference, -1.0), 1.0)
    per = frozen.per_response
    return msgspec.structs.replace(
        base,
        difference=difference / per,
        low=None if low is None else low / per,
        high=None if high is None else high / per,
        margin=margin / per if margin > 0.0 else None,
        tolerance=frozen.tolerance / per,
        threshold=frozen.threshold,
        log_e_harm=harm_log_e(found, frozen),
        first_failures=_first_failures(found) if spec.hard_failure else None,
    )


def values_text(shown: Comparison) -> str:
    """Return both values and how much worse the canary is, with the interval."""
    unit, scored, above = shown.unit, shown.scored_unit, ""
    if shown.threshold is not None:
        above = f" of responses above {value_text(unit, shown.threshold)}"
    return (
        f"control {value_text(unit, shown.control)}, canary {value_text(unit, shown.canary)}, "
        f"worse by {change_text(scored, shown.difference)}{above} "
        f"[{change_text(scored, shown.low)}, {change_text(scored, shown.high)}]"
    )


def harm_log_e(found: MetricEvidence, frozen: Frozen) -> float:
    """Return the log e-value of "worse than control", with restarts for harm that began late."""
    score = restart_log_e(_restarts(found), found.score.s, found.harm_v[0], frozen.v0_harm)
    return _with_exact(score, found.first)


def _restarts(found: MetricEvidence) -> tuple[tuple[float, float], ...]:
    """Return (S, V) at the restarts, so that what V has gained since is the larger gain of its two.

    The gain of the larger one is not: after a ramp to nearly all traffic the robust variance hardly
    grows until the few control units fail, and if it was ahead by chance it would stay the larger.
    """
    v, score = found.harm_v[0], found.score
    without = len(found.snapshots) - len(found.squares)
    known = (
        (s, min(then, v - (score.pp - pp), v - (score.xx - xx)))
        for (s, then), (pp, xx) in zip(found.snapshots[without:], found.squares, strict=True)
    )
    return (*found.snapshots[:without], *known) or ((0.0, 0.0),)


def segment_log_e(found: SliceEvidence, frozen: Frozen) -> float:
    """Return the log e-value of "worse than control" within one segment."""
    return _with_exact(log_e_three(found.score.s, found.harm_v, frozen.v0_harm), found.first)


def is_worse_than_tolerated(found: MetricEvidence, frozen: Frozen, alpha: float) -> bool:
    """Say whether harm beyond the tolerance is proven for this metric by itself (L > tolerance)."""
    shifted = found.score.s - frozen.tolerance * found.score.i
    return log_e_three(shifted, found.harm_v[1], frozen.v0_harm) >= -log(alpha)


def is_within_final_margin(found: MetricEvidence, frozen: Frozen, alpha: float) -> bool:
    """Say whether "not worse by the final margin" is proven at every look (U < margin)."""
    if frozen.final_margin <= 0.0:
        return False
    shifted = found.score.s - frozen.final_margin * found.score.i
    return log_e(-shifted, found.final_v, frozen.v0_not_worse) >= -log(alpha)


def _first_failures(found: MetricEvidence) -> tuple[int, int, float]:
    return (
        sum(each.canary for each in found.first),
        sum(each.total for each in found.first),
        sum(each.share * each.total for each in found.first),
    )


def _with_exact(score: float, first: tuple[Counts, ...]) -> float:
    if not first:
        return score
    exact = log_e_ratio(
        [each.canary for each in first],
        [each.total for each in first],
        [each.share for each in first],
        1.0,
        side="up",
    )
    return average_log_e([score, exact], [0.5, 0.5])


def _interval(
    spec: MetricSpec, found: MetricEvidence, frozen: Frozen, plan: Plan
) -> tuple[float | None, float | None]:
    alpha = plan.alpha_rollback
    low, high = interval(
        found.score,
        alpha=alpha,
        v0=frozen.v0_harm,
        v0_upper=frozen.v0_not_worse,
        binary=spec.is_binary,
    )
    if spec.is_binary:  # two shares cannot differ by more than everything
        low, high = (None if end is None or abs(end) > 1.0 else end for end in (low, high))
    # The interval uses the present V, decisions its running maximum: the picture may not claim
    # what no decision says.
    proven = is_worse_than_tolerated(found, frozen, alpha)
    if low is not None and low > frozen.tolerance and not proven:
        low = frozen.tolerance
    final = frozen.final_margin
    if (
        high is not None
        and final > 0.0
        and high < final
        and not is_within_final_margin(found, frozen, alpha)
    ):
        high = final
    return low, high


def _value(spec: MetricSpec, found: MetricEvidence, *, canary: bool) -> float | None:
    if spec.scale is Scale.QUANTILE:
        return found.quantiles[canary]
    mean, frozen = _mean(found.score, canary=canary), found.frozen
    if mean is None:
        return None
    if spec.scale is Scale.RATIO:
        n = found.score.n_canary if canary else found.score.n_control
        total = found.denominators[canary]
        return None if frozen is None or not total else (frozen.ratio or 0.0) + mean * n / total
    if spec.larger_is_better:
        is_part = spec.is_binary or spec.scale is Scale.POINTS
        return 1.0 - mean if is_part else -mean
    return mean


def _mean(state: ScoreState, *, canary: bool) -> float | None:
    n = state.n_canary if canary else state.n_control
    total = state.sum_canary if canary else state.sum_control
    return total / n if n else None
