"""The planner: how many canary responses, and so how many days, a proof needs.

Sizes are canary responses; the control receives the rest of the traffic. One-sided, alpha and power
as fractions, effects and variances in the metric's unit. kappa is the price of the test's looks: 1
for one look, 1.04 for O'Brien-Fleming with up to five, 1.7 for always-valid at the 90th percentile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, isfinite, sqrt

from scipy.special import ndtr, ndtri

from llm_canary.errors import DataError


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be proved: no worse by `effect`, at `alpha`, with `power` if truly equal."""

    effect: float
    alpha: float = 0.05
    power: float = 0.9
    kappa: float = 1.0
    design_effect: float = 1.0

    def __post_init__(self) -> None:
        if not (isfinite(self.effect) and self.effect > 0.0):
            raise DataError(f"effect is {self.effect!r}; it must be finite and positive")
        if not (0.0 < self.alpha < 0.5 and 0.5 <= self.power < 1.0):
            raise DataError(
                f"alpha {self.alpha!r} must lie in (0, 1/2), power {self.power!r} in [1/2, 1)"
            )
        if not (self.kappa >= 1.0 and self.design_effect > 0.0):
            raise DataError(
                f"kappa {self.kappa!r} must be >= 1, design effect {self.design_effect!r} positive"
            )


def z_squared(alpha: float, power: float) -> float:
    """Return (z_alpha + z_beta)^2, one-sided."""
    return float((ndtri(1.0 - alpha) + ndtri(power)) ** 2)


def binary_variance(p0: float, effect: float, share: float) -> float:
    """Return the arm-weighted variance of a 0/1 metric at rate `p0`, canary worse by `effect`."""
    p1 = p0 + effect
    if not (0.0 <= p0 <= 1.0 and 0.0 <= p1 <= 1.0):
        raise DataError(f"control rate {p0!r} and canary rate {p1!r} must lie between 0 and 1")
    return p1 * (1.0 - p1) * (1.0 - share) + p0 * (1.0 - p0) * share


def design_effect(mean_n: float, mean_n_squared: float, icc: float) -> float:
    """Return the variance inflation by returning units: 1 + (E[n^2]/E[n] - 1) ICC (Kish 1965)."""
    return max(1.0 + (mean_n_squared / mean_n - 1.0) * icc, 1.0)


def canary_size(target: Target, *, variance: float, share: float) -> float:
    """Return the canary responses needed, not rounded."""
    _refuse_bad(variance=variance, share=share)
    z2 = z_squared(target.alpha, target.power)
    spread = variance * target.design_effect * target.kappa
    return z2 * spread / (target.effect**2 * (1.0 - share))


def smallest_effect(target: Target, *, variance: float, share: float, size: float) -> float:
    """Return the effect that `size` canary responses show; the target's own is not used."""
    _refuse_bad(variance=variance, share=share)
    z2 = z_squared(target.alpha, target.power)
    return sqrt(z2 * variance * target.design_effect * target.kappa / (size * (1.0 - share)))


def power_at(target: Target, *, variance: float, share: float, size: float) -> float:
    """Return the probability of the proof with `size` canary responses and truly equal arms."""
    _refuse_bad(variance=variance, share=share)
    noise = sqrt(variance * target.design_effect * target.kappa / (size * (1.0 - share)))
    return float(ndtr(target.effect / noise - ndtri(1.0 - target.alpha)))


def planned_variance(target: Target, *, variance: float) -> float:
    """Return the V the score process reaches at the planned end; `mixture.precision` takes it."""
    z2 = z_squared(target.alpha, target.power)
    return z2 * (variance * target.design_effect) ** 2 / target.effect**2


def planned_information(target: Target, *, variance: float) -> float:
    """Return the I the score process reaches at the planned end; looks are fractions of it."""
    return (
        z_squared(target.alpha, target.power) * variance * target.design_effect / target.effect**2
    )


def equal_arm_size(p0: float, effect: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the textbook size of each of two equal arms, two-sided, for rates."""
    if not effect > 0.0:
        raise DataError(f"effect is {effect!r}; it must be positive")
    spread = binary_variance(p0, effect, 0.5) * 2.0
    return z_squared(alpha / 2.0, power) * spread / effect**2


def days_for(size: float, *, share: float, daily: float) -> float:
    """Return the days until `size` canary responses have arrived, at `daily` responses in all."""
    if not (daily > 0.0 and size >= 0.0 and 0.0 < share < 1.0):
        raise DataError(
            f"cannot plan {size!r} responses at {daily!r} a day, share {share!r}: "
            "all must be positive, the share below 1"
        )
    return size / (share * daily)


def full_cycles(days: float, *, window_days: float = 0.0, cycle_days: float = 1.0) -> float:
    """Return days plus the outcome window, rounded up to whole traffic cycles (1 or 7 days)."""
    return ceil((days + window_days) / cycle_days - 1e-9) * cycle_days


def days_with_returning_units(
    size_at: Callable[[float], float], *, share: float, daily: float, limit_days: float = 365.0
) -> float | None:
    """Return the days needed when units return, so that the design effect grows with the days.

    `size_at(days)` is the size with the design effect of that many days. None: not reached within
    `limit_days`.
    """
    low, high = 0.0, limit_days
    if days_for(size_at(high), share=share, daily=daily) > high:
        return None
    for _ in range(50):
        days = 0.5 * (low + high)
        too_few = days_for(size_at(days), share=share, daily=daily) > days
        low, high = (days, high) if too_few else (low, days)
    return high


def _refuse_bad(*, variance: float, share: float) -> None:
    if not (isfinite(variance) and variance > 0.0):
        raise DataError(f"variance is {variance!r}; it must be finite and positive")
    if not 0.0 < share < 1.0:
        raise DataError(f"canary share is {share!r}; it must lie strictly between 0 and 1")
