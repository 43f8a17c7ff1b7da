"""Frozen transforms of a measurement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from llm_canary.errors import DataError
from llm_canary.stats.histogram import LogHistogram
from llm_canary.stats.transform import exceeds, fit_ridit, linearise, winsorise

sample = st.lists(st.integers(0, 8), min_size=1, max_size=40)


@given(sample, sample)
def test_the_mean_ridit_is_the_mann_whitney_probability(control, canary):
    ridit = fit_ridit([(float(each), 1) for each in control])
    u = (
        mannwhitneyu(canary, control, method="asymptotic").statistic
        if len({*canary, *control}) > 1
        else 0.5 * len(canary) * len(control)
    )

    assert np.mean([ridit(each) for each in canary]) == pytest.approx(
        u / (len(control) * len(canary))
    )


@given(sample)
def test_the_control_itself_has_a_mean_ridit_of_one_half(control):
    ridit = fit_ridit([(each, 1) for each in control])

    assert np.mean([ridit(each) for each in control]) == pytest.approx(0.5)


def test_a_value_between_or_beyond_the_sample_is_ranked_by_what_lies_below():
    ridit = fit_ridit([(1.0, 3), (2.0, 1), (5.0, 0)])

    assert [ridit(0.0), ridit(1.5), ridit(2.0), ridit(9.0)] == [0.0, 0.75, 0.875, 1.0]


def test_a_histogram_is_a_sample():
    histogram = LogHistogram()
    histogram.extend([0.0, 100.0, 100.0, 400.0])

    assert fit_ridit(histogram.cells())(200.0) == 0.75


def test_a_capped_value_keeps_what_is_below_the_cap():
    assert (winsorise(3.0, 10.0), winsorise(30.0, 10.0)) == (3.0, 10.0)


def test_only_values_above_the_threshold_exceed_it():
    assert (exceeds(1.0, 1.0), exceeds(1.01, 1.0)) == (0.0, 1.0)


def test_the_linearised_ratio_has_mean_zero_at_the_frozen_ratio():
    assert linearise(6.0, 3.0, 2.0) == 0.0


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: fit_ridit([]), "empty"),
        (lambda: fit_ridit([(1.0, 0)]), "empty"),
        (lambda: fit_ridit([(math.nan, 1)]), "nan"),
        (lambda: fit_ridit([(1.0, -1)]), "-1"),
        (lambda: fit_ridit([(1.0, 1)])(math.inf), "inf"),
    ],
)
def test_bad_samples_are_refused(call, named):
    with pytest.raises(DataError, match=named):
        call()
