"""Averages of e-values, e-BH and restarts."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_canary.errors import DataError
from llm_canary.stats.global_test import average_log_e, e_bh, restart_log_e, restart_weights
from llm_canary.stats.mixture import log_e_three

LOGS = [math.log(each) for each in (30, 0.5, 1, 60)]


def test_the_published_average():
    assert math.exp(average_log_e(LOGS, (0.4, 0.3, 0.2, 0.1))) == pytest.approx(18.35)


def test_an_absent_metric_counts_as_one_and_its_weight_is_not_given_to_others():
    assert math.exp(average_log_e([math.log(30), None], (0.4, 0.6))) == pytest.approx(12.6)
    assert math.exp(average_log_e([math.log(30)], (0.4,))) == pytest.approx(12.6)
    assert average_log_e([], ()) == 0.0


def test_a_weight_of_zero_and_huge_evidence_do_not_overflow():
    assert average_log_e([5000.0, 900.0], (0.5, 0.0)) == pytest.approx(5000 + math.log(0.5))


@example([-17.0] * 6)  # six sixths are a little less than one
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20))
def test_the_average_lies_between_the_extremes_and_one(logs):
    weights = [1 / len(logs)] * len(logs)

    assert min(logs) - 1e-9 <= average_log_e(logs, weights) <= max(logs) + 1e-9


def test_e_bh_rejects_the_largest_that_support_each_other():
    logs = [math.log(each) for each in (25, 1, 21, 3, 60)]

    # total 5, q .25: thresholds 20, 10, 6.7, 5, 4 for the 1st, 2nd, ... largest
    assert e_bh(logs, q=0.25, total=5) == (0, 2, 4)
    assert e_bh(logs, q=0.25, total=100) == ()
    assert e_bh([None, math.log(100)], q=0.1, total=10) == (1,)


def test_a_later_rank_can_carry_the_earlier_ones():
    logs = [math.log(each) for each in (15, 15)]

    assert e_bh(logs, q=0.1, total=2) == (0, 1)


def test_a_process_restarted_when_the_harm_begins_sees_it_although_the_past_was_good():
    good_day, then_bad = (-30.0, 100.0), (10.0, 200.0)
    cumulative = log_e_three(*then_bad, 15.8)
    restarted = restart_log_e([(0.0, 0.0), good_day], *then_bad, 15.8)

    assert cumulative < math.log(20) < restarted


def test_restart_weights_leave_the_mass_of_restarts_to_come_at_one():
    assert restart_weights(3) == pytest.approx((1 / 2, 1 / 6, 1 / 12))
    assert restart_log_e([], 50.0, 10.0, 1.0) == 0.0
    assert restart_log_e([(0.0, 0.0)], -1e4, 10.0, 1.0) == pytest.approx(math.log(0.5), rel=1e-3)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: average_log_e([1.0], (0.5, 0.5)), "1 e-values and 2 weights"),
        (lambda: average_log_e([1.0, 1.0], (0.9, 0.9)), "1.8"),
        (lambda: average_log_e([1.0, 1.0], (-0.1, 0.9)), "0.8"),
        (lambda: average_log_e([math.nan], (1.0,)), "NaN"),
        (lambda: average_log_e([1.0], (math.nan,)), "nan"),
        (lambda: e_bh([1.0], q=0.0, total=1), "0.0"),
        (lambda: e_bh([1.0, 2.0], q=0.1, total=1), "2 e-values"),
        (lambda: e_bh([math.nan], q=0.1, total=1), "NaN"),
    ],
)
def test_impossible_arguments_are_refused(call, named):
    with pytest.raises(DataError, match=named):
        call()
