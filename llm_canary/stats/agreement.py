"""How far people, or people and the judge, agree beyond chance; a judge may be demoted by it.

Cohen 1960 and 1968 (weighted), Gwet 2008 (AC1), Krippendorff 2011 ("Computing Krippendorff's
alpha-reliability"). Each is 1 for perfect agreement, 0 for chance, and None when it is not defined
(no data, or no variation for the coefficient to explain).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llm_canary.errors import DataError

Level = Literal["nominal", "ordinal", "interval"]
Weights = Literal["none", "linear", "quadratic"]
RESAMPLES = 2000
# Tables of shares, one behind the other: (tables, categories, categories). A coefficient of such is
# an array with a value for each, NaN where it is not defined.
_Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A coefficient with its percentile bootstrap interval (Efron 1979), items resampled."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two raters of the same `n` items agree; None where a coefficient is undefined."""

    n: int
    agreement: Coefficient  # share of equal ratings
    kappa: Coefficient | None
    ac1: Coefficient | None


def agreement(
    first: Sequence[float],
    second: Sequence[float],
    *,
    weights: Weights = "none",
    alpha: float = 0.05,
    seed: int = 0,
) -> Agreement | None:
    """Return the agreement of two raters with intervals of level 1 - alpha; None without items.

    To draw items with replacement is to draw the cells of the table from a multinomial, so an
    interval costs the same however many items there are.
    """
    table = confusion(first, second)
    n = int(table.sum())
    if n == 0:
        return None
    shares = table / n
    drawn = np.random.default_rng(seed).multinomial(n, shares.ravel(), size=RESAMPLES)
    resampled = drawn.reshape(RESAMPLES, *table.shape) / n

    def with_interval(coefficient: Callable[[_Shares], NDArray[np.float64]]) -> Coefficient | None:
        [value] = coefficient(shares[None])
        if isnan(value):
            return None
        found = coefficient(resampled)
        known = found[~np.isnan(found)]
        lower, upper = np.quantile(
            known if known.size else [value], [alpha / 2.0, 1.0 - alpha / 2.0]
        )
        return Coefficient(float(value), float(lower), float(upper))

    same = with_interval(_equal)
    assert same is not None  # noqa: S101 - there are items
    return Agreement(
        n, same, with_interval(lambda each: _kappas(each, weights)), with_interval(_ac1s)
    )


def confusion(first: Sequence[float], second: Sequence[float]) -> NDArray[np.float64]:
    """Return the table of counts of two raters over the same items, categories ascending."""
    if len(first) != len(second):
        raise DataError(f"{len(first)} and {len(second)} ratings: both raters must rate each item")
    categories = {value: k for k, value in enumerate(sorted({*first, *second}))}
    table = np.zeros((len(categories), len(categories)))
    for a, b in zip(first, second, strict=True):
        table[categories[a], categories[b]] += 1
    return table


def cohen_kappa(table: NDArray[np.float64], *, weights: Weights = "none") -> float | None:
    """Return Cohen's kappa of a table of counts; `weights` is what distance costs."""
    return _of_one(table, lambda shares: _kappas(shares, weights))


def gwet_ac1(table: NDArray[np.float64]) -> float | None:
    """Return Gwet's AC1, meaningful also when nearly all items are of one category."""
    return _of_one(table, _ac1s)


def krippendorff_alpha(
    ratings: Sequence[Sequence[float | None]], *, level: Level = "ordinal"
) -> float | None:
    """Return Krippendorff's alpha; one row per item, one entry per rater, None if not rated."""
    rated = [[each for each in row if each is not None] for row in ratings]
    rated = [row for row in rated if len(row) > 1]
    values = sorted({each for row in rated for each in row})
    if not np.isfinite(values).all():
        raise DataError("a rating is NaN or infinite; use None for a missing one")
    if len(values) < 2:
        return None
    index = {value: k for k, value in enumerate(values)}
    coincidence = np.zeros((len(values), len(values)))
    for row in rated:
        counts = np.bincount([index[each] for each in row], minlength=len(values)).astype(float)
        coincidence += (np.outer(counts, counts) - np.diag(counts)) / (len(row) - 1)
    totals = coincidence.sum(axis=0)
    distance = _squared_distance(np.array(values), totals, level)
    expected = (np.outer(totals, totals) - np.diag(totals)) / (totals.sum() - 1)
    return 1.0 - float((coincidence * distance).sum()) / float((expected * distance).sum())


def _squared_distance(
    values: NDArray[np.float64], totals: NDArray[np.float64], level: Level
) -> NDArray[np.float64]:
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    # Ordinal: how many ratings lie between two categories, half of the two themselves.
    scale = values if level == "interval" else np.cumsum(totals) - 0.5 * totals
    return np.asarray(np.subtract.outer(scale, scale) ** 2, dtype=np.float64)


def _of_one(
    table: NDArray[np.float64], coefficient: Callable[[_Shares], NDArray[np.float64]]
) -> float | None:
    if table.ndim != 2 or table.shape[0] != table.shape[1] or (table < 0).any():
        raise DataError(
            f"agreement needs a square table of counts from 0 on, not shape {table.shape}"
        )
    total = table.sum()
    if not total:
        return None
    [value] = coefficient(table[None] / total)
    return None if isnan(value) else float(value)


def _equal(shares: _Shares) -> NDArray[np.float64]:
    return np.asarray(np.trace(shares, axis1=1, axis2=2), dtype=np.float64)


def _kappas(shares: _Shares, weights: Weights) -> NDArray[np.float64]:
    places = np.arange(shares.shape[1])
    distance = np.abs(np.subtract.outer(places, places))
    cost = {"none": (distance > 0) * 1.0, "linear": distance * 1.0, "quadratic": distance**2.0}[
        weights
    ]
    found = np.einsum("rij,ij->r", shares, cost)
    expected = np.einsum("ri,rj,ij->r", shares.sum(axis=2), shares.sum(axis=1), cost)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected == 0.0, np.nan, 1.0 - found / expected)


def _ac1s(shares: _Shares) -> NDArray[np.float64]:
    categories = shares.shape[1]
    if categories < 2:
        return np.full(len(shares), np.nan)
    mean = 0.5 * (shares.sum(axis=1) + shares.sum(axis=2))
    chance = (mean * (1.0 - mean)).sum(axis=1) / (categories - 1)
    return np.asarray((_equal(shares) - chance) / (1.0 - chance), dtype=np.float64)
