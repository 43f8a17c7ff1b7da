"""The textbook tests, shown beside the decision because people know them. NOT A STOPPING RULE.

Each is valid for one look at a sample size fixed beforehand, with one response per unit. Looked at
after each batch they find a difference between identical models in about half of all rollouts;
nothing in this program decides by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
from scipy.special import chdtrc, ndtr, stdtr

from llm_canary.errors import DataError

NOTE = "not a stopping rule"


@dataclass(frozen=True, slots=True)
class FixedTest:
    """A test statistic and its two-sided p-value for one look, always to be shown with `note`."""

    name: str
    statistic: float
    p_value: float
    note: str = NOTE


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, sum and sum of squares of one arm."""

    n: int
    total: float
    squares: float

    def __post_init__(self) -> None:
        if self.n < 0 or not (isfinite(self.total) and isfinite(self.squares)):
            raise DataError(
                f"n={self.n!r}, sum={self.total!r}, squares={self.squares!r}: "
                "moments must be finite and n not negative"
            )

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float | None:
        """Return the mean; None without values."""
        return self.total / self.n if self.n else None

    @property
    def variance(self) -> float | None:
        """Return the unbiased variance; None below two values."""
        if self.n < 2:
            return None
        return max(self.squares - self.total * self.total / self.n, 0.0) / (self.n - 1)


def welch(canary: Moments, control: Moments) -> FixedTest | None:
    """Return Welch's t test (Welch 1947); None below two values per arm or without variation."""
    a, b = canary.variance, control.variance
    if a is None or b is None or a + b == 0.0:
        return None
    a, b = a / canary.n, b / control.n
    t = (canary.total / canary.n - control.total / control.n) / sqrt(a + b)
    df = (a + b) ** 2 / (a * a / (canary.n - 1) + b * b / (control.n - 1))
    return FixedTest("Welch t", t, 2.0 * float(stdtr(df, -abs(t))))


def chi_squared(canary: Sequence[int], control: Sequence[int]) -> FixedTest | None:
    """Return Pearson's test of a 2 x K table, uncorrected; None when an arm is empty."""
    table = _table(canary, control)
    table = table[:, table.sum(axis=0) > 0]
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    if table.shape[1] < 2 or not rows.all():
        return None
    expected = np.outer(rows, columns) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return FixedTest("chi-squared", statistic, float(chdtrc(table.shape[1] - 1, statistic)))


def mann_whitney(canary: Sequence[int], control: Sequence[int]) -> FixedTest | None:
    """Return the Mann-Whitney U of the canary from counts in ordered bins.

    Normal approximation corrected for ties and continuity (Mann and Whitney 1947); None when an arm
    is empty or all values share one bin.
    """
    table = _table(canary, control)
    x, y = table
    n, m = x.sum(), y.sum()
    ties = table.sum(axis=0)
    total = n + m
    if n == 0 or m == 0 or ties.max() == total:
        return None
    u = float((x * (np.cumsum(y) - 0.5 * y)).sum())
    spread = sqrt(n * m / 12.0 * (total + 1.0 - (ties**3 - ties).sum() / (total * (total - 1.0))))
    z = (abs(u - n * m / 2.0) - 0.5) / spread
    return FixedTest("Mann-Whitney U", u, min(1.0, 2.0 * float(ndtr(-z))))


def _table(
    canary: Sequence[int], control: Sequence[int]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    if len(canary) != len(control) or not canary:
        raise DataError(
            f"{len(canary)} canary and {len(control)} control counts: give the same bins"
        )
    table = np.array([canary, control], dtype=np.float64)
    if not (np.isfinite(table).all() and (table >= 0).all()):
        raise DataError(f"counts {[*canary, *control]!r} must be finite and not negative")
    return table
