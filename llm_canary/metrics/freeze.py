"""The numbers of a metric that are fixed before its first response is scored, and never edited.

A threshold or a cap that followed the data would let the canary choose its own yardstick. So the
control is watched first: in the route's traffic before the rollout, else in the first responses of
the rollout, which then enter the comparison in neither arm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, fsum, log, sqrt

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from llm_canary.errors import DataError
from llm_canary.metrics.spec import PRIOR_RESPONSES, MetricSpec, Scale
from llm_canary.stats.mixture import precision
from llm_canary.stats.power import Target, binary_variance, planned_variance
from llm_canary.stats.transform import Ridit, fit_ridit, linearise

MIN_BASELINE = 50  # control responses without which nothing is frozen
MAX_BASELINE = 1_000
_CAP_QUANTILE = 0.999
_CAP_MEANS = 3.0  # a control that hardly varies must not cap a dear canary at its own value
_PLAN_ALPHA, _PLAN_POWER = 0.05, 0.9
_HARM_AT = 1.5  # of the planned variance the watch for harm is sharpest; its 90th percentile gains
_POINTS_VARIANCE = 0.0625  # of a judge's scores, standard deviation 0.25 (STATISTICS 5)
_MIN_WIDTH = 0.005  # of the smoothing kernel, as a fraction of the value


class StageMargin(msgspec.Struct, frozen=True):
    """How much worse is still not inferior; `relative` = as a fraction of the control's value."""

    value: float
    relative: bool


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan asks of one metric, resolved for each measured stage that gates it."""

    stages: dict[str, StageMargin] = {}  # in plan order; empty: shown, never gated
    tolerance: float | None = None  # in the final margin's unit; None: the default
    share: float = 0.5  # of the last measured stage
    alpha_harm: float = 0.01
    alpha_not_worse: float = 0.01


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """The fixed numbers; margins, tolerance, centre and variance are on the scored scale."""

    n: int  # control responses they were taken from; 0: from the prior
    centre: float
    variance: float
    span: float  # largest value that can be scored
    margins: dict[str, float]  # stage -> margin
    final_margin: float
    tolerance: float
    v0_harm: float
    v0_not_worse: float
    threshold: float | None = None
    cap: float | None = None
    floor: float | None = None  # of signed values
    ridit: Ridit | None = None
    ratio: float | None = None  # R0: the control's numerator per denominator
    per_response: float = 1.0  # mean denominator: a ratio's difference is the scored one over it


def freeze(
    spec: MetricSpec, rule: Rule, baseline: Sequence[float], denominators: Sequence[float] = ()
) -> Frozen:
    """Return the fixed numbers of `spec`; `baseline` holds control values as observed.

    `denominators` belong to the values of a ratio, and then their sum must be positive; or they are
    the parts of the values that are not cut.
    """
    if spec.scale is Scale.POINTS:
        return _freeze_points(spec, rule, baseline)
    if spec.scale is not Scale.RATE and len(baseline) < MIN_BASELINE:
        raise DataError(
            f"{spec.name} has {len(baseline)} control values; {MIN_BASELINE} are needed to fix it"
        )
    if spec.scale is Scale.QUANTILE:
        return _freeze_quantile(spec, rule, baseline)
    if spec.scale is Scale.RIDIT:
        return _freeze_ridit(spec, rule, baseline)
    if spec.scale is Scale.RATIO:
        return _freeze_ratio(spec, rule, baseline, denominators)
    if spec.uncut is not None and denominators:
        return _freeze_partly(spec, rule, baseline, denominators)
    if spec.is_signed:
        return _freeze_signed(spec, rule, baseline)
    if spec.scale is Scale.WINSORISED:
        mean = fsum(baseline) / len(baseline)
        cap = max(quantile_of(baseline, _CAP_QUANTILE), _CAP_MEANS * mean)
        cut = [min(value, cap) for value in baseline]
        mean = fsum(cut) / len(cut)
        spread = fsum((value - mean) ** 2 for value in cut) / max(len(cut) - 1, 1)
        return _frozen(
            spec,
            rule,
            Frozen(
                n=len(cut),
                centre=mean,
                variance=max(spread, (_MIN_WIDTH * mean) ** 2),
                span=max(cap - mean, 0.0),
                cap=cap,
                margins={},
                final_margin=0.0,
                tolerance=0.0,
                v0_harm=1.0,
                v0_not_worse=1.0,
            ),
            {stage: _absolute(margin, mean) for stage, margin in rule.stages.items()},
        )
    mean = fsum(baseline) / len(baseline) if len(baseline) >= MIN_BASELINE else spec.prior
    n = len(baseline) if len(baseline) >= MIN_BASELINE else PRIOR_RESPONSES
    mean = min(max(mean, 0.5 / (n + 1)), 1.0 - 0.5 / (n + 1))
    of = 1.0 - mean if spec.larger_is_better else mean  # a relative margin is one of what is shown
    margins = {stage: _absolute(margin, of) for stage, margin in rule.stages.items()}
    return _frozen(spec, rule, _binary(len(baseline), mean, None), margins)


def scored(spec: MetricSpec, frozen: Frozen, value: float, denominator: float = 1.0) -> float:
    """Return the number that enters the score.

    `denominator` is the response's own: of a ratio, or the part of the value that is not cut.
    """
    if spec.uncut is not None and frozen.cap is not None and frozen.floor is None:
        return min(value - denominator, frozen.cap) + denominator
    if frozen.ridit is not None:
        return frozen.ridit(value)
    if frozen.ratio is not None:
        value = linearise(value, denominator, frozen.ratio)
    if frozen.floor is not None:
        value = max(value, frozen.floor)
    if spec.scale is Scale.RATIO and frozen.cap is not None:
        return min(value, frozen.cap)
    if spec.scale is Scale.QUANTILE and frozen.threshold is not None:
        return float(value > frozen.threshold)
    if spec.scale is Scale.WINSORISED and frozen.cap is not None:
        return min(value, frozen.cap)
    return value


def _freeze_signed(spec: MetricSpec, rule: Rule, baseline: Sequence[float]) -> Frozen:
    """Cut at both ends, as far from the mean as the control's values rarely are."""
    mean = fsum(baseline) / len(baseline)
    reach = max(
        quantile_of([abs(value - mean) for value in baseline], _CAP_QUANTILE),
        (_CAP_MEANS - 1.0) * abs(mean),
    )
    cut = [min(max(value, mean - reach), mean + reach) for value in baseline]
    centre = fsum(cut) / len(cut)
    spread = fsum((value - centre) ** 2 for value in cut) / max(len(cut) - 1, 1)
    draft = Frozen(
        n=len(cut),
        centre=centre,
        variance=max(spread, (_MIN_WIDTH * mean) ** 2),
        span=mean + reach - centre,
        cap=mean + reach,
        floor=mean - reach,
        margins={},
        final_margin=0.0,
        tolerance=0.0,
        v0_harm=1.0,
        v0_not_worse=1.0,
    )
    margins = {stage: _absolute(margin, abs(centre)) for stage, margin in rule.stages.items()}
    return _frozen(spec, rule, draft, margins)


def _freeze_partly(
    spec: MetricSpec, rule: Rule, baseline: Sequence[float], uncut: Sequence[float]
) -> Frozen:
    """Cut what the value is beyond its uncut part, as a positive amount is cut."""
    rest = [value - part for value, part in zip(baseline, uncut, strict=True)]
    cap = max(quantile_of(rest, _CAP_QUANTILE), _CAP_MEANS * fsum(rest) / len(rest))
    cut = [min(value, cap) + part for value, part in zip(rest, uncut, strict=True)]
    centre = fsum(cut) / len(cut)
    spread = fsum((value - centre) ** 2 for value in cut) / max(len(cut) - 1, 1)
    draft = Frozen(
        n=len(cut),
        centre=centre,
        variance=max(spread, (_MIN_WIDTH * centre) ** 2),
        span=cap - centre,
        cap=cap,
        margins={},
        final_margin=0.0,
        tolerance=0.0,
        v0_harm=1.0,
        v0_not_worse=1.0,
    )
    margins = {stage: _absolute(margin, abs(centre)) for stage, margin in rule.stages.items()}
    return _frozen(spec, rule, draft, margins)


def _freeze_ratio(
    spec: MetricSpec, rule: Rule, baseline: Sequence[float], denominators: Sequence[float]
) -> Frozen:
    """Fix R0 and score `value - R0 denominator`, whose control mean is 0."""
    total = fsum(denominators)
    if len(denominators) != len(baseline) or total <= 0.0:
        raise DataError(
            f"{spec.name} has {len(denominators)} denominators of sum {total!r} for "
            f"{len(baseline)} values; a ratio needs one each and a positive sum"
        )
    ratio, per_response = fsum(baseline) / total, total / len(baseline)
    pairs = zip(baseline, denominators, strict=True)
    lines = [linearise(value, denominator, ratio) for value, denominator in pairs]
    stages = {
        stage: StageMargin(_absolute(margin, ratio) * per_response, relative=False)
        for stage, margin in rule.stages.items()
    }
    draft = _freeze_signed(spec, msgspec.structs.replace(rule, stages=stages), lines)
    return msgspec.structs.replace(
        draft,
        ratio=ratio,
        per_response=per_response,
        tolerance=_tolerance(spec, rule, draft.final_margin),
    )


def _freeze_ridit(spec: MetricSpec, rule: Rule, baseline: Sequence[float]) -> Frozen:
    ridit = fit_ridit([(value, 1) for value in baseline])
    ranks = [ridit(value) for value in baseline]
    draft = Frozen(
        n=len(baseline),
        centre=0.5,
        variance=max(fsum((rank - 0.5) ** 2 for rank in ranks) / len(ranks), _MIN_WIDTH),
        span=0.5,
        ridit=ridit,
        margins={},
        final_margin=0.0,
        tolerance=0.0,
        v0_harm=1.0,
        v0_not_worse=1.0,
    )
    margins = {stage: _absolute(margin, 0.5) for stage, margin in rule.stages.items()}
    return _frozen(spec, rule, draft, margins)


def _freeze_points(spec: MetricSpec, rule: Rule, baseline: Sequence[float]) -> Frozen:
    """Fix a rubric's score without a baseline: every one of its answers was paid for.

    Nothing is cut, because what people correct is unbiased only whole.
    """
    known = baseline if len(baseline) >= MIN_BASELINE else ()
    mean = fsum(known) / len(known) if known else spec.prior
    draft = Frozen(
        n=len(known),
        centre=mean,
        variance=_POINTS_VARIANCE,
        span=1.0,
        margins={},
        final_margin=0.0,
        tolerance=0.0,
        v0_harm=1.0,
        v0_not_worse=1.0,
    )
    margins = {stage: _absolute(margin, 1.0 - mean) for stage, margin in rule.stages.items()}
    return _frozen(spec, rule, draft, margins)


def _freeze_quantile(spec: MetricSpec, rule: Rule, baseline: Sequence[float]) -> Frozen:
    """Fix the threshold c_q(1 + m) of the final margin, and the margins as shares above it.

    A canary whose every value is larger by the stage's margin has `survival(threshold / (1 + f m))`
    of them above the threshold; at the final margin that is 1 - q.
    """
    q = spec.quantile if spec.quantile is not None else 0.5
    at = quantile_of(baseline, q)
    final = list(rule.stages.values())[-1] if rule.stages else StageMargin(0.0, relative=True)
    threshold = _moved(at, final, 1.0)
    above = _survival(baseline, threshold)
    margins = {
        stage: _survival(baseline, _moved_back(threshold, margin)) - above
        for stage, margin in rule.stages.items()
    }
    return _frozen(spec, rule, _binary(len(baseline), above, threshold), margins)


def _binary(n: int, mean: float, threshold: float | None) -> Frozen:
    mean = min(max(mean, 0.5 / (max(n, PRIOR_RESPONSES) + 1)), 0.99)
    return Frozen(
        n=n,
        centre=mean,
        variance=mean * (1.0 - mean),
        span=1.0,
        threshold=threshold,
        margins={},
        final_margin=0.0,
        tolerance=0.0,
        v0_harm=1.0,
        v0_not_worse=1.0,
    )


def _frozen(spec: MetricSpec, rule: Rule, draft: Frozen, margins: dict[str, float]) -> Frozen:
    final = list(margins.values())[-1] if margins else 0.0
    harm = _planned_variance(spec, rule, draft, final, alpha=rule.alpha_harm)
    planned = _planned_variance(spec, rule, draft, final, alpha=_PLAN_ALPHA)
    return msgspec.structs.replace(
        draft,
        margins=margins,
        final_margin=final,
        tolerance=_tolerance(spec, rule, final),
        v0_harm=precision(rule.alpha_harm, _HARM_AT * harm),
        v0_not_worse=precision(rule.alpha_not_worse, planned),
    )


def _planned_variance(
    spec: MetricSpec, rule: Rule, draft: Frozen, final: float, *, alpha: float
) -> float:
    effect = final if final > 0.0 else spec.planned_effect
    if spec.is_binary:
        effect = min(effect, 0.999 - draft.centre)
        variance = binary_variance(draft.centre, effect, rule.share)
    else:
        usual = max(abs(draft.centre), sqrt(draft.variance))
        effect = final if final > 0.0 else max(0.1 * usual, 1e-9)
        variance = max(draft.variance, 1e-18)
    target = Target(effect=effect, alpha=alpha, power=_PLAN_POWER)
    return planned_variance(target, variance=variance)


def _tolerance(spec: MetricSpec, rule: Rule, final: float) -> float:
    if rule.tolerance is None:
        return 0.0 if spec.hard_failure else final / 2.0
    written = list(rule.stages.values())[-1].value if rule.stages else 0.0
    return final * rule.tolerance / written if written > 0.0 else 0.0


def _absolute(margin: StageMargin, mean: float) -> float:
    return margin.value * mean if margin.relative else margin.value


def _moved(value: float, margin: StageMargin, factor: float) -> float:
    if margin.relative:
        return value * (1.0 + factor * margin.value)
    return value + factor * margin.value


def _moved_back(value: float, margin: StageMargin) -> float:
    return value / (1.0 + margin.value) if margin.relative else value - margin.value


def quantile_of(values: Sequence[float], q: float) -> float:
    """Return the q-quantile of the values, smoothed on the log scale.

    A sample of fifty has no 99.9th percentile of its own; a normal kernel of Silverman's width
    gives one, and a share above any threshold, that agree with each other.
    """
    positive = [value for value in values if value > 0.0]
    if not positive:
        return 0.0
    survival = _survival_of(values)
    low, high = min(positive) * 0.01, max(positive) * 100.0
    for _ in range(60):
        middle = sqrt(low * high)
        low, high = (middle, high) if survival(middle) > 1.0 - q else (low, middle)
    return sqrt(low * high)


def _survival(values: Sequence[float], threshold: float) -> float:
    return _survival_of(values)(threshold)


def _survival_of(values: Sequence[float]) -> Callable[[float], float]:
    """Return the smoothed share of the values above a threshold, for searches that ask often."""
    logs = np.array([log(value) for value in values if value > 0.0])
    width = _width(logs) if len(logs) else 1.0

    def survival(threshold: float) -> float:
        if threshold <= 0.0:
            return 1.0
        above = 0.5 * erfc((log(threshold) - logs) / (width * sqrt(2.0)))
        return float(above.sum()) / len(values)

    return survival


def _width(logs: NDArray[np.float64]) -> float:
    spread = float(logs.std(ddof=1)) if len(logs) > 1 else 0.0
    return max(1.06 * spread / float(np.power(len(logs), 0.2)), log(1.0 + _MIN_WIDTH), exp(-50))
