"""Drift of the kinds of answers: whether the canary's mix of classes is the control's.

The bins are frozen before the rollout. Under "no drift" every category's responses fall into the
canary with the share in force, so each category is a beta-binomial e-value and their product is one
too; any look is valid. Use the first response of each unit. Drift holds a rollout, it never rolls
one back. PSI and Jensen-Shannon are for display.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from llm_canary.errors import DataError
from llm_canary.stats.exact import refuse_bad_counts
from llm_canary.stats.srm import log_e_beta_binomial

CONCENTRATION = 200.0


def log_e_drift(
    canary: Sequence[Sequence[int]], total: Sequence[Sequence[int]], shares: Sequence[float]
) -> float:
    """Return the log e-value against "every category is split by the share in force"; two-sided.

    One row per distinct share, in it one count per category: `canary` of `total` units.
    """
    if not len(canary) == len(total) == len(shares):
        raise DataError(
            f"{len(canary)} rows of canary counts, {len(total)} of totals, {len(shares)} shares: "
            "give one of each"
        )
    log_e = 0.0
    for x_row, n_row, share in zip(canary, total, shares, strict=True):
        refuse_bad_counts(x_row, n_row, [share] * len(x_row))
        for x, n in zip(x_row, n_row, strict=True):
            log_e += log_e_beta_binomial(x, n, share, CONCENTRATION)
    return log_e


def psi(canary: Sequence[int], control: Sequence[int]) -> float | None:
    """Return the population stability index, bins smoothed by 1/2; None if an arm is empty.

    Identical arms have `expected_psi` on average; fixed limits like 0.1 mean nothing below 20,000
    canary responses.
    """
    p, q = _fractions(canary, control)
    if p is None or q is None:
        return None
    return sum((a - b) * log(a / b) for a, b in zip(p, q, strict=True))


def expected_psi(categories: int, n_canary: int, n_control: int) -> float:
    """Return the PSI of identical arms, (K - 1)(1/n_canary + 1/n_control) (Yurdakul 2018)."""
    if n_canary < 1 or n_control < 1:
        raise DataError(f"{n_canary} canary and {n_control} control responses: each arm needs one")
    return (categories - 1) * (1.0 / n_canary + 1.0 / n_control)


def jensen_shannon(canary: Sequence[int], control: Sequence[int]) -> float | None:
    """Return the Jensen-Shannon divergence, 0 to log 2; None if an arm is empty."""
    p, q = _fractions(canary, control)
    if p is None or q is None:
        return None
    return 0.5 * sum(
        a * log(2.0 * a / (a + b)) + b * log(2.0 * b / (a + b)) for a, b in zip(p, q, strict=True)
    )


def _fractions(
    canary: Sequence[int], control: Sequence[int]
) -> tuple[list[float] | None, list[float] | None]:
    if len(canary) != len(control):
        raise DataError(f"{len(canary)} canary and {len(control)} control bins: give the same bins")
    if any(count < 0 for count in (*canary, *control)):
        raise DataError(f"counts {(*canary, *control)!r} must not be negative")
    return _smoothed(canary), _smoothed(control)


def _smoothed(counts: Sequence[int]) -> list[float] | None:
    total = sum(counts)
    if total == 0:
        return None
    return [(count + 0.5) / (total + 0.5 * len(counts)) for count in counts]
