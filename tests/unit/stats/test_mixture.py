"""The mixture e-process against published vectors, ville, and its own definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import ville
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from llm_canary.errors import DataError
from llm_canary.stats.mixture import boundary, interval, log_e, log_e_three, precision
from llm_canary.stats.score import ScoreState, UnitRow, effect, update, variance


@pytest.mark.parametrize(
    ("alpha", "planned", "expected"),
    [(0.05, 100, 15.800635), (0.01, 100, 9.998474), (0.05, 2.5, 0.395016)],
)
def test_precision_matches_the_published_values(alpha, planned, expected):
    assert precision(alpha, planned) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("s", "v", "v0", "one", "three"),
    [
        (0, 0, 1, 0.0, 0.0),
        (0, 10, 1, -1.198948, -1.892420),
        (5, 10, 1, 0.562462, -0.092888),
        (-5, 10, 1, -2.090056, -2.792955),
        (3, 1, 0.25, 3.484776, 3.163184),
        (25, 100, 15.800635, 2.385705, 1.846753),
        (40, 100, 15.800635, 6.605561, 6.362957),
        (-30, 100, 15.800635, -2.348783, -3.052921),
        (300, 1000, 15.800635, 42.911487, 42.458329),
    ],
)
def test_log_e_values_match_the_published_vectors(s, v, v0, one, three):
    assert log_e(s, v, v0) == pytest.approx(one, abs=1e-6)
    assert log_e_three(s, v, v0) == pytest.approx(three, abs=1e-6)


@pytest.mark.parametrize(
    ("alpha", "v", "v0", "one", "three"),
    [
        (0.05, 100, 15.800635, 27.660709, 29.563423),
        (0.01, 100, 9.998474, 33.534546, 35.124944),
        (0.05, 10, 15.800635, 11.492682, 9.318983),
        (0.05, 1000, 15.800635, 94.393916, 101.451652),
    ],
)
def test_boundaries_match_the_published_vectors(alpha, v, v0, one, three):
    assert boundary(alpha, v, v0, scales=1) == pytest.approx(one, abs=1e-6)
    assert boundary(alpha, v, v0, scales=3) == pytest.approx(three, abs=1e-6)


@pytest.mark.parametrize("v", [0.5, 7.0, 100.0, 3e4])
@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.001])
def test_the_boundary_equals_ville(alpha, v):
    assert boundary(alpha, v, 12.5, scales=1) == pytest.approx(
        float(ville.normal_mixture(v, alpha, 12.5, one_sided=True)), rel=1e-6
    )


@pytest.mark.parametrize(("s", "v"), [(3.0, 4.0), (-2.0, 1.0), (11.0, 40.0)])
def test_log_e_is_the_likelihood_ratio_averaged_over_a_half_normal(s, v):
    v0 = 2.5
    mean, _ = quad(
        lambda x: math.exp(x * s - x * x * v / 2) * 2 * norm.pdf(x, scale=v0**-0.5), 0, math.inf
    )

    assert log_e(s, v, v0) == pytest.approx(math.log(mean), rel=1e-8)


@example(-907.60546875, 1e-3, 0.0, 1e-3)  # 29,000 standard deviations better
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.floats(0, 1e5), st.floats(1e-3, 1e4))
def test_more_harm_never_means_less_evidence(s, more, v, v0):
    assert log_e(s + more, v, v0) >= log_e(s, v, v0)
    assert log_e_three(s + more, v, v0) >= log_e_three(s, v, v0)


def test_a_very_good_canary_leaves_finite_evidence():
    assert math.isfinite(log_e(-1e6, 10.0, 1.0))


def stream(seed, *, n=4000, harm=0.0, share=0.25):
    rng = np.random.default_rng(seed)
    state = ScoreState()
    for _ in range(n):
        canary = bool(rng.random() < share)
        value = float(rng.random() < 0.2 + harm * canary)
        update(state, UnitRow(), canary=canary, share=share, value=value, centre=0.2, binary=True)
    return state


@pytest.mark.parametrize("harm", [-0.1, 0.0, 0.3])
def test_the_ends_of_the_interval_are_where_the_decisions_evidence_reaches_one_over_alpha(harm):
    state, v0 = stream(1, harm=harm), 20.0
    lower, upper = interval(state, alpha=0.05, v0=v0, binary=True)
    v_lower = variance(state, lower, noninferiority=False, binary=True)
    v_upper = variance(state, upper, noninferiority=True, binary=True)

    assert lower < effect(state) < upper
    assert log_e_three(state.s - lower * state.i, v_lower, v0) == pytest.approx(math.log(20))
    assert log_e(upper * state.i - state.s, v_upper, v0) == pytest.approx(math.log(20))


@given(st.integers(0, 200), st.floats(-0.1, 0.5))
def test_the_interval_and_the_decision_agree_on_no_harm(seed, harm):
    state, v0 = stream(seed, n=150, harm=max(harm, 0.0)), 1.0
    lower, _ = interval(state, alpha=0.05, v0=v0, binary=True)
    v = variance(state, 0.0, noninferiority=False, binary=True)
    is_harm = log_e_three(state.s, v, v0) >= math.log(20)

    # A lower end above 0 without a decision is possible (V shrinks towards D) and is printed as the
    # tolerance;
    # a decision without a lower end above 0 is not.
    assert not is_harm or lower > 0.0


def test_the_known_contradiction_between_display_and_decision_is_resolved_by_one_variance():
    """n_c = 13 of 200: V(D) says harm, V(0) does not; the lower end follows V(d0) from D."""
    state = ScoreState(s=0.428 * 12.35, i=12.35, pp=5.22, qq=12.35**2 / 13)
    state.pq = (5.22 + 0.428**2 * state.qq - 2.93) / (2 * 0.428)
    v0 = 1.0
    lower, _ = interval(state, alpha=0.05, v0=v0, binary=False)

    assert log_e_three(state.s, 5.22, v0) < math.log(20)
    at_lower = variance(state, lower, noninferiority=False, binary=False)
    assert log_e_three(state.s - lower * state.i, at_lower, v0) == pytest.approx(math.log(20))


def test_the_upper_end_takes_the_precision_of_the_proof():
    state = stream(2)
    lower, upper = interval(state, alpha=0.05, v0=20.0, v0_upper=5.0, binary=True)

    assert lower == interval(state, alpha=0.05, v0=20.0, binary=True)[0]
    assert upper == pytest.approx(interval(state, alpha=0.05, v0=5.0, binary=True)[1])


def test_few_units_bound_nothing():
    state = ScoreState()
    update(state, UnitRow(), canary=True, share=0.5, value=1.0, centre=0.2, binary=True)

    assert interval(state, alpha=0.05, v0=1.0, binary=True) == (None, None)
    assert interval(ScoreState(), alpha=0.05, v0=1.0, binary=True) == (None, None)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: log_e(math.nan, 1.0, 1.0), "nan"),
        (lambda: log_e_three(0.0, -1.0, 1.0), "-1.0"),
        (lambda: log_e(0.0, 1.0, 0.0), "0.0"),
        (lambda: precision(0.5, 1.0), "0.5"),
        (lambda: precision(0.05, math.inf), "inf"),
        (lambda: boundary(0.0, 1.0, 1.0, scales=1), "0.0"),
        (lambda: boundary(0.05, 1.0, 1.0, scales=2), "2"),
        (lambda: interval(ScoreState(), alpha=2.0, v0=1.0, binary=True), "2.0"),
        (lambda: interval(ScoreState(), alpha=0.1, v0=1.0, v0_upper=-3.0, binary=True), "-3.0"),
    ],
)
def test_impossible_arguments_are_refused_with_their_value(call, named):
    with pytest.raises(DataError, match=named):
        call()
