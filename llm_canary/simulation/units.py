"""The unit rows of many units as arrays: `stats.score.update` for a batch of responses at once.

Every quadratic sum of a score state is a sum over units of one unit's square, so a batch adds, for
each of its units, the square after the batch less the square before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]
SQUARES = ("pp", "xx", "pq", "qq", "xc", "cc")


class Rows:
    """P, Q, X and C of every unit in one metric; X and C by share.

    Without `margins` only what a test of d0 = 0 needs is kept (pp and xx), in half the time.
    """

    def __init__(self, units: int, shares: Sequence[float], *, margins: bool = True) -> None:
        self._shares = list(shares)
        self._margins = margins
        self._p, self._q = np.zeros(units), np.zeros(units)
        self._x = np.zeros((len(self._shares), units))
        self.c = np.zeros((len(self._shares), units))
        a = np.array(self._shares)
        self._kernel = np.minimum.outer(a, a) - np.outer(a, a)
        self._mark = np.zeros(units, dtype=np.intp)

    def once(self, at: Ints) -> Ints:
        """Return each of the units `at` once."""
        order = np.arange(len(at))
        self._mark[at] = order
        once: Ints = at[self._mark[at] == order]
        return once

    def add(
        self, at: Ints, canary: Floats, share: float, residual: Floats
    ) -> tuple[Ints, dict[str, Floats]]:
        """Score responses of the units `at`; return these units once and their gains by sum."""
        j = self._shares.index(share)
        once = self.once(at)
        before = self._squares(once)
        np.add.at(self._p, at, residual * (canary - share))
        np.add.at(self._x[j], at, residual)
        if self._margins:
            np.add.at(self._q, at, canary * (1.0 - share))
            np.add.at(self.c[j], at, canary)
        after = self._squares(once)
        gains = (new - old for new, old in zip(after, before, strict=True))
        return once, dict(zip(SQUARES, gains, strict=False))

    def _squares(self, at: Ints) -> tuple[Floats, ...]:
        p, x = self._p[at], self._x[:, at]
        kx = self._kernel @ x
        if not self._margins:
            return p * p, (x * kx).sum(0)
        q, c = self._q[at], self.c[:, at]
        kc = self._kernel @ c
        return p * p, (x * kx).sum(0), p * q, q * q, (c * kx).sum(0), (c * kc).sum(0)


def of_new_units(
    share: Floats | float,
    centre: Floats | float,
    n: tuple[Floats | float, Floats | float],
    total: tuple[Floats | float, Floats | float],
    squares: tuple[Floats | float, Floats | float],
) -> dict[str, Floats | float]:
    """Return what responses of units that come once add; pairs are (canary, control).

    `total` and `squares` are the sums of their values and of the squared values.
    """
    (n_c, n_t), (y_c, y_t), (yy_c, yy_t) = n, total, squares
    k, e = share * (1.0 - share), (1.0 - share) ** 2
    r_c, r_t = y_c - n_c * centre, y_t - n_t * centre
    rr_c = yy_c - centre * (2.0 * y_c - n_c * centre)
    rr_t = yy_t - centre * (2.0 * y_t - n_t * centre)
    return {
        "s": (1.0 - share) * r_c - share * r_t,
        "i": (1.0 - share) * n_c,
        "pp": e * rr_c + share**2 * rr_t,
        "xx": k * (rr_c + rr_t),
        "pq": e * r_c,
        "qq": e * n_c,
        "xc": k * r_c,
        "cc": k * n_c,
    }


def implied(
    share: Floats | float, centre: Floats | float, n: tuple[Floats | float, Floats | float]
) -> dict[str, Floats | float]:
    """Return what responses add to the variance that a margin implies for a 0/1 metric."""
    n_c, n_t = n
    e = (1.0 - share) ** 2
    spread = centre * (1.0 - centre)
    return {
        "n1": e * n_c,
        "n1m": e * n_c * centre,
        "n1v": e * n_c * spread,
        "n0v": share**2 * n_t * spread,
    }
