"""Corrected means: right on average whatever the judge is, and as wide as they claim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from llm_canary.errors import DataError
from llm_canary.stats.corrected import (
    Operating,
    Stratum,
    mean_interval,
    proportion_interval,
    rogan_gladen,
    stratified_ppi,
)


@pytest.mark.parametrize(("passed", "n"), [(0, 10), (3, 10), (95, 100), (10, 10)])
def test_wilson_equals_scipy(passed, n):
    found = proportion_interval(passed, n)
    expected = stats.binomtest(passed, n).proportion_ci(method="wilson")

    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))


def test_the_mean_has_students_interval():
    values = [0.0, 1.0, 1.0, 0.5, 0.75]
    found = mean_interval(values)
    expected = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))

    assert (found.lower, found.upper) == pytest.approx(expected)
    assert mean_interval([1.0]) is None


def world(rng, n, labelled, *, bias):
    """Two strata; the judge errs differently in each."""
    strata, truth = [], 0.0
    for share, rate, error in ((0.7, 0.9, 0.05), (0.3, 0.5, bias)):
        size, known = int(n * share), int(labelled * share)
        human = (rng.random(size) < rate) * 1.0
        wrong = rng.random(size) < error
        judge = np.where(wrong, 1.0 - human, human)
        strata.append(Stratum(share, human[:known], judge[:known], judge[known:]))
        truth += share * rate
    return strata, truth


@pytest.mark.parametrize("bias", [0.05, 0.4])
def test_ppi_covers_with_a_judge_that_errs_in_one_stratum(bias):
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        strata, truth = world(rng, 2000, 200, bias=bias)
        found = stratified_ppi(strata)
        hits += found.lower <= truth <= found.upper
    assert hits >= 370


def test_a_useless_judge_costs_hardly_anything():
    rng = np.random.default_rng(4)
    widths = []
    for _ in range(50):
        human = (rng.random(200) < 0.7) * 1.0
        noise = (rng.random(1200) < 0.5) * 1.0
        found = stratified_ppi([Stratum(1.0, human, noise[:200], noise[200:])])
        plain = mean_interval(human)
        widths.append((found.upper - found.lower) / (plain.upper - plain.lower))
    assert np.mean(widths) < 1.01


def test_rogan_gladen_undoes_a_known_error():
    rng = np.random.default_rng(5)
    hits, means = 0, []
    for _ in range(1000):
        human = rng.random(400) < 0.8
        judge = np.where(human, rng.random(400) < 0.9, rng.random(400) < 0.2)
        labels = Operating(*rng.multinomial(300, [0.45, 0.05, 0.1, 0.4]))
        found = rogan_gladen(judge.sum(), 400, labels)
        means.append(found.mean)
        hits += found.lower <= 0.8 <= found.upper
    assert hits >= 930
    assert np.mean(means) == pytest.approx(0.8, abs=0.012)  # the judge's own share is 0.76


def test_rogan_gladen_refuses_a_judge_that_knows_nothing():
    assert rogan_gladen(50, 100, Operating(25, 25, 25, 25)) is None
    assert rogan_gladen(50, 100, Operating(50, 10, 0, 0)) is None


@pytest.mark.parametrize(
    "strata",
    [
        [],
        [Stratum(0.5, [1, 0, 1, 0], [1, 0, 1, 0], [1, 0])],
        [Stratum(1.0, [1, 0], [1, 0], [1, 0])],
    ],
)
def test_strata_that_cannot_be_used_are_refused(strata):
    with pytest.raises(DataError):
        stratified_ppi(strata)
