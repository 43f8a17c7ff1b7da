"""Calibration of probabilities."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from llm_canary.errors import DataError
from llm_canary.stats.probability import (
    brier,
    calibration_error,
    coverage_accuracy,
    reliability,
    temperature,
)

RNG = np.random.default_rng(1)
TRUE = RNG.random(20_000)
OUTCOMES = (RNG.random(20_000) < TRUE) * 1.0


def test_honest_probabilities_are_calibrated():
    assert calibration_error(TRUE, OUTCOMES) < 0.02
    assert temperature(TRUE, OUTCOMES) == pytest.approx(1.0, abs=0.05)
    assert brier(TRUE, OUTCOMES) == pytest.approx(1 / 6, abs=0.005)


def test_a_judge_that_is_too_sure_has_a_high_temperature():
    logits = 3.0 * np.log(TRUE / (1 - TRUE))
    sure = 1 / (1 + np.exp(-logits))

    assert calibration_error(sure, OUTCOMES) > 0.1
    assert temperature(sure, OUTCOMES) == pytest.approx(3.0, rel=0.05)


def test_the_curve_counts_every_item_once():
    assert sum(each.n for each in reliability(TRUE, OUTCOMES)) == len(TRUE)


def test_a_higher_threshold_keeps_fewer_and_is_right_more_often():
    curve = coverage_accuracy(np.abs(2 * TRUE - 1), (TRUE > 0.5) == OUTCOMES)

    assert curve[0].kept == 1.0
    assert all(a.kept >= b.kept for a, b in pairwise(curve))
    assert curve[-2].accuracy > curve[0].accuracy + 0.1


@pytest.mark.parametrize(
    ("p", "y"), [([], []), ([0.5], [1, 0]), ([1.5], [1]), ([float("nan")], [1])]
)
def test_what_is_no_probability_is_refused(p, y):
    with pytest.raises(DataError):
        brier(p, y)
