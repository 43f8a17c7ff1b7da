"""An exact test of rare failures that holds from the first event on.

Under "the canary fails r0 times as often as the control" each first bad event of a unit belongs to
the canary with the known probability p = share r0 / (share r0 + 1 - share). The e-value is the
likelihood ratio against ratios r0 exp(+-g), averaged over a fixed grid of g; a product of Bernoulli
ratios with a mixture prior (Robbins 1970; Lindon and Malek 2022 for counts).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, log
from typing import Literal

import numpy as np

from llm_canary.errors import DataError

GRID = np.geomspace(0.02, log(8.0), 48)
# Above this a unit's FIRST event is no longer proportional to its rate, and "not worse" would be
# claimed falsely.
MAX_NONINFERIORITY_INCIDENCE = 0.05


def log_e_ratio(
    x: Sequence[int],
    n: Sequence[int],
    shares: Sequence[float],
    r0: float,
    *,
    side: Literal["up", "down"],
) -> float:
    """Return the log e-value against "the canary's rate is r0 times the control's".

    `x` of `n` first bad events fell into the canary, one entry per distinct share. `up` looks for a
    larger ratio (harm at r0 = 1), `down` for a smaller one (non-inferiority at r0 = 1 + relative
    margin). A unit counts once, at its first event.
    """
    refuse_bad_counts(x, n, shares)
    if not (isfinite(r0) and r0 > 0.0):
        raise DataError(f"ratio r0 is {r0!r}; it must be finite and positive")
    ratios = r0 * np.exp(GRID if side == "up" else -GRID)
    total = np.zeros_like(ratios)
    for canary, events, share in zip(x, n, shares, strict=True):
        null = share * r0 / (share * r0 + 1.0 - share)
        other = share * ratios / (share * ratios + 1.0 - share)
        total += canary * np.log(other / null)
        total += (events - canary) * np.log((1.0 - other) / (1.0 - null))
    top = float(total.max())
    return top + log(float(np.exp(total - top).mean()))


def log_e_not_worse(
    x: Sequence[int],
    n: Sequence[int],
    shares: Sequence[float],
    r0: float,
    *,
    incidence: float,
) -> float | None:
    """Return the log e-value of "the ratio is below r0"; None when events are too common to tell.

    `incidence` is the fraction of units with at least one event in a fixed window, in the worse
    arm.
    """
    if not 0.0 <= incidence <= 1.0:
        raise DataError(f"incidence is {incidence!r}; it is a fraction of units")
    if incidence > MAX_NONINFERIORITY_INCIDENCE:
        return None
    return log_e_ratio(x, n, shares, r0, side="down")


def refuse_bad_counts(x: Sequence[int], n: Sequence[int], shares: Sequence[float]) -> None:
    """Raise DataError unless lengths agree, 0 <= x <= n, and shares lie strictly in (0, 1)."""
    if not len(x) == len(n) == len(shares):
        raise DataError(
            f"{len(x)} canary counts, {len(n)} totals, {len(shares)} shares: give one of each"
        )
    for canary, total, share in zip(x, n, shares, strict=True):
        if not 0 <= canary <= total:
            raise DataError(
                f"{canary} of {total} in the canary; counts must satisfy 0 <= canary <= total"
            )
        if not 0.0 < share < 1.0:
            raise DataError(f"canary share is {share!r}; it must lie strictly between 0 and 1")
