"""CUPED with frozen coefficients."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llm_canary.errors import DataError
from llm_canary.stats.cuped import CrossMoments, Cuped, fit


def pairs(x, y):
    made = CrossMoments()
    for a, b in zip(x, y, strict=True):
        made = made.plus(float(a), float(b))
    return made


@pytest.mark.parametrize("rho", [0.3, 0.5, 0.7])
def test_the_variance_falls_by_the_squared_correlation(rho):
    rng = np.random.default_rng(3)
    x, noise = rng.normal(5.0, 2.0, 20_000), rng.normal(size=20_000)
    y = rho * (x - 5.0) / 2.0 + math.sqrt(1 - rho**2) * noise
    cuped = fit(pairs(x[:10_000], y[:10_000]))
    adjusted = [cuped.adjust(b, a) for a, b in zip(x[10_000:], y[10_000:], strict=True)]

    assert np.var(adjusted) / np.var(y[10_000:]) == pytest.approx(1 - rho**2, abs=0.02)


def test_the_coefficient_is_least_squares():
    x, y = [1.0, 2.0, 4.0], [2.0, 2.5, 5.0]

    assert fit(pairs(x, y)).theta == pytest.approx(np.polyfit(x, y, 1)[0])


def test_units_without_a_past_lose_their_common_difference():
    cuped = fit(pairs([1.0, 3.0], [10.0, 20.0]), new_count=4, new_sum=80.0)

    assert cuped.adjust(21.0, None) == pytest.approx(21.0 - (20.0 - 15.0))


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(CrossMoments(), id="no-past"),
        pytest.param(pairs([2.0, 2.0], [1.0, 9.0]), id="a-constant-past"),
    ],
)
def test_a_past_that_tells_nothing_changes_nothing(known):
    assert fit(known) == Cuped(theta=0.0, mean=0.0)
    assert fit(known).adjust(7.0, 100.0) == 7.0


def test_moments_merge_and_are_zero_without_pairs():
    assert pairs([1.0], [2.0]) + pairs([3.0], [5.0]) == pairs([1.0, 3.0], [2.0, 5.0])
    assert CrossMoments().covariance == CrossMoments().variance_x == 0.0


def test_a_missing_number_is_refused():
    with pytest.raises(DataError, match="nan"):
        CrossMoments().plus(math.nan, 1.0)
