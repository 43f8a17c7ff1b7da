"""Whether the second of two versions is worse on the same items.

Each is valid for one look at items chosen beforehand, as a check in CI is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr, ndtri

from llm_canary.errors import DataError

RESAMPLES = 2000
_CHUNK = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference with its interval."""

    value: float
    lower: float
    upper: float


def mcnemar_p(lost: int, won: int) -> float:
    """Return the exact one-sided p-value of "no more items are lost than won" (McNemar 1947).

    `lost` items passed before and fail now, `won` the reverse; items that agree say nothing.
    """
    if lost < 0 or won < 0:
        raise DataError(f"{lost} lost and {won} won items; counts begin at 0")
    if lost == 0:
        return 1.0
    return float(bdtr(won, lost + won, 0.5))  # P(at most `won` of them | each way alike)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values in the given order (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, k in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[k]))
        adjusted[k] = largest
    return adjusted


def drop_p(lost: float, won: float, n: float, margin: float) -> float:
    """Return the one-sided p-value of "the share of passes fell by at most `margin`".

    Tango's score test for paired proportions (Tango 1998, eq. 5), which holds for few items and
    for none that differ; `lost`, `won` and `n` may be divided by a design effect.
    """
    return float(ndtr(-_score(lost, won, n, margin)))


def drop_interval(lost: float, won: float, n: float, *, alpha: float = 0.05) -> Difference:
    """Return the drop of the share of passes with its two-sided interval of level 1 - alpha.

    Tango 1998: the differences that the score test does not reject.
    """
    if n <= 0.0 or lost < 0.0 or won < 0.0 or lost + won > n + 1e-9:
        raise DataError(
            f"{lost} lost and {won} won of {n} items; they are counts of the same items"
        )
    z = float(ndtri(1.0 - alpha / 2.0))
    value = (lost - won) / n
    lower = _solve(lambda d: _score(lost, won, n, d) - z, -1.0, value)
    upper = _solve(lambda d: _score(lost, won, n, d) + z, value, 1.0)
    return Difference(value, lower, upper)


def items_needed(discordant: float, margin: float, drop: float, *, alpha: float = 0.05) -> int:
    """Return about how many items settle a drop: (z / distance)^2 x variance of one item.

    `discordant` is the share of items that differ, `drop` the observed drop.
    """
    z = float(ndtri(1.0 - alpha / 2.0))
    distance = max(abs(margin - drop), 1e-3)
    variance = max(discordant - drop * drop, margin * (1.0 - margin))
    return ceil(z * z * variance / (distance * distance))


def mean_difference(
    differences: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    alpha: float = 0.05,
    seed: int = 0,
) -> Difference:
    """Return the mean of paired differences with its percentile bootstrap interval.

    Clusters (conversations) are drawn with replacement, not items (Davison and Hinkley 1997, 3.8).
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) == 0 or not np.isfinite(values).all():
        raise DataError("differences must be finite numbers, at least one")
    sums, counts = _by_cluster(values, clusters)
    rng = np.random.default_rng(seed)
    k = len(sums)
    means: list[NDArray[np.float64]] = []
    for start in range(0, RESAMPLES, _CHUNK):
        drawn = rng.integers(0, k, size=(min(_CHUNK, RESAMPLES - start), k))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    lower, upper = np.quantile(np.concatenate(means), [alpha / 2.0, 1.0 - alpha / 2.0])
    return Difference(float(values.mean()), float(lower), float(upper))


def design_effect(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Return how much the variance of the mean grows because items come in clusters, at least 1.

    Kish 1965, section 5.4: the variance of cluster totals over that of independent items.
    """
    array = np.asarray(values, dtype=np.float64)
    centred = array - array.mean() if len(array) else array
    independent = float((centred**2).sum())
    sums, _ = _by_cluster(centred, clusters)
    return max(1.0, float((sums**2).sum()) / independent) if independent > 0.0 else 1.0


def _by_cluster(
    values: NDArray[np.float64], clusters: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if clusters is None:
        return values, np.ones(len(values))
    if len(clusters) != len(values):
        raise DataError(f"{len(clusters)} clusters for {len(values)} items: give one each")
    index = {name: k for k, name in enumerate(dict.fromkeys(clusters))}
    of = np.array([index[name] for name in clusters])
    counts: NDArray[np.float64] = np.bincount(of).astype(np.float64)
    sums: NDArray[np.float64] = np.bincount(of, weights=values).astype(np.float64)
    return sums, counts


def _score(lost: float, won: float, n: float, difference: float) -> float:
    """Return Tango's z of the hypothesis that the drop is `difference`."""
    d = min(max(difference, -1.0), 1.0)
    a = 2.0 * n
    b = -lost - won + (2.0 * n - lost + won) * d
    c = -won * d * (1.0 - d)
    q = (sqrt(max(b * b - 4.0 * a * c, 0.0)) - b) / (2.0 * a)
    variance = n * (2.0 * q + d * (1.0 - d))
    distance = lost - won - n * d
    if variance <= 1e-12:
        return 0.0 if abs(distance) < 1e-12 else float(np.copysign(np.inf, distance))
    return distance / sqrt(variance)


def _solve(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where the falling `function` crosses 0 between `low` and `high`."""
    for _ in range(60):
        middle = (low + high) / 2.0
        if function(middle) > 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0
