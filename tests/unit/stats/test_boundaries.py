"""Group-sequential bounds against published constants and simulation-free identities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from llm_canary.errors import DataError
from llm_canary.stats.boundaries import (
    crossing,
    lan_demets,
    obrien_fleming,
    pocock,
    shipped_bounds,
)

THIRDS = (1 / 3, 2 / 3, 1.0)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (0.05, (2.961125, 2.093831, 1.709606)),
        (0.025, (3.471091, 2.454432, 2.004036)),
        (0.01, (4.076546, 2.882554, 2.353595)),
    ],
)
def test_obrien_fleming_matches_published_constants(alpha, expected):
    assert obrien_fleming(alpha, 3) == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0.05, 1.992192), (0.025, 2.289478), (0.01, 2.636203)]
)
def test_pocock_matches_published_constants(alpha, expected):
    assert pocock(alpha, 3) == pytest.approx([expected] * 3, abs=5e-6)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (THIRDS, (3.200102, 2.140815, 1.694812)),
        ((0.6, 0.8, 1.0), (2.276889, 1.959172, 1.738763)),
        ((0.25, 0.6, 1.0), (3.749552, 2.277935, 1.679574)),
    ],
)
def test_lan_demets_matches_published_constants(times, expected):
    assert lan_demets(0.05, times) == pytest.approx(expected, abs=5e-6)


def test_the_shipped_gate_is_obrien_fleming_at_four_percent():
    assert shipped_bounds() == pytest.approx((3.131060, 2.213994, 1.807718), abs=5e-6)


@pytest.mark.parametrize("looks", [1, 2, 5, 10])
def test_bounds_are_crossed_with_probability_alpha(looks):
    times = [(k + 1) / looks for k in range(looks)]

    assert crossing(obrien_fleming(0.04, looks), times) == pytest.approx(0.04, abs=1e-9)
    assert crossing(pocock(0.04, looks), times) == pytest.approx(0.04, abs=1e-9)
    assert crossing(lan_demets(0.04, times), times) == pytest.approx(0.04, abs=1e-9)


def test_repeating_the_last_bound_daily_promotes_falsely_in_more_than_a_tenth_of_rollouts():
    """Why there are never more than three looks: twelve more at the last bound of a .05 gate."""
    bounds = obrien_fleming(0.05, 3)

    assert crossing((*bounds, *(bounds[-1],) * 12), [(k + 1) / 3 for k in range(15)]) > 0.13


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: obrien_fleming(0.6, 3), "0.6"),
        (lambda: pocock(0.05, 0), "0"),
        (lambda: lan_demets(0.05, ()), "increase"),
        (lambda: lan_demets(0.05, (0.5, 0.5, 1.0)), "0.5, 0.5"),
        (lambda: lan_demets(0.05, (0.5, 1.1)), "1.1"),
    ],
)
def test_impossible_designs_are_refused(call, named):
    with pytest.raises(DataError, match=named):
        call()


def test_one_look_is_crossed_with_the_power_of_a_z_test():
    assert crossing((1.645,), (4.0,), (6.0,)) == pytest.approx(ndtr(3.0 - 1.645), abs=1e-12)


@pytest.mark.parametrize("drift", [0.0, 1.5, 4.0])
def test_a_drift_is_crossed_as_often_as_simulated_paths(drift):
    rng = np.random.default_rng(3)
    times = np.array(THIRDS)
    paths = rng.normal(0.0, np.sqrt(1 / 3), (200_000, 3)).cumsum(axis=1) + drift * times
    bounds = obrien_fleming(0.04, 3)

    crossed = (paths >= np.array(bounds) * np.sqrt(times)).any(axis=1).mean()

    assert crossing(bounds, THIRDS, (drift * times).tolist()) == pytest.approx(crossed, abs=0.0045)


def test_a_mean_far_above_the_bound_is_certain_to_cross():
    assert crossing((2.0, 2.0), (1.0, 2.0), (50.0, 60.0)) == 1.0
