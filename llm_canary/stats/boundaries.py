"""Group-sequential bounds: how large the standardised estimate must be at each planned look.

One-sided, upper bounds on z with information at the fractions given, computed by recursive
integration of the Brownian density that has not crossed yet (Armitage, McPherson and Rowe 1969),
here by Gauss-Legendre quadrature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from llm_canary.errors import DataError

SHIPPED_ALPHA = 0.04  # with always-valid evidence at .01 beside it, a gate errs in at most 5 %
SHIPPED_LOOKS = 3
_NODES = 128
_REACH = 9.0  # standard deviations below which no density is left


def shipped_bounds() -> tuple[float, ...]:
    """Return the three bounds of a stage's gate: O'Brien-Fleming, one-sided .04."""
    return obrien_fleming(SHIPPED_ALPHA, SHIPPED_LOOKS)


@lru_cache
def obrien_fleming(alpha: float, looks: int) -> tuple[float, ...]:
    """Return the bounds c / sqrt(t_k) at equal steps (O'Brien and Fleming 1979, Biometrics 35)."""
    times = _equal_times(alpha, looks)
    return _one_constant(alpha, times, lambda c: tuple(c / sqrt(t) for t in times))


@lru_cache
def pocock(alpha: float, looks: int) -> tuple[float, ...]:
    """Return the one bound that holds at each of equal steps (Pocock 1977, Biometrika 64)."""
    times = _equal_times(alpha, looks)
    return _one_constant(alpha, times, lambda c: (c,) * looks)


def lan_demets(alpha: float, times: Sequence[float]) -> tuple[float, ...]:
    """Return bounds that spend alpha like O'Brien-Fleming at any information fractions up to 1.

    Lan and DeMets 1983, Biometrika 70: alpha(t) = 2 - 2 Phi(z_{alpha/2} / sqrt(t)).
    """
    _refuse_bad_alpha(alpha)
    if not times or times[0] <= 0 or times[-1] > 1 or any(b <= a for a, b in pairwise(times)):
        raise DataError(f"information fractions {tuple(times)!r} must increase within (0, 1]")
    bounds: list[float] = []
    for t in times:
        spent = 2.0 - 2.0 * float(ndtr(-ndtri(alpha / 2.0) / sqrt(t)))
        bounds.append(_next_bound(tuple(bounds), tuple(times), spent))
    return tuple(bounds)


def crossing(
    bounds: Sequence[float], times: Sequence[float], means: Sequence[float] | None = None
) -> float:
    """Return the probability that Brownian motion crosses one of `bounds` at `times`.

    `means` are its expected values then; without them it has no drift.
    """
    crossed, before = 0.0, 0.0
    nodes: NDArray[np.float64] = np.zeros(1)
    mass: NDArray[np.float64] = np.ones(1)
    unit_nodes, unit_weights = _quadrature()
    for z, t, mean in zip(bounds, times, means or (0.0,) * len(times), strict=True):
        step = sqrt(t - before)
        upper = z * sqrt(t) - mean  # nodes are distances from the mean
        crossed += float(mass @ ndtr((nodes - upper) / step))
        low = -_REACH * sqrt(t)
        if upper <= low:
            return 1.0
        grid = low + (upper - low) * 0.5 * (unit_nodes + 1.0)
        kernel = np.exp(-0.5 * ((grid[:, None] - nodes) / step) ** 2) / (step * sqrt(2.0 * np.pi))
        mass = (kernel @ mass) * unit_weights * (upper - low) * 0.5
        nodes, before = grid, t
    return crossed


@lru_cache
def _quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return np.asarray(nodes), np.asarray(weights)


def _next_bound(known: tuple[float, ...], times: tuple[float, ...], spent: float) -> float:
    upto = times[: len(known) + 1]
    return _bisect(lambda z: crossing((*known, z), upto) - spent)


def _equal_times(alpha: float, looks: int) -> tuple[float, ...]:
    _refuse_bad_alpha(alpha)
    if looks < 1:
        raise DataError(f"{looks!r} looks; at least one is needed")
    return tuple((k + 1) / looks for k in range(looks))


def _refuse_bad_alpha(alpha: float) -> None:
    if not 0.0 < alpha < 0.5:
        raise DataError(f"alpha is {alpha!r}; it must lie strictly between 0 and 1/2")


def _one_constant(
    alpha: float,
    times: tuple[float, ...],
    bounds_of: Callable[[float], tuple[float, ...]],
) -> tuple[float, ...]:
    return bounds_of(_bisect(lambda c: crossing(bounds_of(c), times) - alpha))


def _bisect(falling: Callable[[float], float]) -> float:
    low, high = 0.0, 20.0
    for _ in range(45):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if falling(middle) > 0.0 else (low, middle)
    return 0.5 * (low + high)
