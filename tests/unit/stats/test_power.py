"""The planner against the source's example and published sizes."""

from __future__ import annotations

import math

import pytest

from llm_canary.errors import DataError
from llm_canary.stats.mixture import precision
from llm_canary.stats.power import (
    Target,
    binary_variance,
    canary_size,
    days_for,
    days_with_returning_units,
    design_effect,
    equal_arm_size,
    full_cycles,
    planned_information,
    planned_variance,
    power_at,
    smallest_effect,
    z_squared,
)


@pytest.mark.parametrize(
    ("alpha", "power", "expected"),
    [(0.05, 0.9, 8.563847), (0.025, 0.8, 7.848880), (0.05, 0.8, 6.182557)],
)
def test_z_squared_matches_published_values(alpha, power, expected):
    assert z_squared(alpha, power) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("variance", "effect", "share", "kappa", "deff", "expected"),
    [
        (0.16, 0.02, 0.05, 1.0, 1.0, 3605.830463),
        (0.16, 0.02, 0.25, 1.0, 1.0, 4567.385254),
        (0.0625, 0.03, 0.5, 1.0, 1.0, 1189.423243),
        (0.24, 0.05, 0.05, 1.04, 1.5, 1350.022926),
    ],
)
def test_sizes_match_published_values(variance, effect, share, kappa, deff, expected):
    target = Target(effect, kappa=kappa, design_effect=deff)

    assert canary_size(target, variance=variance, share=share) == pytest.approx(expected, abs=1e-6)


def test_the_source_example_takes_four_days():
    assert days_for(10_000, share=0.05, daily=50_000) == 4.0
    assert full_cycles(4.0) == 4.0


def test_the_textbook_size_of_the_source_example_is_9804_per_arm():
    assert math.ceil(equal_arm_size(0.5, 0.02)) == 9804


@pytest.mark.parametrize(("p0", "expected", "days"), [(0.5, 5156, 3), (0.1, 2166, 1)])
def test_a_large_control_shortens_the_source_example(p0, expected, days):
    target = Target(0.02, alpha=0.025, power=0.8)
    size = canary_size(target, variance=binary_variance(p0, 0.02, 0.05), share=0.05)

    assert math.ceil(size) == expected
    assert full_cycles(days_for(size, share=0.05, daily=50_000)) == days


def test_size_effect_and_power_are_inverses():
    target = Target(0.03, kappa=1.04, design_effect=1.3)
    size = canary_size(target, variance=0.2, share=0.25)

    assert smallest_effect(target, variance=0.2, share=0.25, size=size) == pytest.approx(0.03)
    assert power_at(target, variance=0.2, share=0.25, size=size) == pytest.approx(0.9)


def test_planned_variance_and_information_are_those_of_the_planned_size():
    target = Target(0.02)
    n = canary_size(target, variance=0.16, share=0.05) / 0.05

    assert planned_variance(target, variance=0.16) == pytest.approx(n * 0.16 * 0.05 * 0.95)
    assert planned_information(target, variance=0.16) == pytest.approx(n * 0.05 * 0.95)
    assert precision(0.05, planned_variance(target, variance=0.16)) > 0


def test_returning_units_lengthen_the_rollout_until_it_agrees_with_itself():
    def size_at(days):
        deff = design_effect(2 * days, (2 * days) ** 2 + 2 * days, 0.1)
        return canary_size(Target(0.02, design_effect=deff), variance=0.16, share=0.05)

    days = days_with_returning_units(size_at, share=0.05, daily=20_000)

    assert days == pytest.approx(days_for(size_at(days), share=0.05, daily=20_000))
    assert days > days_for(size_at(1.0), share=0.05, daily=20_000)
    assert days_with_returning_units(size_at, share=0.05, daily=500) is None


def test_days_round_up_to_whole_cycles_with_the_outcome_window():
    assert full_cycles(2.1, window_days=1.0) == 4.0
    assert full_cycles(2.1, window_days=1.0, cycle_days=7.0) == 7.0


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Target(0.0), "0.0"),
        (lambda: Target(0.1, alpha=0.5), "0.5"),
        (lambda: Target(0.1, power=1.0), "1.0"),
        (lambda: Target(0.1, kappa=0.9), "0.9"),
        (lambda: binary_variance(0.99, 0.02, 0.5), "1.01"),
        (lambda: canary_size(Target(0.1), variance=0.0, share=0.5), "0.0"),
        (lambda: canary_size(Target(0.1), variance=0.1, share=1.0), "1.0"),
        (lambda: days_for(100, share=0.05, daily=0), "0 a day"),
        (lambda: equal_arm_size(0.5, 0.0), "0.0"),
    ],
)
def test_impossible_plans_are_refused_with_their_value(call, named):
    with pytest.raises(DataError, match=named):
        call()
