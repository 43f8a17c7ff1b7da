"""The exact ratio e-value: published vectors, and a mean of exactly one under its null."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from scipy.stats import binom

from llm_canary.errors import DataError
from llm_canary.stats.exact import log_e_not_worse, log_e_ratio


@pytest.mark.parametrize(
    ("x", "n", "shares", "r0", "side", "expected"),
    [
        ([0], [0], [0.05], 1, "up", 0.0),
        ([5], [20], [0.05], 1, "up", 2.658879),
        ([1], [20], [0.05], 1, "up", -0.200697),
        ([3, 4], [20, 10], [0.05, 0.25], 1, "up", 0.882213),
        ([2], [200], [0.05], 2, "down", 10.703849),
        ([5], [200], [0.05], 1.5, "down", 3.097164),
        ([40], [100], [0.5], 1, "up", -1.400992),
        ([40], [100], [0.5], 1.5, "down", 6.168177),
    ],
)
def test_published_vectors(x, n, shares, r0, side, expected):
    assert log_e_ratio(x, n, shares, r0, side=side) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n", [1, 3, 8, 20])
@pytest.mark.parametrize(("r0", "side"), [(1.0, "up"), (1.5, "down"), (2.0, "up")])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_the_mean_over_all_outcomes_at_the_boundary_is_exactly_one(n, r0, side, share):
    p = share * r0 / (share * r0 + 1 - share)
    mean = sum(
        binom.pmf(x, n, p) * math.exp(log_e_ratio([x], [n], [share], r0, side=side))
        for x in range(n + 1)
    )

    assert mean == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("side", "sign"), [("up", 1), ("down", -1)])
def test_each_further_event_in_the_canary_moves_the_evidence_one_way(side, sign):
    logs = [log_e_ratio([x], [30], [0.25], 1.2, side=side) for x in range(31)]

    assert all(sign * (b - a) > 0 for a, b in pairwise(logs))


def test_frequent_events_cannot_prove_that_the_canary_is_no_worse():
    args = ([40], [100], [0.5], 1.5)

    assert log_e_not_worse(*args, incidence=0.051) is None
    assert log_e_not_worse(*args, incidence=0.05) == pytest.approx(6.168177, abs=1e-6)


@pytest.mark.parametrize(
    ("args", "named"),
    [
        pytest.param(([-1], [3], [0.5], 1.0), "-1 of 3", id="negative-count"),
        pytest.param(([4], [3], [0.5], 1.0), "4 of 3", id="more-canary-than-all"),
        pytest.param(([1], [3], [1.0], 1.0), "1.0", id="share-of-one"),
        pytest.param(([1], [3], [0.5, 0.6], 1.0), "2 shares", id="lengths-differ"),
        pytest.param(([1], [3], [0.5], math.nan), "nan", id="ratio-missing"),
    ],
)
def test_impossible_counts_are_refused_with_their_value(args, named):
    with pytest.raises(DataError, match=named):
        log_e_ratio(*args, side="up")


def test_an_incidence_that_is_no_fraction_is_refused():
    with pytest.raises(DataError, match=r"1\.5"):
        log_e_not_worse([1], [3], [0.5], 1.5, incidence=1.5)
