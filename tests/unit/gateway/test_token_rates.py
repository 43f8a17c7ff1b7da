import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.gateway import token_rates
from llm_canary.gateway.token_rates import TokenRates
from llm_canary.pricing import Usage


def test_before_anything_is_known_four_characters_are_a_token():
    assert TokenRates().estimate("up", "m", 400, 40) == (100, 10)


def test_nothing_has_no_tokens_and_something_has_at_least_one():
    assert TokenRates().estimate("up", "m", 0, 1) == (0, 1)


def test_the_rate_of_a_model_is_learned_and_is_its_own():
    rates = TokenRates()
    for _ in range(100):
        rates.note("up", "m", 1_000, 500, Usage(prompt=500, completion=50))

    prompt, completion = rates.estimate("up", "m", 10_000, 10_000)

    assert prompt == pytest.approx(5_000, rel=0.01)
    assert completion == pytest.approx(1_000, rel=0.03)
    assert rates.estimate("up", "other", 400, 400) == (100, 100)
    assert rates.estimate("else", "m", 400, 400) == (100, 100)


def test_tokens_of_reasoning_are_not_in_the_text():
    plain, thinking = TokenRates(), TokenRates()
    plain.note("up", "m", 100, 4_000, Usage(prompt=25, completion=1_000))
    thinking.note("up", "m", 100, 4_000, Usage(prompt=25, completion=9_000, reasoning=8_000))

    assert plain.estimate("up", "m", 0, 100) == thinking.estimate("up", "m", 0, 100)


def test_an_answer_or_prompt_without_text_teaches_nothing_of_it():
    rates = TokenRates()

    rates.note("up", "m", 0, 0, Usage(prompt=5_000, completion=5_000))  # images, tools

    assert rates.estimate("up", "m", 400, 400) == (100, 100)


@given(st.lists(st.integers(200, 4_000), min_size=100, max_size=150), st.integers(0, 3))
def test_the_sum_of_estimates_is_right_where_texts_are_alike(chars, seed):
    """Half of the answers are learned from, the other half estimated: a ratio of sums has no bias."""
    rates, true_rate = TokenRates(), [0.18, 0.25, 0.4, 0.9][seed]
    half = len(chars) // 2
    for count in chars[:half]:
        usage = Usage(prompt=round(count * true_rate), completion=round(count * true_rate))
        rates.note("up", "m", count, count, usage)

    estimated = sum(rates.estimate("up", "m", count, count)[1] for count in chars[half:])

    assert estimated == pytest.approx(sum(chars[half:]) * true_rate, rel=0.05)


def test_after_enough_answers_it_wants_no_more():
    rates = TokenRates()
    for _ in range(200):
        assert rates.wants("up", "m")
        rates.note("up", "m", 4, 4, Usage(prompt=1, completion=1))

    assert not rates.wants("up", "m")


def test_models_that_clients_make_up_cannot_fill_the_memory(monkeypatch):
    monkeypatch.setattr(token_rates, "_MAX_MODELS", 10)
    rates = TokenRates()
    for number in range(10):
        rates.note("up", f"m-{number}", 4, 4, Usage(prompt=1, completion=1))

    assert not rates.wants("up", "another")
    assert rates.wants("up", "m-3")
