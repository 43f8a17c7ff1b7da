"""What the mean human grade is, where a judge graded all and people only some.

Always three numbers side by side: raw (the judge's), corrected, and human-only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from llm_canary.errors import DataError
from llm_canary.stats.aipw import Estimate, ppi_mean

MIN_YOUDEN = 0.1  # sensitivity + specificity - 1, below which nothing can be corrected
MIN_STRATUM = 4


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its two-sided interval; `n` is how many grades it rests on."""

    mean: float
    lower: float
    upper: float
    n: int


class Stratum(NamedTuple):
    """One stratum: its share of all items, labelled pairs, and judge-only grades."""

    weight: float
    human: Sequence[float]
    judge: Sequence[float]
    judge_only: Sequence[float]


def mean_interval(values: Sequence[float], *, alpha: float = 0.05) -> Interval | None:
    """Return the mean with Student's interval; None below two values."""
    if len(values) < 2:
        return None
    array = np.asarray(values, dtype=np.float64)
    half = float(stdtrit(len(array) - 1, 1.0 - alpha / 2.0)) * float(array.std(ddof=1))
    half /= sqrt(len(array))
    mean = float(array.mean())
    return Interval(mean, mean - half, mean + half, len(array))


def proportion_interval(passed: float, n: float, *, alpha: float = 0.05) -> Interval:
    """Return a share with Wilson's interval (Wilson 1927)."""
    if n <= 0.0 or not 0.0 <= passed <= n + 1e-9:
        raise DataError(f"{passed} of {n} is no share")
    z = float(ndtri(1.0 - alpha / 2.0))
    share = passed / n
    centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n)
    half = z * sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n)) / (1.0 + z * z / n)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), round(n))


def stratified_ppi(strata: Sequence[Stratum], *, alpha: float = 0.05) -> Estimate:
    """Return the PPI++ mean over strata: sum of weight x mean, errors added by their squares.

    Angelopoulos, Duchi and Zrnic 2023 within each stratum; Fisch et al. 2024 ("Stratified
    prediction-powered inference") for the sum. The weight of the judge is tuned per stratum and
    clipped to [0, 1], so that a bad judge costs nothing but its own uselessness. Degrees of
    freedom: those of the smallest stratum, which is on the safe side.
    """
    total = sum(each.weight for each in strata)
    if not strata or abs(total - 1.0) > 1e-6:
        raise DataError(f"weights of the strata add up to {total!r}; they must add up to 1")
    small = [each for each in strata if len(each.human) < MIN_STRATUM]
    if small:
        raise DataError(
            f"a stratum has {len(small[0].human)} labels; each needs {MIN_STRATUM}: merge strata"
        )
    mean = variance = slope = 0.0
    for stratum in strata:
        found = ppi_mean(stratum.human, stratum.judge, stratum.judge_only, alpha=alpha)
        quantile = float(stdtrit(len(stratum.human) - 2, 1.0 - alpha / 2.0))
        mean += stratum.weight * found.mean
        variance += (stratum.weight * (found.upper - found.lower) / (2.0 * quantile)) ** 2
        slope += stratum.weight * found.weight
    freedom = min(len(each.human) for each in strata) - 2
    half = float(stdtrit(freedom, 1.0 - alpha / 2.0)) * sqrt(variance)
    return Estimate(mean, mean - half, mean + half, slope)


class Operating(NamedTuple):
    """How a judge's pass relates to people's, counted on labels."""

    both_pass: int
    only_human: int
    only_judge: int
    both_fail: int


def rogan_gladen(
    judged_pass: float, n: float, labels: Operating, *, alpha: float = 0.05
) -> Interval | None:
    """Return the share of passes as people would see it; None where the judge tells too little.

    Rogan and Gladen 1978, with all three sources of error in the interval; one is added to each
    cell of sensitivity and specificity and z^2/2 to the share, as Lang and Reiczigel 2014 do.
    For labels of a FIXED set that is not drawn from the graded items; wide with a weak judge, so
    prefer `stratified_ppi` wherever people graded some of the items themselves.
    """
    z = float(ndtri(1.0 - alpha / 2.0))
    n_pass = labels.both_pass + labels.only_human
    n_fail = labels.only_judge + labels.both_fail
    if n <= 0.0 or n_pass == 0 or n_fail == 0:
        return None
    sensitivity = (labels.both_pass + 1.0) / (n_pass + 2.0)
    specificity = (labels.both_fail + 1.0) / (n_fail + 2.0)
    youden = sensitivity + specificity - 1.0
    if youden < MIN_YOUDEN:
        return None
    share = (judged_pass + z * z / 2.0) / (n + z * z)
    mean = (share + specificity - 1.0) / youden
    variance = (
        share * (1.0 - share) / (n + z * z)
        + mean**2 * sensitivity * (1.0 - sensitivity) / (n_pass + 2.0)
        + (1.0 - mean) ** 2 * specificity * (1.0 - specificity) / (n_fail + 2.0)
    ) / youden**2
    half = z * sqrt(variance)
    clipped = min(max(mean, 0.0), 1.0)
    return Interval(clipped, max(0.0, mean - half), min(1.0, mean + half), round(n))
