"""Turn a measurement into the one number that is scored; frozen before the stage."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite

from llm_canary.errors import DataError


@dataclass(frozen=True, slots=True)
class Ridit:
    """Ranks against a frozen control sample, F0(y-) + P0(y)/2 in [0, 1] (Bross 1958).

    The mean difference of ridits is P(canary > control) + P(tie)/2 - 1/2, so the score on them is
    an always-valid Mann-Whitney test. `values` ascend; `below` counts the sample below each, and
    last the whole sample.
    """

    values: tuple[float, ...]
    below: tuple[int, ...]

    def __call__(self, value: float) -> float:
        """Return the rank of `value`; between two sampled values it is the fraction below."""
        if not isfinite(value):
            raise DataError(f"value is {value!r}; record it as not observed instead of ranking it")
        at = bisect_left(self.values, value)
        below, total = self.below[at], self.below[-1]
        if at < len(self.values) and self.values[at] == value:
            return 0.5 * (below + self.below[at + 1]) / total
        return below / total


def fit_ridit(cells: Sequence[tuple[float, int]]) -> Ridit:
    """Return the ridit of a control sample given as (value, count); `LogHistogram.cells` is one."""
    counts: dict[float, int] = {}
    for value, count in cells:
        if not isfinite(value) or count < 0:
            raise DataError(
                f"cell ({value!r}, {count!r}) needs a finite value and a count from 0 on"
            )
        counts[value] = counts.get(value, 0) + count
    values = tuple(sorted(value for value, count in counts.items() if count))
    if not values:
        raise DataError("the control sample is empty, so nothing can be ranked against it")
    return Ridit(values, tuple(accumulate((counts[each] for each in values), initial=0)))


def winsorise(value: float, cap: float) -> float:
    """Return the value, or the frozen cap if that is smaller; log how often it was."""
    return min(value, cap)


def exceeds(value: float, threshold: float) -> float:
    """Return 1 above the threshold, c_q (1 + margin) for the control's frozen quantile c_q."""
    return 1.0 if value > threshold else 0.0


def linearise(numerator: float, denominator: float, ratio: float) -> float:
    """Return y - R0 n of one unit; its effect over E[n] is the difference of the ratios.

    R0 is the control's frozen ratio.

    Budylin et al. 2018, WSDM, "Consistent transformation of ratio metrics for efficient online
    controlled experiments".
    """
    return numerator - ratio * denominator
