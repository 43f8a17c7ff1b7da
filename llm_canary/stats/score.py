"""The score process: one number per response, summed so that looking at it often stays honest.

Orientation: a LARGER value is WORSE. Under "the canary changes nothing" the unit's arm is a coin
with known probability, so `S = sum (Y - centre) (A - share)` has mean 0 whatever the traffic does;
ramps, drifting base rates and returning units included. Its variance is bounded from two sides: the
clusters as observed (robust) and the coin as thrown (randomisation); the larger is used, because at
a small share the first is blind to failures that have not happened yet.

The unit of `s` and `effect` is the metric's own; the state only grows by addition, so shards merge.
Shard by unit key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from llm_canary.errors import DataError


@dataclass(slots=True)
class UnitRow:
    """What must be remembered of one unit; kept until the rollout ends.

    `x` sums the residuals and `c` counts the canary responses at `share`, the one in force last;
    `past` holds (share, x, c) of the others. `n` counts scored responses.
    """

    p: float = 0.0
    q: float = 0.0
    share: float = 0.0
    x: float = 0.0
    c: int = 0
    n: int = 0
    past: tuple[tuple[float, float, int], ...] = ()


@dataclass(slots=True)
class ScoreState:
    """Sufficient statistics of one metric in one slice.

    `s`, `i` are score and information; `pp`, `pq`, `qq` the robust and `xx`, `xc`, `cc` the
    randomisation second moments; `n1`..`n0v` the variance a 0/1 metric must have if the canary is
    worse by d0. Counts and sums by arm are for display; a unit that was in both arms counts in
    both.
    """

    s: float = 0.0
    i: float = 0.0
    pp: float = 0.0
    pq: float = 0.0
    qq: float = 0.0
    xx: float = 0.0
    xc: float = 0.0
    cc: float = 0.0
    n1: float = 0.0
    n1m: float = 0.0
    n1v: float = 0.0
    n0v: float = 0.0
    n_control: int = 0
    n_canary: int = 0
    units_control: int = 0
    units_canary: int = 0
    sum_control: float = 0.0
    sumsq_control: float = 0.0
    sum_canary: float = 0.0
    sumsq_canary: float = 0.0

    def __add__(self, other: ScoreState) -> ScoreState:
        return ScoreState(*(getattr(self, name) + getattr(other, name) for name in _FIELDS))


ASSUMED_ICC = 0.1
_LARGEST = 1e100  # its square is still finite, and so are the sums of squares
_FIELDS = tuple(each.name for each in fields(ScoreState))


def update(  # noqa: PLR0913 - five facts; one pass, called per response
    state: ScoreState,
    row: UnitRow,
    *,
    canary: bool,
    share: float,
    value: float,
    centre: float,
    binary: bool,
) -> None:
    """Score one response of the unit of `row`; both `state` and `row` are changed, or neither.

    `share` is the canary share in force when the unit's arm was fixed, `centre` the control's mean
    of an earlier bucket (a wrong one costs precision, never validity). Each line is new square
    minus old square of one unit, so no unit is visited twice (Waudby-Smith et al. 2024, Annals of
    Statistics 52(6), with inverse-probability scores; clusters as in Liang and Zeger 1986).
    """
    if not (0.0 < share < 1.0 and abs(value) <= _LARGEST and abs(centre) <= _LARGEST) or (
        binary and not (value in (0.0, 1.0) and 0.0 <= centre <= 1.0)
    ):
        raise _unusable(share, value, centre)
    if share != row.share:
        _turn(row, share)
    residual, k = value - centre, share - share * share
    gx, gc, in_canary = _over_shares(row) if row.past else (k * row.x, k * row.c, row.c)
    w = residual * (1.0 - share) if canary else -residual * share
    state.s += w
    state.pp += w * (2.0 * row.p + w)
    state.xx += residual * (2.0 * gx + k * residual)
    if canary:
        q = 1.0 - share
        state.i += q
        state.pq += row.p * q + row.q * w + w * q
        state.qq += q * (2.0 * row.q + q)
        state.xc += residual * gc + gx + k * residual
        state.cc += 2.0 * gc + k
        if binary:
            e = q * q
            state.n1 += e
            state.n1m += e * centre
            state.n1v += e * centre * (1.0 - centre)
        state.units_canary += not in_canary
        state.n_canary += 1
        state.sum_canary += value
        state.sumsq_canary += value * value
        row.q += q
        row.c += 1
    else:
        if in_canary:
            state.pq += row.q * w
            state.xc += residual * gc
        if binary:
            state.n0v += share * share * centre * (1.0 - centre)
        state.units_control += row.n == in_canary
        state.n_control += 1
        state.sum_control += value
        state.sumsq_control += value * value
    row.p += w
    row.x += residual
    row.n += 1


def _turn(row: UnitRow, share: float) -> None:
    """Make `share` the one in force; an outcome that came late turns back to an earlier one."""
    if row.n:
        sums = {at: (x, c) for at, x, c in row.past}
        sums[row.share] = row.x, row.c
        row.x, row.c = sums.pop(share, (0.0, 0))
        row.past = tuple((at, x, c) for at, (x, c) in sums.items())
    row.share = share


def _over_shares(row: UnitRow) -> tuple[float, float, int]:
    """Return the sums of kernel times x, kernel times c, and c, over all shares of the unit."""
    share = row.share
    gx = gc = 0.0
    in_canary = 0
    for at, x, c in (*row.past, (share, row.x, row.c)):
        kernel = min(at, share) - at * share
        gx += kernel * x
        gc += kernel * c
        in_canary += c
    return gx, gc, in_canary


def effect(state: ScoreState) -> float | None:
    """Return how much worse the canary is, in the metric's unit; None without canary responses."""
    return state.s / state.i if state.i > 0 else None


def effective_canary_units(state: ScoreState) -> float:
    """Return I^2/QQ: the number of canary units, less what unequal activity takes away."""
    return state.i * state.i / state.qq if state.qq > 0 else 0.0


def variance(
    state: ScoreState,
    d0: float,
    *,
    noninferiority: bool,
    binary: bool,
) -> float:
    """Return the variance of `S - d0 I` under "worse by d0"; the caller keeps its maximum.

    For the non-inferiority side of a 0/1 metric the variance that the null itself implies joins the
    maximum: with few events in both arms the observed ones know nothing of the events a bad canary
    would have had.
    """
    return variance_curve(state, noninferiority=noninferiority, binary=binary)(d0)


def design_effect(state: ScoreState) -> float:
    """Return how much returning units inflate the variance that the null implies.

    1 + (E[n^2]/E[n] - 1) ICC (Kish 1965), both expectations over the canary units seen so far, the
    intra-class correlation as assumed: events too rare to be seen do not show theirs.
    """
    per_unit = state.qq / state.n1 if state.n1 > 0.0 else 1.0
    return 1.0 + max(per_unit - 1.0, 0.0) * ASSUMED_ICC


def variance_curve(
    state: ScoreState,
    *,
    noninferiority: bool,
    binary: bool,
) -> Callable[[float], float]:
    """Return `variance` as a function of d0, for searches that ask for many."""
    pp, pq, qq = state.pp, 2.0 * state.pq, state.qq
    xx, xc, cc = state.xx, 2.0 * state.xc, state.cc
    n0 = n1 = n2 = 0.0
    if noninferiority and binary:
        deff = design_effect(state)
        n0 = deff * (state.n1v + state.n0v)
        n1 = deff * (state.n1 - 2.0 * state.n1m)
        n2 = deff * state.n1

    def at(d0: float) -> float:
        robust = pp - d0 * (pq - d0 * qq)
        randomised = xx - d0 * (xc - d0 * cc)
        implied = n0 + d0 * (n1 - d0 * n2)
        return max(robust, randomised, implied, 0.0)

    return at


def _unusable(share: float, value: float, centre: float) -> DataError:
    if not 0.0 < share < 1.0:
        return DataError(
            f"canary share is {share!r}; only responses with 0 < share < 1 can be scored"
        )
    if not abs(value) <= _LARGEST:
        return DataError(f"value is {value!r}; record it as not observed instead of scoring it")
    if not abs(centre) <= _LARGEST:
        return DataError(f"centre is {centre!r}; use the control's last finite mean")
    if value not in (0.0, 1.0):
        return DataError(f"value is {value!r}, but the metric is 0/1 and cannot change its kind")
    return DataError(f"centre is {centre!r}, but the mean of a 0/1 metric lies between 0 and 1")
