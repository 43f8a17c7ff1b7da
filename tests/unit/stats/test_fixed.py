"""The textbook tests equal scipy's, and say what they are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from llm_canary.errors import DataError
from llm_canary.stats.fixed import Moments, chi_squared, mann_whitney, welch


def moments(values):
    return Moments(len(values), float(np.sum(values)), float(np.sum(np.square(values))))


@pytest.mark.parametrize("seed", range(5))
def test_welch_equals_scipy(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.lognormal(0, 0.8, 40), rng.lognormal(0.2, 0.5, 300)
    ours, theirs = welch(moments(a), moments(b)), stats.ttest_ind(a, b, equal_var=False)

    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-9)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("canary", "control"),
    [
        pytest.param((12, 88), (50, 850), id="two-by-two"),
        pytest.param((5, 0, 9, 30), (80, 0, 160, 700), id="four-categories-one-empty"),
    ],
)
def test_chi_squared_equals_scipy(canary, control):
    table = np.array([canary, control])
    theirs = stats.chi2_contingency(table[:, table.sum(axis=0) > 0], correction=False)
    ours = chi_squared(canary, control)

    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-9)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_mann_whitney_from_counts_equals_scipy_from_values(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(1, 6, 60), rng.integers(1, 5, 200)
    theirs = stats.mannwhitneyu(x, y, method="asymptotic")
    ours = mann_whitney(np.bincount(x, minlength=7).tolist(), np.bincount(y, minlength=7).tolist())

    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-9)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)


def test_equal_arms_have_a_p_value_of_one():
    assert mann_whitney([5, 5], [5, 5]).p_value == 1.0


def test_every_result_says_that_it_is_not_a_stopping_rule():
    assert chi_squared((1, 2), (3, 4)).note == "not a stopping rule"


def test_moments_merge():
    assert moments([1.0, 2.0]) + moments([4.0]) == moments([1.0, 2.0, 4.0])
    assert moments([1.0, 2.0, 4.0]).mean == pytest.approx(7 / 3)
    assert Moments(0, 0.0, 0.0).mean is None


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(welch(moments([1.0]), moments([1.0, 2.0])), id="welch-one-value"),
        pytest.param(welch(moments([1.0, 1.0]), moments([1.0, 1.0])), id="welch-constant"),
        pytest.param(chi_squared((0, 0), (3, 4)), id="chi-squared-empty-arm"),
        pytest.param(chi_squared((3, 0), (3, 0)), id="chi-squared-one-category"),
        pytest.param(mann_whitney((0, 0), (3, 4)), id="mann-whitney-empty-arm"),
        pytest.param(mann_whitney((3, 0), (4, 0)), id="mann-whitney-all-tied"),
    ],
)
def test_without_information_there_is_no_p_value(result):
    assert result is None


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Moments(-1, 0.0, 0.0), "n=-1"),
        (lambda: Moments(1, math.nan, 0.0), "nan"),
        (lambda: chi_squared((1, 2), (3,)), "2 canary and 1 control"),
        (lambda: mann_whitney((-1, 2), (3, 4)), "-1"),
    ],
)
def test_bad_counts_are_refused(call, named):
    with pytest.raises(DataError, match=named):
        call()
