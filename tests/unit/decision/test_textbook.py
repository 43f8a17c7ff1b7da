"""The tests that people know, from sums, against scipy over the very values."""

import numpy as np
import pytest
from scipy import stats

from llm_canary.decision.textbook import textbook_tests
from llm_canary.metrics.builtin import BUILT_IN
from llm_canary.metrics.state import MetricState
from llm_canary.stats.histogram import bin_of
from llm_canary.stats.score import ScoreState


def score(control, canary):
    return ScoreState(
        n_control=len(control),
        n_canary=len(canary),
        sum_control=float(sum(control)),
        sum_canary=float(sum(canary)),
        sumsq_control=float(sum(v * v for v in control)),
        sumsq_canary=float(sum(v * v for v in canary)),
    )


def counted(control, canary):
    state = MetricState()
    for arm, values in enumerate((control, canary)):
        for value in values:
            if value == 0.0:
                state.zeros[arm] += 1
            else:
                state.bins[arm][bin_of(value)] = state.bins[arm].get(bin_of(value), 0) + 1
    return state


def test_a_rate_has_the_chi_squared_test_of_its_table():
    control, canary = [1] * 9 + [0] * 891, [1] * 4 + [0] * 96

    (found,) = textbook_tests(BUILT_IN["error_rate"], score(control, canary), MetricState())

    known = stats.chi2_contingency([[4, 96], [9, 891]], correction=False)
    assert found.name == "chi-squared"
    assert found.p_value == pytest.approx(known.pvalue)
    assert found.note == "not a stopping rule"


def test_an_amount_has_welchs_test_and_that_of_ranks():
    rng = np.random.default_rng(7)
    # In bins 2 % wide values lose little; the middles of the bins lose nothing.
    control = np.exp((rng.integers(100, 300, 400) + 0.5) * np.log(1.02))
    canary = np.exp((rng.integers(110, 310, 90) + 0.5) * np.log(1.02))

    welch, ranks = textbook_tests(
        BUILT_IN["latency_mean"],
        score(control.tolist(), canary.tolist()),
        counted(control.tolist(), canary.tolist()),
    )

    assert welch.p_value == pytest.approx(stats.ttest_ind(canary, control, equal_var=False).pvalue)
    known = stats.mannwhitneyu(canary, control, method="asymptotic")
    assert ranks.statistic == known.statistic
    assert ranks.p_value == pytest.approx(known.pvalue)


@pytest.mark.parametrize("name", ["error_rate", "latency_mean"])
def test_without_data_there_is_no_test_rather_than_a_p_value_of_one(name):
    assert textbook_tests(BUILT_IN[name], ScoreState(), MetricState()) == ()


def test_a_ratio_has_no_test_of_ranks():
    names = [
        each.name
        for each in textbook_tests(
            BUILT_IN["cost_per_resolved"],
            score([1.0, 2.0, 4.0], [2.0, 3.0, 9.0]),
            counted([1.0, 2.0, 4.0], [2.0, 3.0, 9.0]),
        )
    ]

    assert names == ["Welch t"]
