"""The likeness of a unit's responses, against data whose likeness is known."""

from __future__ import annotations

import numpy as np
import pytest

from llm_canary.stats.clusters import intraclass_correlation


@pytest.mark.parametrize("between", [0.0, 0.1, 0.5])
def test_it_is_the_part_of_the_variance_that_lies_between_units(between):
    rng = np.random.default_rng(7)
    own = rng.normal(0.0, np.sqrt(between), 4_000)
    pairs = [
        (str(unit), float(value))
        for unit, centre in enumerate(own)
        for value in rng.normal(centre, np.sqrt(1.0 - between), rng.integers(1, 6))
    ]

    assert intraclass_correlation(pairs) == pytest.approx(between, abs=0.03)


def test_a_worked_example():
    # Groups (1, 2), (3, 4): between 4, within .5, two each: 3.5 / 4.5.
    pairs = [("a", 1.0), ("a", 2.0), ("b", 3.0), ("b", 4.0)]

    assert intraclass_correlation(pairs) == pytest.approx(3.5 / 4.5)


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("a", 1.0), ("a", 2.0)],
        [("a", 1.0), ("b", 2.0), ("c", 3.0)],
        [("a", 1.0), ("a", 1.0), ("b", 1.0)],
    ],
)
def test_what_tells_nothing_is_none(pairs):
    assert intraclass_correlation(pairs) is None
