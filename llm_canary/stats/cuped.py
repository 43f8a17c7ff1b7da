"""CUPED: subtract what was known of a unit before the rollout (Deng et al. 2013, WSDM, eq. 5).

The coefficients are frozen before the stage, so the adjusted value is one more fixed transform of a
response; arms stay comparable because the covariate cannot depend on the arm. The variance falls to
(1 - rho^2) of itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from llm_canary.errors import DataError


@dataclass(frozen=True, slots=True)
class CrossMoments:
    """Additive sums over pairs (x before the rollout, y)."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    def __add__(self, other: CrossMoments) -> CrossMoments:
        return CrossMoments(
            self.n + other.n,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )

    def plus(self, x: float, y: float) -> CrossMoments:
        """Return the sums with one more pair."""
        if not (isfinite(x) and isfinite(y)):
            raise DataError(f"pair ({x!r}, {y!r}) is not finite; leave it out instead")
        return self + CrossMoments(1, x, y, x * x, x * y, y * y)

    @property
    def covariance(self) -> float:
        """Return Cov(x, y), by n; 0 without pairs."""
        return self.xy / self.n - self.x / self.n * (self.y / self.n) if self.n else 0.0

    @property
    def variance_x(self) -> float:
        """Return Var(x), by n; 0 without pairs."""
        return max(self.xx / self.n - (self.x / self.n) ** 2, 0.0) if self.n else 0.0


@dataclass(frozen=True, slots=True)
class Cuped:
    """The frozen adjustment: `theta` times x around `mean`, `gap` for units without a past."""

    theta: float
    mean: float
    gap: float = 0.0

    def adjust(self, y: float, x: float | None) -> float:
        """Return y without what x foretold; `x` None is a new unit."""
        return y - (self.gap if x is None else self.theta * (x - self.mean))


def fit(known: CrossMoments, *, new_count: int = 0, new_sum: float = 0.0) -> Cuped:
    """Return the adjustment learnt from responses BEFORE the stage; without any, none."""
    if known.n < 2 or known.variance_x <= 0.0:
        return Cuped(theta=0.0, mean=0.0)
    gap = new_sum / new_count - known.y / known.n if new_count else 0.0
    return Cuped(theta=known.covariance / known.variance_x, mean=known.x / known.n, gap=gap)
