"""Sample-ratio mismatch and repeat assignment."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binom

from llm_canary.errors import DataError
from llm_canary.stats.srm import log_e_repeat, log_e_srm


@pytest.mark.parametrize(
    ("canary", "total", "shares", "expected"),
    [
        ([50], [1000], [0.05], -0.427232),
        ([90], [1000], [0.05], 10.144923),
        ([520], [1000], [0.5], -0.104090),
        ([600], [1000], [0.5], 16.000925),
        ([60, 290], [1000, 1000], [0.05, 0.25], 1.686178),
    ],
)
def test_published_vectors(canary, total, shares, expected):
    assert log_e_srm(canary, total, shares) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5])
def test_the_mean_over_all_splits_is_exactly_one(share):
    mean = sum(binom.pmf(x, 40, share) * math.exp(log_e_srm([x], [40], [share])) for x in range(41))

    assert mean == pytest.approx(1.0, abs=1e-9)  # betaln of 10,000 has lost three digits


def test_without_units_there_is_no_evidence():
    assert log_e_srm([], [], []) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        pytest.param(0.05, 0.25, 0.20 / 0.95, id="a-ramp-moves-control-units-in"),
        pytest.param(0.25, 0.05, 0.80, id="a-step-back-moves-canary-units-out"),
    ],
)
def test_units_that_change_arms_as_the_share_makes_them_are_no_evidence(before, after, moved):
    n = 10_000
    as_expected = log_e_repeat(round(n * moved), n, before=before, after=after)
    re_randomised = log_e_repeat(round(n * moved * 1.1), n, before=before, after=after)

    assert as_expected < 0 < math.log(1000) < re_randomised


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: log_e_srm([7], [5], [0.5]), "7 of 5"),
        (lambda: log_e_repeat(0, 10, before=0.1, after=0.1), "stayed 0.1"),
        (lambda: log_e_repeat(0, 10, before=0.0, after=0.1), "0.0"),
    ],
)
def test_impossible_counts_are_refused(call, named):
    with pytest.raises(DataError, match=named):
        call()
