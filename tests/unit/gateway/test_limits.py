"""Token buckets and meters, with the clock as an argument."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.errors import BudgetSpent, RateLimited
from llm_canary.gateway.limits import Bucket, Meters, Moment, duration, hold
from llm_canary.routing.limits import Limits, Spending

DAY_S = 86_400
NOON_S = 20_000 * DAY_S + DAY_S / 2


def meter(*, parts=1, **limits):
    return Meters(parts=parts).of_key("app", Limits(**limits), 0.0)


def at(now_s, at_s=NOON_S):
    return Moment(now_s, at_s)


def refusal(one, tokens=0.0, moment=None):
    with pytest.raises(RateLimited) as refused:
        hold((one,), tokens, moment or at(0.0))
    return refused.value


def test_a_minutes_worth_passes_at_once_and_the_next_waits_until_it_is_refilled():
    one = meter(requests_per_minute=30)
    for _ in range(30):
        hold((one,), 0.0, at(0.0)).end()

    refused = refusal(one)

    assert refused.retry_after_s == pytest.approx(2.0)
    assert (b"retry-after", b"2") in refused.headers
    hold((one,), 0.0, at(2.0))


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e9, 1e9)), min_size=1, max_size=40))
def test_whatever_the_clock_and_the_counts_do_a_bucket_opens_again(steps):
    bucket, now_s = Bucket(60.0, 0.0), 0.0
    for step_s, amount in steps:
        now_s += step_s
        bucket.take(amount, now_s)
        assert -bucket.capacity <= bucket.level(now_s) <= bucket.capacity
    assert bucket.wait_s(1.0, now_s + 61.0) == 0.0


@pytest.mark.parametrize("limit", [1, 7, 60, 90_000, 10_000_000_000])
@pytest.mark.parametrize("now_s", [0.0, 123_456.789])
def test_what_remains_is_told_to_the_unit(limit, now_s):
    bucket = Bucket(limit, now_s, "tokens")
    assert dict(bucket.headers(now_s))[b"x-ratelimit-remaining-tokens"] == b"%d" % limit

    bucket.take(1.0, now_s)

    assert dict(bucket.headers(now_s))[b"x-ratelimit-remaining-tokens"] == b"%d" % (limit - 1)


def test_what_was_reserved_is_settled_by_what_was_used():
    one = meter(tokens_per_minute=1000)
    first = hold((one,), 900.0, at(0.0))
    assert refusal(one, 200.0).retry_after_s == pytest.approx(6.0)

    first.settle(100, None, NOON_S)

    hold((one,), 900.0, at(0.0))


def test_a_request_larger_than_the_limit_waits_for_a_full_bucket_only():
    one = meter(tokens_per_minute=1000)
    hold((one,), 5000.0, at(0.0))

    assert refusal(one, 5000.0).retry_after_s == pytest.approx(120.0)


def test_a_route_that_refuses_takes_nothing_of_the_key():
    meters = Meters()
    key = meters.of_key("app", Limits(requests_per_minute=1), 0.0)
    route = meters.of_route("bot", Limits(concurrent_streams=1), 0.0)
    first = hold((route,), 0.0, at(0.0))
    with pytest.raises(RateLimited, match="under way"):
        hold((key, route), 0.0, at(0.0))
    first.end()

    hold((key, route), 0.0, at(0.0))

    assert meters.refused() == {"keys": {"app": 0}, "routes": {"bot": 1}}


def test_a_spent_budget_says_when_the_day_ends_and_that_trying_again_is_vain():
    meters = Meters()
    one = meters.of_key("app", Limits(budget_nanousd_per_day=100), 0.0)
    meters.publish(Spending(20_000, {"app": 100}, {}, NOON_S), 0.0)

    refused = refusal(one)

    assert isinstance(refused, BudgetSpent)
    assert refused.retry_after_s == DAY_S / 2
    assert (b"x-should-retry", b"false") in refused.headers
    hold((one,), 0.0, at(0.0, NOON_S + DAY_S))


def test_own_spending_counts_until_the_published_sum_holds_it_and_never_twice_for_long():
    meters = Meters()
    one = meters.of_key("app", Limits(budget_nanousd_per_day=100), 0.0)
    hold((one,), 0.0, at(0.0)).settle(1, 100, NOON_S)
    assert refusal(one).retry_after_s == 1.0

    meters.publish(Spending(20_000, {"app": 0}, {}, NOON_S - 1.0), 0.0)
    assert isinstance(refusal(one), BudgetSpent)

    meters.publish(Spending(20_000, {"app": 99}, {}, NOON_S + 1.0), 0.0)
    hold((one,), 0.0, at(0.0))


def test_a_new_table_keeps_the_state_of_a_limit_that_stays():
    meters = Meters()
    limits = Limits(requests_per_minute=1, tokens_per_minute=10)
    hold((meters.of_key("app", limits, 0.0),), 10.0, at(0.0))

    same = meters.of_key("app", Limits(requests_per_minute=1, tokens_per_minute=20), 0.0)

    assert "requests per minute" in refusal(same, 1.0).message


def test_processes_share_a_limit():
    one = meter(parts=4, requests_per_minute=8)
    hold((one,), 0.0, at(0.0))
    hold((one,), 0.0, at(0.0))

    assert refusal(one).retry_after_s == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, b"0ms"), (0.12, b"120ms"), (1.5, b"1.5s"), (360.0, b"6m0s")]
)
def test_times_are_written_as_openai_writes_them(seconds, text):
    assert duration(seconds) == text
