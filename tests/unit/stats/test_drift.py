"""Drift of categories: published vectors, null expectations and bad input."""

from __future__ import annotations

import math
from itertools import product

import pytest
from scipy.stats import binom

from llm_canary.errors import DataError
from llm_canary.stats.drift import expected_psi, jensen_shannon, log_e_drift, psi


@pytest.mark.parametrize(("x", "expected"), [((30, 15, 5), -1.368083), ((20, 15, 25), 10.188731)])
def test_published_vectors(x, expected):
    assert log_e_drift([x], [(600, 300, 100)], [0.05]) == pytest.approx(expected, abs=1e-6)


def test_the_mean_over_all_splits_of_two_categories_and_two_shares_is_one():
    totals, shares = [(3, 2), (1, 4)], [0.05, 0.25]
    mean = 0.0
    for a, b, c, d in product(range(4), range(3), range(2), range(5)):
        chance = (
            binom.pmf(a, 3, 0.05)
            * binom.pmf(b, 2, 0.05)
            * binom.pmf(c, 1, 0.25)
            * binom.pmf(d, 4, 0.25)
        )
        mean += chance * math.exp(log_e_drift([(a, b), (c, d)], totals, shares))

    assert mean == pytest.approx(1.0, abs=1e-9)


def test_identical_mixes_have_no_distance_and_empty_arms_no_number():
    assert psi([50, 50], [50, 50]) == 0.0
    assert jensen_shannon([50, 50], [50, 50]) == 0.0
    assert psi([0, 0], [50, 50]) is None
    assert jensen_shannon([5, 5], [0, 0]) is None


def test_distances_match_their_definitions():
    p, q = (30.5 / 101, 70.5 / 101), (60.5 / 101, 40.5 / 101)
    kl = [
        sum(a * math.log(2 * a / (a + b)) for a, b in zip(*pair, strict=True))
        for pair in ((p, q), (q, p))
    ]

    assert psi([30, 70], [60, 40]) == pytest.approx(
        sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    )
    assert jensen_shannon([30, 70], [60, 40]) == pytest.approx(sum(kl) / 2)


def test_with_a_thousand_canary_responses_identical_arms_show_a_psi_above_the_folklore_limit_soon():
    assert expected_psi(20, 180, 10_000) > 0.1


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: log_e_drift([(1,)], [(2,), (3,)], [0.5]), "2 of totals"),
        (lambda: log_e_drift([(3,)], [(2,)], [0.5]), "3 of 2"),
        (lambda: psi([1], [1, 2]), "1 canary and 2 control"),
        (lambda: psi([-1, 3], [1, 2]), "-1"),
        (lambda: expected_psi(3, 0, 10), "0 canary"),
    ],
)
def test_impossible_counts_are_refused(call, named):
    with pytest.raises(DataError, match=named):
        call()
