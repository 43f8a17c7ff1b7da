"""Agreement coefficients equal stored values of published packages."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llm_canary.errors import DataError
from llm_canary.stats.agreement import cohen_kappa, confusion, gwet_ac1, krippendorff_alpha

FIRST = [(k * 7) % 5 + 1 for k in range(30)]
SECOND = [min(5, max(1, each + [0, 0, 1, -1, 0, 2][k % 6])) for k, each in enumerate(FIRST)]
SECOND_WITH_GAPS = [each if k % 4 else None for k, each in enumerate(SECOND)]
THIRD_WITH_GAPS = [
    min(5, each + 1) if k % 3 == 0 else (None if k % 5 == 0 else each)
    for k, each in enumerate(FIRST)
]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("none", 0.5), ("linear", 0.6913580246913581), ("quadratic", 0.8292682926829268)],
)
def test_kappa_equals_scikit_learn(weights, expected):
    """scikit-learn 1.9.1, cohen_kappa_score."""
    assert cohen_kappa(confusion(FIRST, SECOND), weights=weights) == pytest.approx(expected)


def test_ac1_equals_irr_cac():
    """irrCAC 0.4.4, CAC(...).gwet()."""
    assert gwet_ac1(confusion(FIRST, SECOND)) == pytest.approx(0.500260281104, abs=1e-9)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("nominal", 0.4629550321199143),
        ("ordinal", 0.7942338780178109),
        ("interval", 0.7927649518269405),
    ],
)
def test_alpha_of_three_raters_with_gaps_equals_krippendorff(level, expected):
    """krippendorff 0.9.0, alpha."""
    ratings = list(zip(FIRST, SECOND_WITH_GAPS, THIRD_WITH_GAPS, strict=True))

    assert krippendorff_alpha(ratings, level=level) == pytest.approx(expected)


def test_perfect_agreement_is_one():
    table = confusion(FIRST, FIRST)

    assert cohen_kappa(table) == gwet_ac1(table) == 1.0
    assert krippendorff_alpha(list(zip(FIRST, FIRST, strict=True))) == 1.0


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(cohen_kappa(np.zeros((2, 2))), id="kappa-without-data"),
        pytest.param(cohen_kappa(np.array([[9.0, 0], [0, 0]])), id="kappa-without-variation"),
        pytest.param(gwet_ac1(np.array([[9.0]])), id="ac1-of-one-category"),
        pytest.param(krippendorff_alpha([[1.0, None], [None, 2.0]]), id="alpha-without-pairs"),
        pytest.param(krippendorff_alpha([[3, 3], [3, 3]]), id="alpha-without-variation"),
    ],
)
def test_what_is_not_defined_is_none(value):
    assert value is None


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: confusion([1], [1, 2]), "1 and 2 ratings"),
        (lambda: cohen_kappa(np.zeros((2, 3))), r"\(2, 3\)"),
        (lambda: gwet_ac1(np.array([[1.0, -1.0], [0, 3.0]])), "counts from 0"),
        (lambda: krippendorff_alpha([[1.0, math.nan], [2.0, 1.0]]), "NaN"),
    ],
)
def test_bad_ratings_are_refused(call, named):
    with pytest.raises(DataError, match=named):
        call()
