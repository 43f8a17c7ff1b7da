"""Harm that is there: the story this program exists for, and known wrong answers of others."""

from __future__ import annotations

import math

import numpy as np
import pytest
from canary_sim import binary_paths, first, log_e_three, required
from scipy.special import logsumexp

from llm_canary.stats.mixture import log_e_three as shipped_log_e_three
from llm_canary.stats.mixture import precision
from llm_canary.stats.power import Target, binary_variance, planned_variance
from llm_canary.stats.score import ScoreState, UnitRow, effective_canary_units, update, variance

PER_MINUTE, MINUTES, SHARE, DROP = 4_375, 480, 0.05, 0.23


@pytest.mark.parametrize(
    ("rate", "median", "p90", "p90_of_48"),
    [(0.02, 12_000, 21_000, 27_000), (0.05, 5_000, 8_500, 11_000), (0.10, 2_500, 4_200, 5_200)],
)
def test_the_saturday_story_ends_after_few_users(
    rate, median, p90, p90_of_48, length, seed, record
):
    """2.1 million users in eight hours, a look per minute, a 5 % canary with 23 % fewer clicks.

    The source exposed 100,000 canary users.
    """
    runs = length(1_000)
    rng = np.random.default_rng([seed, 30, int(rate * 100)])
    missed = 1 - rate
    paths = binary_paths(
        rng,
        runs,
        per_look=PER_MINUTE,
        share=np.full(MINUTES, SHARE),
        control=missed,
        canary=missed + DROP * rate,
        bucket=60,
    )
    spread = binary_variance(missed, DROP * rate, SHARE)
    target = Target(DROP * rate, alpha=0.01)
    # Three scales reach down from the first, which is tuned beyond the plan.
    plan = 1.5 * planned_variance(target, variance=spread)
    evidence = log_e_three(paths.s, paths.variance(0.0), precision(0.01, plan))
    alone = first(evidence >= math.log(100))
    together = first(_among_48(paths, precision(0.05, plan)) >= math.log(20))
    users, users_48 = (_users(paths, at) for at in (alone, together))
    record(
        runs=runs,
        found=float(np.mean(alone >= 0)),
        median=np.median(users),
        p90=np.quantile(users, 0.9),
        p90_minutes=np.quantile(alone, 0.9) + 1,
        median_of_48=np.median(users_48),
        p90_of_48=np.quantile(users_48, 0.9),
    )

    assert (alone >= 0).sum() >= required(1.0, runs)
    assert np.median(users) <= median
    assert (users <= p90).sum() >= required(0.9, runs)
    assert (alone < 90).sum() >= required(0.9, runs)
    assert (users_48 <= p90_of_48).sum() >= required(0.9, runs)


def _among_48(paths, v0):
    """One bad overall metric among six; the other 47 processes stay at an e-value of 1."""
    weight = 0.5 / 6
    evidence = log_e_three(paths.s, paths.variance(0.0), v0)
    return logsumexp(
        [evidence + math.log(weight), np.full_like(evidence, math.log1p(-weight))], axis=0
    )


def _users(paths, at):
    return np.where(
        at >= 0, np.take_along_axis(paths.n_canary, np.maximum(at, 0)[:, None], 1)[:, 0], np.inf
    )


def judge(control, canary, *, share=0.5, centre=None, binary=False):
    """Score one response of each unit, arms in turn; return log e of harm and the state."""
    state = ScoreState()
    centre = float(np.mean(control)) if centre is None else centre
    for in_canary, values in ((True, canary), (False, control)):
        for value in values:
            update(
                state,
                UnitRow(),
                canary=in_canary,
                share=share,
                value=float(value),
                centre=centre,
                binary=binary,
            )
    return state


def test_seven_of_ten_points_a_hundred_times_worse_are_harm():
    """Kayenta issue 780 and spinnaker issue 6278, where it passes."""
    state = judge([1] * 10, [100] * 7 + [1] * 3)
    v = variance(state, 0.0, noninferiority=False, binary=False)

    assert shipped_log_e_three(state.s, v, precision(0.05, v)) > 0
    state = judge([1] * 30, [100] * 21 + [1] * 9)
    v = variance(state, 0.0, noninferiority=False, binary=False)

    assert shipped_log_e_three(state.s, v, precision(0.05, v)) >= math.log(20)


def test_sparse_errors_are_not_proof_of_health():
    """Kayenta issue 426: errors in few of many intervals pass; here they prove nothing."""
    state = judge([0] * 100, [0] * 97 + [1] * 3, centre=0.005, binary=True)
    v = variance(state, 0.005, noninferiority=True, binary=True)

    assert effective_canary_units(state) < 200
    assert (
        shipped_log_e_three(state.s, variance(state, 0.0, noninferiority=False, binary=True), 0.1)
        > 0
    )
    assert state.s - 0.005 * state.i > 0  # worse than the margin, so no gate can pass
    assert v > 0


def test_a_metric_that_is_missing_in_one_arm_gives_no_evidence():
    """Kayenta issue 799: without control or without canary values nothing is judged."""
    state = judge([], [1.0] * 50, centre=1.0)
    v = variance(state, 0.0, noninferiority=False, binary=False)

    assert shipped_log_e_three(state.s, v, 1.0) <= 0.0
