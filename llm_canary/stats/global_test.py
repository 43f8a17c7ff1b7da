"""Many processes, one alarm: averages of e-values, e-BH and restarts for harm that begins late.

An average of e-processes is an e-process under ANY dependence (Vovk and Wang 2021, Annals of
Statistics 49(3)). Weights are fixed before the rollout and never renormalised; what is absent
counts as an e-value of 1. Pass current e-values, never their running maxima.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, isnan, log

from llm_canary.errors import DataError
from llm_canary.stats.mixture import log_e_three

_ROUNDING = 1e-12  # of a sum of weights; as weight of E = 1 it would hide small e-values


def average_log_e(log_e: Sequence[float | None], weights: Sequence[float]) -> float:
    """Return the log of sum w_j E_j; None is an absent metric, E = 1, as is weight not given."""
    if len(log_e) != len(weights):
        raise DataError(f"{len(log_e)} e-values and {len(weights)} weights: give one weight each")
    given = sum(weights)
    if not given <= 1.0 + 1e-9 or any(weight < 0.0 for weight in weights):
        raise DataError(
            f"weights sum to {given!r}; they must not be negative nor sum to more than 1"
        )
    logs = [0.0, *(_log_e_or_one(each) for each in log_e)]
    left = 1.0 - given
    masses = [left if left > _ROUNDING else 0.0, *weights]
    used = [(each, mass) for each, mass in zip(logs, masses, strict=True) if mass > 0.0]
    top = max(each for each, _ in used)
    return top + log(sum(mass * exp(each - top) for each, mass in used))


def e_bh(log_e: Sequence[float | None], *, q: float, total: int) -> tuple[int, ...]:
    """Return the positions whose nulls are rejected at false discovery rate `q`.

    Wang and Ramdas 2022, JRSS-B 84(3): the k* largest, k* = max{k : E_(k) >= total/(q k)}. `total`
    is the number of processes registered before the rollout, also those without data.
    """
    if not 0.0 < q < 1.0:
        raise DataError(f"false discovery rate is {q!r}; it must lie strictly between 0 and 1")
    if total < len(log_e):
        raise DataError(f"{len(log_e)} e-values, but only {total} processes were registered")
    order = sorted(range(len(log_e)), key=lambda j: -_log_e_or_one(log_e[j]))
    rejected = 0
    for k, j in enumerate(order, start=1):
        if _log_e_or_one(log_e[j]) >= log(total / (q * k)):
            rejected = k
    return tuple(sorted(order[:rejected]))


def restart_log_e(
    snapshots: Sequence[tuple[float, float]], score: float, variance: float, v0: float
) -> float:
    """Return the log e-value of harm that may have begun at any snapshot.

    `snapshots` are (S, running maximum of V) at the restart times in order, the first being (0, 0).
    The process restarted at k has weight 1/((k+1)(k+2)); the weight of restarts still to come stays
    at 1, so the sum needs no horizon.
    """
    logs = [log_e_three(score - s, max(variance - v, 0.0), v0) for s, v in snapshots]
    return average_log_e(logs, restart_weights(len(snapshots)))


def restart_weights(count: int) -> tuple[float, ...]:
    """Return the first `count` of the weights 1/((k+1)(k+2)), which sum to 1 over all k."""
    return tuple(1.0 / ((k + 1) * (k + 2)) for k in range(count))


def _log_e_or_one(log_e: float | None) -> float:
    if log_e is None:
        return 0.0
    if isnan(log_e):
        raise DataError("an e-value is NaN; leave it out (None) instead")
    return log_e
