"""A judge for every answer, people for a few: one unbiased number per response, and PPI++.

The prediction g(f) = a + lam f of the human score is frozen from labels of previous days of both
arms; each human label corrects it by its error over the probability with which it was drawn, so a
biased judge costs precision, never validity (augmented inverse-probability weighting: Robins,
Rotnitzky and Zhao 1994; prediction-powered: Angelopoulos, Duchi and Zrnic 2023, "PPI++"). Scores
are in rubric points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from llm_canary.errors import DataError
from llm_canary.stats.cuped import CrossMoments

MIN_PROBABILITY = 0.005
MAX_SLOPE = 1.5


@dataclass(frozen=True, slots=True)
class Regression:
    """The frozen prediction of the human score from the judge's."""

    intercept: float
    slope: float

    def __call__(self, judge: float) -> float:
        """Return the predicted human score."""
        return self.intercept + self.slope * judge


def fit(labels: CrossMoments, *, centre: float) -> Regression:
    """Return the regression of human (y) on judge (x), slope in [0, 1.5]; unlabelled: `centre`."""
    if labels.n == 0:
        return Regression(intercept=centre, slope=0.0)
    slope = labels.covariance / labels.variance_x if labels.variance_x > 0.0 else 0.0
    slope = min(max(slope, 0.0), MAX_SLOPE)
    return Regression(labels.y / labels.n - slope * labels.x / labels.n, slope)


def pseudo_outcome(
    regression: Regression, *, judge: float, human: float | None, probability: float
) -> float:
    """Return the number to score when EVERY response is judged: g + (xi/q)(h - g).

    `probability` is the logged chance q that a person was asked, fixed before the answer was seen;
    `human` None: not asked.
    """
    _refuse_probability(probability)
    predicted = regression(_finite(judge, "judge"))
    if human is None:
        return predicted
    return predicted + (_finite(human, "human") - predicted) / probability


def sampled_pseudo_outcome(
    regression: Regression,
    *,
    centre: float,
    judge: float | None,
    judge_probability: float,
    human: float | None,
    human_probability: float,
) -> float:
    """Return the number when only some are judged: m + (zeta/q_f)(g - m) + (xi/q_h)(h - g).

    `human_probability` is the OVERALL chance of a human label; people label only among the judged.
    """
    _refuse_probability(judge_probability)
    _refuse_probability(human_probability)
    if judge is None:
        if human is not None:
            raise DataError(
                f"human score {human!r} without a judge score: label only what was judged"
            )
        return centre
    predicted = regression(_finite(judge, "judge"))
    value = centre + (predicted - centre) / judge_probability
    if human is None:
        return value
    return value + (_finite(human, "human") - predicted) / human_probability


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval for ONE look, and the weight that the judge was given."""

    mean: float
    lower: float
    upper: float
    weight: float


def ppi_mean(
    human: Sequence[float],
    judge: Sequence[float],
    judge_only: Sequence[float],
    *,
    alpha: float = 0.05,
    folds: int = 1,
) -> Estimate:
    """Return the PPI++ mean human score from n labelled and N judged-only responses of one day.

    Angelopoulos et al. 2023, eq. 4 and section 6 (power tuning), with the t quantile of n - 2
    degrees of freedom because people are few. The judge's weight is clipped to [0, 1]. `folds` > 1
    tunes it on the other folds, which keeps the coverage at small n.
    """
    h, f, u = (_array(each) for each in (human, judge, judge_only))
    n, total = len(h), len(u)
    if len(f) != n or n < 4 or total < 2:
        raise DataError(
            f"{n} human, {len(f)} judge, {total} judge-only scores: "
            "give pairs, at least 4, and 2 judge-only"
        )
    if not 1 <= folds <= n:
        raise DataError(f"{folds} folds for {n} labels")
    fold = np.arange(n) % folds
    weights = np.array(
        [_ppi_weight(h, f, u, fold != k if folds > 1 else fold == 0) for k in range(folds)]
    )
    # Around the judge's mean, or folds of different weight would seem to differ by its level.
    corrected = h - weights[fold] * (f - u.mean())
    weight = float(weights[fold].mean())
    mean = float(corrected.mean())
    error = sqrt(float(corrected.var(ddof=1)) / n + weight**2 * float(u.var(ddof=1)) / total)
    half = float(stdtrit(n - 2, 1.0 - alpha / 2.0)) * error
    return Estimate(mean, mean - half, mean + half, weight)


def _ppi_weight(
    h: NDArray[np.float64], f: NDArray[np.float64], u: NDArray[np.float64], use: NDArray[np.bool_]
) -> float:
    spread = float(np.concatenate([f, u]).var(ddof=1))
    if spread == 0.0:
        return 0.0
    covariance = float(np.cov(h[use], f[use])[0, 1])
    weight = covariance / ((1.0 + len(h) / len(u)) * spread)
    return min(max(weight, 0.0), 1.0)


def _array(values: Sequence[float]) -> NDArray[np.float64]:
    made = np.asarray(values, dtype=np.float64)
    if not np.isfinite(made).all():
        raise DataError("a score is NaN or infinite; leave it out instead")
    return made


def _finite(value: float, what: str) -> float:
    if not isfinite(value):
        raise DataError(f"{what} score is {value!r}; leave it out (None) instead")
    return value


def _refuse_probability(probability: float) -> None:
    if not MIN_PROBABILITY <= probability <= 1.0:
        raise DataError(
            f"sampling probability is {probability!r}; it must lie in [{MIN_PROBABILITY}, 1]"
        )
