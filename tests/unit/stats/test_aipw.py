"""Judge and people together: unbiased whatever the judge, precise when it is good."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llm_canary.errors import DataError
from llm_canary.stats.aipw import (
    Regression,
    fit,
    ppi_mean,
    pseudo_outcome,
    sampled_pseudo_outcome,
)
from llm_canary.stats.cuped import CrossMoments

HUMAN = [round(3 + ((k * 7919) % 31 - 15) / 10, 1) for k in range(40)]
JUDGE = [round(0.6 * h + 1.5 + ((k * 104729) % 17 - 8) / 12, 2) for k, h in enumerate(HUMAN)]
JUDGE_ONLY = [round(3.3 + ((k * 15485863) % 37 - 18) / 14, 2) for k in range(400)]


def labels(pairs):
    made = CrossMoments()
    for judge, human in pairs:
        made = made.plus(judge, human)
    return made


def test_ppi_equals_the_published_package():
    """ppi-python 0.2.3, ppi_mean_pointestimate and ppi_mean_ci (normal quantile)."""
    ours = ppi_mean(HUMAN, JUDGE, JUDGE_ONLY)
    student_over_normal = 2.024394164 / 1.959963985

    assert ours.mean == pytest.approx(3.022998505095706, abs=1e-3)
    assert (ours.upper - ours.lower) / student_over_normal == pytest.approx(
        3.1901079721189975 - 2.8558890380724145, rel=0.02
    )


def test_a_biased_judge_moves_nothing():
    shifted = ppi_mean(HUMAN, [f + 7 for f in JUDGE], [u + 7 for u in JUDGE_ONLY])
    plain = ppi_mean(HUMAN, JUDGE, JUDGE_ONLY)

    assert shifted.mean == pytest.approx(plain.mean)
    assert shifted.upper == pytest.approx(plain.upper)


def test_cross_fitting_weighs_the_judge_by_the_other_folds():
    crossed = ppi_mean(HUMAN, JUDGE, JUDGE_ONLY, folds=5)
    plain = ppi_mean(HUMAN, JUDGE, JUDGE_ONLY)

    assert crossed.mean == pytest.approx(plain.mean, abs=0.02)
    assert crossed.mean != plain.mean


def test_a_judge_that_says_one_thing_gets_no_weight():
    assert ppi_mean(HUMAN, [3.0] * 40, [3.0] * 400).weight == 0.0


def test_the_regression_is_least_squares_and_clipped():
    assert fit(labels(zip(JUDGE, HUMAN, strict=True)), centre=0.0).slope == pytest.approx(
        np.polyfit(JUDGE, HUMAN, 1)[0]
    )
    assert fit(labels([(1, 5), (5, 1)]), centre=0.0) == Regression(intercept=3.0, slope=0.0)
    assert fit(labels([(1, 1), (2, 5)]), centre=0.0).slope == 1.5
    assert fit(labels([(2, 4), (2, 5)]), centre=0.0) == Regression(intercept=4.5, slope=0.0)
    assert fit(CrossMoments(), centre=3.2) == Regression(intercept=3.2, slope=0.0)


@pytest.mark.parametrize("slope", [0.0, 0.8, 1.5])
def test_the_mean_over_the_draw_of_labels_is_the_human_score(slope):
    g, h, f, q = Regression(1.0, slope), 4.0, 2.5, 0.02
    asked = pseudo_outcome(g, judge=f, human=h, probability=q)
    not_asked = pseudo_outcome(g, judge=f, human=None, probability=q)

    assert q * asked + (1 - q) * not_asked == pytest.approx(h)


def test_the_mean_over_judging_and_asking_is_the_human_score():
    g, h, f, q_f, q_h = Regression(1.0, 0.7), 4.0, 2.5, 0.3, 0.02

    def value(judge, human):
        return sampled_pseudo_outcome(
            g, centre=3.0, judge=judge, judge_probability=q_f, human=human, human_probability=q_h
        )

    mean = (1 - q_f) * value(None, None) + (q_f - q_h) * value(f, None) + q_h * value(f, h)

    assert mean == pytest.approx(h)


def test_an_unrelated_judge_costs_at_most_five_percent_of_variance():
    """The yardstick is human labels alone, around their mean; the intercept does it."""
    rng = np.random.default_rng(11)
    human, judge, q = rng.normal(3.5, 1.0, 200_000), rng.normal(2.0, 1.0, 200_000), 0.02
    asked = rng.random(200_000) < q
    history = labels(zip(rng.normal(2.0, 1.0, 400), rng.normal(3.5, 1.0, 400), strict=True))
    g = fit(history, centre=0.0)
    ours = [
        pseudo_outcome(g, judge=f, human=h if xi else None, probability=q)
        for f, h, xi in zip(judge, human, asked, strict=True)
    ]
    human_only = 3.5 + asked / q * (human - 3.5)

    assert np.var(ours) <= 1.05 * np.var(human_only)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (
            lambda: pseudo_outcome(Regression(0, 1), judge=1.0, human=None, probability=0.004),
            "0.004",
        ),
        (
            lambda: pseudo_outcome(Regression(0, 1), judge=math.nan, human=None, probability=1),
            "nan",
        ),
        (lambda: pseudo_outcome(Regression(0, 1), judge=1.0, human=math.inf, probability=1), "inf"),
        (lambda: ppi_mean([1.0], [1.0], [1.0, 2.0]), "1 human"),
        (lambda: ppi_mean(HUMAN, JUDGE, JUDGE_ONLY, folds=41), "41 folds"),
        (lambda: ppi_mean([*HUMAN[1:], math.nan], JUDGE, JUDGE_ONLY), "NaN"),
        (
            lambda: sampled_pseudo_outcome(
                Regression(0, 1),
                centre=3.0,
                judge=None,
                judge_probability=0.5,
                human=4.0,
                human_probability=0.1,
            ),
            "4.0 without a judge",
        ),
    ],
)
def test_bad_scores_are_refused(call, named):
    with pytest.raises(DataError, match=named):
        call()
