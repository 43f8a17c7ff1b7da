from hypothesis import given
from hypothesis import strategies as st

from llm_canary.pricing import Usage, cost_nanousd, uncached_cost_nanousd
from llm_canary.routing.table import Price

PRICE = Price(input=250.0, output=2000.0, cached_input=25.0)
FULL = Price(
    input=250.0,
    output=2000.0,
    cached_input=25.0,
    cache_write=312.5,
    reasoning=3000.0,
    tiers={"flex": Price(input=125.0, output=1000.0)},
)
counts = st.integers(0, 10_000_000)
usages = st.builds(
    Usage,
    prompt=counts,
    completion=counts,
    cached=counts | st.none(),
    cache_write=counts | st.none(),
    reasoning=counts | st.none(),
)


def test_cached_tokens_cost_their_own_price():
    cost = cost_nanousd(PRICE, Usage(prompt=100, completion=10, cached=40))

    assert cost == 60 * 250 + 40 * 25 + 10 * 2000


def test_without_a_cached_price_they_cost_as_much_as_the_others():
    price = Price(input=250.0, output=0.0)

    assert cost_nanousd(price, Usage(prompt=100, completion=0, cached=40)) == 25_000


def test_more_cached_than_prompt_tokens_cannot_make_it_negative():
    assert cost_nanousd(PRICE, Usage(prompt=10, completion=0, cached=100)) == 250


def test_writing_a_cache_and_reasoning_have_their_own_prices():
    usage = Usage(prompt=100, completion=50, cached=40, cache_write=20, reasoning=30)

    expected = 40 * 250 + 40 * 25 + 20 * 312.5 + 20 * 2000 + 30 * 3000
    assert cost_nanousd(FULL, usage) == expected


def test_the_tier_that_served_the_request_sets_the_price():
    usage = Usage(prompt=100, completion=10)

    assert cost_nanousd(FULL, usage, "flex") == 100 * 125 + 10 * 1000
    assert uncached_cost_nanousd(FULL, usage, "flex") == cost_nanousd(FULL, usage, "flex")


def test_a_tier_without_prices_costs_as_if_there_were_no_tiers():
    usage = Usage(prompt=100, completion=10)

    assert cost_nanousd(FULL, usage, "default") == cost_nanousd(FULL, usage)


@given(usages)
def test_the_uncached_cost_is_never_less_where_caching_is_a_discount(usage):
    charged = cost_nanousd(PRICE, usage)

    assert 0 <= charged <= uncached_cost_nanousd(PRICE, usage)
