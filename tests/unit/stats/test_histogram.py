"""Histograms with fixed bins: quantiles within one percent, merging by addition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.errors import DataError
from llm_canary.stats.histogram import LogHistogram, packed_quantile, packed_quantiles

values = st.lists(st.one_of(st.just(0.0), st.floats(1e-8, 1e14)), max_size=50)


def histogram(items):
    made = LogHistogram()
    made.extend(items)
    return made


@pytest.mark.parametrize("q", [0.0, 0.5, 0.95, 0.99, 1.0])
def test_quantiles_are_within_one_percent_of_the_values(q):
    items = np.random.default_rng(7).lognormal(6.0, 0.8, 5000)

    assert histogram(items.tolist()).quantile(q) == pytest.approx(
        np.quantile(items, q, method="lower"), rel=0.0101
    )


def test_zeros_are_values_and_an_empty_histogram_has_no_quantile():
    assert LogHistogram().quantile(0.5) is None
    assert histogram([0.0, 0.0, 5.0]).quantile(0.5) == 0.0
    assert histogram([0.0, 0.0, 5.0]).quantile(1.0) == pytest.approx(5.0, rel=0.01)


@given(values, values)
def test_merging_equals_counting_together_in_any_order(first, second):
    together = histogram([*first, *second])
    merged = histogram(first)
    merged.merge(histogram(second))

    assert histogram(first) + histogram(second) == together == merged
    assert histogram(second) + histogram(first) == together
    assert together.count == len(first) + len(second)


def test_cells_hold_every_count_in_ascending_order():
    cells = histogram([3.0, 0.0, 3.0, 1.0]).cells()

    assert [count for _, count in cells] == [1, 1, 2]
    assert [middle for middle, _ in cells] == pytest.approx([0.0, 1.0, 3.0], rel=0.0101)


def test_extremes_are_counted_in_the_last_bins():
    extreme = histogram([1e-300, 1e300])

    assert extreme.count == 2
    assert len(extreme.bins) == 2


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_impossible_values_are_refused(bad):
    with pytest.raises(DataError, match=str(bad)):
        LogHistogram().add(bad)


def test_a_negative_count_and_an_impossible_quantile_are_refused():
    with pytest.raises(DataError, match="-2"):
        LogHistogram().add(1.0, -2)
    with pytest.raises(DataError, match=r"1\.2"):
        LogHistogram().quantile(1.2)


@given(values, values, st.floats(0, 1))
def test_the_stored_form_holds_everything_and_adds_up(first, second, q):
    one, other = histogram(first), histogram(second)

    assert LogHistogram.unpacked(one.packed()) == one
    assert LogHistogram.sum_of([one.packed(), other.packed()]) == one + other
    assert packed_quantile(one.packed(), q) == one.quantile(q)


@given(st.lists(values, max_size=5), st.lists(st.floats(0, 1), max_size=3))
def test_quantiles_of_many_are_those_of_each(drawn, qs):
    packed = [histogram(each).packed() for each in drawn]

    assert packed_quantiles(packed, qs) == [
        [packed_quantile(each, q) for each in packed] for q in qs
    ]
    assert LogHistogram.sum_of(packed) == sum(map(histogram, drawn), LogHistogram())
