"""Paired comparisons: stored values, limits, and what their intervals and tests promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from llm_canary.errors import DataError
from llm_canary.stats.paired import (
    design_effect,
    drop_interval,
    drop_p,
    holm,
    items_needed,
    mcnemar_p,
    mean_difference,
)


@pytest.mark.parametrize(("lost", "won"), [(1, 0), (5, 0), (7, 3), (40, 25), (0, 9)])
def test_mcnemar_equals_the_binomial_test(lost, won):
    expected = 1.0 if lost == 0 else stats.binomtest(lost, lost + won, alternative="greater").pvalue

    assert mcnemar_p(lost, won) == pytest.approx(expected)


def test_holm_equals_the_definition():
    """R: p.adjust(c(.01, .04, .03, .005), "holm") = .03 .06 .06 .02."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_the_interval_ends_where_the_score_test_stops_rejecting():
    found = drop_interval(9, 3, 50)

    assert found.value == pytest.approx(0.12)
    for end in (found.lower, found.upper):
        p = drop_p(9, 3, 50, end)
        assert min(p, 1 - p) == pytest.approx(0.025, abs=1e-4)


def test_no_item_that_differs_still_has_an_interval():
    found = drop_interval(0, 0, 100)

    assert found.value == 0.0
    assert found.upper == pytest.approx(-found.lower) == pytest.approx(0.0370, abs=1e-3)


@pytest.mark.parametrize("drop", [0.0, 0.03, 0.10])
def test_the_interval_covers(drop):
    rng = np.random.default_rng(1)
    n, runs = 150, 2000
    lost_p = drop + 0.05
    hits = 0
    for _ in range(runs):
        lost, won, _ = rng.multinomial(n, [lost_p, 0.05, 1 - lost_p - 0.05])
        found = drop_interval(lost, won, n)
        hits += found.lower <= drop <= found.upper
    assert hits / runs == pytest.approx(0.95, abs=0.015)


def test_a_drop_at_the_margin_is_found_at_the_level():
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(3000):
        lost, won, _ = rng.multinomial(300, [0.08, 0.05, 0.87])
        found += drop_p(lost, won, 300, 0.03) < 0.05
    assert found / 3000 == pytest.approx(0.05, abs=0.012)


def test_conversations_count_as_often_as_they_differ():
    values = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]

    assert design_effect(values, ["a"] * 4 + ["b"] * 4) == pytest.approx(4.0)
    assert design_effect(values, list("abcdefgh")) == pytest.approx(1.0)
    assert design_effect([1.0, 1.0], ["a", "b"]) == 1.0


def test_the_bootstrap_draws_clusters():
    drops = [0.5] * 10 + [-0.5] * 10
    alone = mean_difference(drops)
    clustered = mean_difference(drops, ["a"] * 10 + ["b"] * 10)

    assert alone.value == clustered.value == 0.0
    assert clustered.upper - clustered.lower > 2 * (alone.upper - alone.lower)


def test_items_needed_settle_it():
    n = items_needed(0.1, 0.03, 0.0)
    found = drop_interval(0.05 * n, 0.05 * n, n)

    assert found.upper == pytest.approx(0.03, abs=0.002)


@pytest.mark.parametrize(
    "act",
    [
        lambda: mcnemar_p(-1, 0),
        lambda: drop_interval(1, 1, 0),
        lambda: drop_interval(5, 6, 10),
        lambda: mean_difference([]),
        lambda: mean_difference([math.nan]),
        lambda: mean_difference([1.0], ["a", "b"]),
    ],
)
def test_what_is_no_count_is_refused(act):
    with pytest.raises(DataError):
        act()
