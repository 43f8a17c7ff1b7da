"""Sample-ratio mismatch, watched at every look: whether the arms get the units they should.

The e-value is the beta-binomial marginal likelihood of the split against the binomial with the
known share, averaged over three prior concentrations (Lindon and Malek 2022, "Anytime-valid
inference for multinomial count data"). Two-sided.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, log1p

from scipy.special import betaln

from llm_canary.errors import DataError
from llm_canary.stats.exact import refuse_bad_counts

CONCENTRATIONS = (1e2, 1e3, 1e4)  # large, medium and small deviations from the share


def log_e_srm(canary: Sequence[int], total: Sequence[int], shares: Sequence[float]) -> float:
    """Return the log e-value against "units fall into the canary with the share in force".

    One entry per distinct share: `canary` of `total` NEW units. Report a mismatch at log(1000)
    (alpha .001).
    """
    refuse_bad_counts(canary, total, shares)
    logs = [
        sum(
            log_e_beta_binomial(x, n, share, concentration)
            for x, n, share in zip(canary, total, shares, strict=True)
        )
        for concentration in CONCENTRATIONS
    ]
    top = max(logs)
    return top + log(sum(exp(each - top) for each in logs) / len(logs))


def log_e_repeat(crossed: int, returning: int, *, before: float, after: float) -> float:
    """Return the log e-value against "units change arms only as the change of share makes them".

    With a nested hash a rising share moves control units into the canary with probability (after -
    before)/(1 - before), a falling one moves canary units out with (before - after)/before;
    `returning` counts the units of that arm seen again. A move in the other direction cannot
    happen: one is a fault, and no statistic is needed.
    """
    for share in (before, after):
        if not 0.0 < share < 1.0:
            raise DataError(f"canary share is {share!r}; it must lie strictly between 0 and 1")
    if before == after:
        raise DataError(
            f"the share stayed {before!r}: no unit may change arms, so count them instead"
        )
    moved = (after - before) / (1.0 - before) if after > before else (before - after) / before
    return log_e_srm([crossed], [returning], [moved])


def log_e_beta_binomial(x: int, n: int, share: float, concentration: float) -> float:
    """Return the log of the beta-binomial over the binomial likelihood of `x` in `n`."""
    a, b = concentration * share, concentration * (1.0 - share)
    marginal = float(betaln(a + x, b + n - x) - betaln(a, b))
    return marginal - x * log(share) - (n - x) * log1p(-share)
