import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.gateway.usage import usage_of
from llm_canary.pricing import Usage

COUNTS = st.integers(0, 10_000)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
NAMES = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "input_tokens_details",
        "output_tokens_details",
    ]
)


def test_chat():
    reported = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }

    assert usage_of(reported) == Usage(prompt=100, completion=50, cached=64, reasoning=30)


def test_responses():
    reported = {
        "input_tokens": 100,
        "output_tokens": 50,
        "input_tokens_details": {"cached_tokens": 64},
        "output_tokens_details": {"reasoning_tokens": 30},
    }

    assert usage_of(reported) == Usage(prompt=100, completion=50, cached=64, reasoning=30)


def test_anthropic_counts_what_was_cached_beside_the_input():
    reported = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": 1_000,
        "cache_creation_input_tokens": 200,
    }

    assert usage_of(reported) == Usage(prompt=1_210, completion=5, cached=1_000, cache_write=200)


def test_anthropic_without_a_write():
    reported = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 0}

    assert usage_of(reported) == Usage(prompt=10, completion=5, cached=0)


@pytest.mark.parametrize(
    "reported",
    [
        None,
        {},
        {"prompt_tokens": 3},
        {"completion_tokens": 3},
        {"prompt_tokens": 3, "completion_tokens": None},
        {"prompt_tokens": 3, "completion_tokens": -1},
        {"prompt_tokens": 3, "completion_tokens": 1.0},
        {"prompt_tokens": 3, "completion_tokens": True},
        {"prompt_tokens": 3, "completion_tokens": "4"},
        {"prompt_tokens": 3, "completion_tokens": 2**53},
        {"prompt_tokens": 3, "output_tokens": 4},  # half of each
        {"total_tokens": 9},
    ],
)
def test_what_is_not_whole_is_missing_and_never_zero(reported):
    assert usage_of(reported) is None


def test_zero_that_is_reported_is_zero():
    assert usage_of({"prompt_tokens": 0, "completion_tokens": 0}) == Usage(prompt=0, completion=0)


@pytest.mark.parametrize(
    "details", [None, [], "x", 7, {"cached_tokens": -1}, {"cached_tokens": "1"}]
)
def test_details_that_are_none_leave_the_counts(details):
    reported = {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": details}

    assert usage_of(reported) == Usage(prompt=3, completion=4)


@given(st.dictionaries(NAMES, COUNTS | JSON, max_size=8))
def test_whatever_a_provider_reports_is_counts_or_nothing(reported):
    usage = usage_of(reported)

    if usage is not None:
        for count in (usage.prompt, usage.completion):
            assert type(count) is int and count >= 0
        for count in (usage.cached, usage.cache_write, usage.reasoning):
            assert count is None or (type(count) is int and count >= 0)
