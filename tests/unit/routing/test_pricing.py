from hypothesis import given
from hypothesis import strategies as st

from llm_canary.pricing import cost_nanousd, uncached_cost_nanousd
from llm_canary.routing.table import Price

PRICE = Price(input=250.0, output=2000.0, cached_input=25.0)
counts = st.integers(0, 10_000_000)


def test_cached_tokens_cost_their_own_price():
    assert cost_nanousd(PRICE, 100, 10, 40) == 60 * 250 + 40 * 25 + 10 * 2000


def test_without_a_cached_price_they_cost_as_much_as_the_others():
    assert cost_nanousd(Price(input=250.0, output=0.0), 100, 0, 40) == 25_000


def test_more_cached_than_prompt_tokens_cannot_make_it_negative():
    assert cost_nanousd(PRICE, 10, 0, 100) == 250


@given(counts, counts, counts)
def test_the_uncached_cost_is_never_less(prompt, completion, cached):
    charged = cost_nanousd(PRICE, prompt, completion, cached)

    assert 0 <= charged <= uncached_cost_nanousd(PRICE, prompt, completion)
