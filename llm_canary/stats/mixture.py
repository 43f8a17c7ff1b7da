"""Evidence from a score and its variance: e-values, bounds and intervals valid at every look.

The e-process is the one-sided normal mixture (Howard et al. 2021, Annals of Statistics 49(2), eq.
14; Robbins 1970): the likelihood ratio of "drift lambda" against "no drift", averaged over a
half-normal lambda of precision v0. All logs are natural. `score` and `variance` are S - d0 I and
V(d0) of `stats.score`; `v0` has the unit of `variance`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, exp, inf, isfinite, log, log1p, sqrt

from scipy.special import erfcx

from llm_canary.errors import DataError
from llm_canary.stats.score import ScoreState, effect, variance_curve

# Large, medium and tiny samples: with the small scales a catastrophe is seen within a handful of
# responses.
SCALES = (1.0, 1.0 / 8.0, 1.0 / 64.0)
_LOG_2 = log(2.0)
_SQRT_HALF = sqrt(0.5)
_WIDENING = 1.4  # of the search for an interval's end
_MAX_WIDENINGS = 20  # 1.4^20 = 800 half-widths away there is no end


def precision(alpha: float, planned_variance: float) -> float:
    """Return the v0 that makes the boundary tightest when V reaches `planned_variance`.

    Howard et al. 2021, section 3.5, by the approximation V / (L + log(1 + L)), L = -2 log(2 alpha).
    """
    if not 0.0 < alpha < 0.5:
        raise DataError(f"alpha is {alpha!r}; it must lie strictly between 0 and 1/2")
    if not (isfinite(planned_variance) and planned_variance > 0.0):
        raise DataError(f"planned variance is {planned_variance!r}; it must be finite and positive")
    length = -2.0 * log(2.0 * alpha)
    return planned_variance / (length + log1p(length))


def log_e(score: float, variance: float, v0: float) -> float:
    """Return the log e-value of "the score drifts upwards", by one scale; 0 is no evidence."""
    _refuse_unusable(score, variance, v0)
    return _log_e(score, variance, v0)


def log_e_three(score: float, variance: float, v0: float) -> float:
    """Return the log of the mean e-value over three scales of v0: the watch for harm.

    The scales reach down from v0, so tune v0 for 1.5 times the planned variance.
    """
    _refuse_unusable(score, variance, v0)
    return _log_e_three(score, variance, v0)


def boundary(alpha: float, variance: float, v0: float, *, scales: int) -> float:
    """Return the score at which the e-value reaches 1/alpha; `scales` is 1 or 3."""
    _refuse_unusable(0.0, variance, v0)
    if scales not in (1, 3):
        raise DataError(f"scales is {scales!r}; the e-process has 1 or 3")
    if not 0.0 < alpha < 1.0:
        raise DataError(f"alpha is {alpha!r}; it must lie strictly between 0 and 1")
    log_e_at = _log_e if scales == 1 else _log_e_three
    target = -log(alpha)

    def excess(score: float) -> float:
        return log_e_at(score, variance, v0) - target

    high = _guess(target, variance, v0)
    while excess(high) < 0.0:
        high *= 2.0
    return _root(excess, 0.0, high, (excess(0.0), excess(high)))


def interval(
    state: ScoreState,
    *,
    alpha: float,
    v0: float,
    binary: bool,
    v0_upper: float | None = None,
) -> tuple[float | None, float | None]:
    """Return (L, U): the canary is worse by at least L and at most U, at every look.

    It is the set of d0 around the estimate that the decisions' own e-values do not refute: three
    scales for L, one for U, the variance taken at d0. Each end holds with confidence 1 - alpha,
    both together hold with 1 - 2 alpha. `v0_upper` is the v0 of the proof, if it is not that of the
    watch for harm. None: the data do not bound that end yet.
    """
    upper_v0 = v0 if v0_upper is None else v0_upper
    _refuse_unusable(0.0, 0.0, v0)
    _refuse_unusable(0.0, 0.0, upper_v0)
    if not 0.0 < alpha < 1.0:
        raise DataError(f"alpha is {alpha!r}; it must lie strictly between 0 and 1")
    estimate = effect(state)
    if estimate is None:
        return None, None
    target = -log(alpha)

    harm = variance_curve(state, noninferiority=False, binary=binary)
    proof = variance_curve(state, noninferiority=True, binary=binary)
    information = state.i

    def below(distance: float) -> float:
        return _log_e_three(distance * information, harm(estimate - distance), v0) - target

    def above(distance: float) -> float:
        return _log_e(distance * information, proof(estimate + distance), upper_v0) - target

    start = 0.4 * _guess(target, proof(estimate), v0) / information
    left, right = _nearest_root(below, start), _nearest_root(above, start)
    return (
        None if left is None else estimate - left,
        None if right is None else estimate + right,
    )


def _log_e(score: float, variance: float, v0: float) -> float:
    total = v0 + variance
    return _LOG_2 + 0.5 * log(v0 / total) + _log_mills(score / sqrt(total))


def _log_e_three(score: float, variance: float, v0: float) -> float:
    large, medium, tiny = SCALES
    one = _log_e(score, variance, v0 * large)
    two = _log_e(score, variance, v0 * medium)
    three = _log_e(score, variance, v0 * tiny)
    top = max(one, two, three)
    return top + log((exp(one - top) + exp(two - top) + exp(three - top)) / 3.0)


def _log_mills(z: float) -> float:
    """Return z^2 / 2 + log Phi(z)."""
    # Far below zero the two summands are large and cancel: erfcx is their sum.
    if z > -30.0:
        return 0.5 * z * z + log(0.5 * erfc(-z * _SQRT_HALF))
    return log(0.5 * float(erfcx(-z * _SQRT_HALF)))


def _guess(target: float, variance: float, v0: float) -> float:
    """Return the boundary of one scale with Phi taken as 1: within some percent of the truth."""
    total = v0 + variance
    return sqrt(2.0 * total * max(target - _LOG_2 + 0.5 * log(total / v0), 0.05))


def _nearest_root(excess: Callable[[float], float], start: float) -> float | None:
    low, below = 0.0, None
    high = start
    for _ in range(_MAX_WIDENINGS):
        above = excess(high)
        if above >= 0.0:
            return _root(excess, low, high, (excess(low) if below is None else below, above))
        low, below, high = high, above, high * _WIDENING
    return None


def _root(
    excess: Callable[[float], float], low: float, high: float, ends: tuple[float, float]
) -> float:
    """Return the root in [low, high] to 1e-12 relative, by bracketed secant steps (Illinois).

    `ends` are the excesses there. The log of an e-value is nearly linear in the score's square, so
    the steps are taken in squares: half as many are needed.
    """
    f_low, f_high = ends
    low, high = low * low, high * high
    middle, side = high, 0
    for _ in range(100):  # pragma: no branch - it converges within a dozen
        last, middle = middle, (low * f_high - high * f_low) / (f_high - f_low)
        f_middle = excess(sqrt(middle))
        if abs(f_middle) < 1e-12 or abs(middle - last) <= 1e-14 * high:
            break
        if f_middle < 0.0:
            low, f_low = middle, f_middle
            f_high *= 0.5 if side == -1 else 1.0
            side = -1
        else:
            high, f_high = middle, f_middle
            f_low *= 0.5 if side == 1 else 1.0
            side = 1
    return sqrt(middle)


def _refuse_unusable(score: float, variance: float, v0: float) -> None:
    if not isfinite(score):
        raise DataError(f"score is {score!r}; it must be finite")
    if not (isfinite(variance) and variance >= 0.0):
        raise DataError(f"variance is {variance!r}; it must be finite and not negative")
    if not 0.0 < v0 < inf:
        raise DataError(f"precision v0 is {v0!r}; it must be finite and positive")
