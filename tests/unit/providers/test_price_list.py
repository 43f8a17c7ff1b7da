import subprocess
import sys

import pytest

from llm_canary.providers import price_list
from llm_canary.providers.price_list import lookup
from llm_canary.routing.table import Price


def test_a_known_model_has_prices_in_nano_dollars_per_token():
    price = lookup("gpt-4o-mini")

    assert price is not None
    assert (price.input, price.output, price.cached_input) == (150.0, 600.0, 75.0)


def test_an_unknown_model_has_no_price():
    assert lookup("no-such-model") is None


def test_a_model_without_token_prices_has_no_price():
    assert lookup("dall-e-3") is None


def test_the_list_is_read_without_importing_litellm():
    code = (
        "import sys; from llm_canary.providers.price_list import lookup; lookup('gpt-4o');"
        "print('litellm' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


@pytest.fixture
def listed(monkeypatch):
    """Look one model up in a list of its own."""

    def price(**entry):
        monkeypatch.setattr(price_list, "_entries", lambda: {"m": entry})
        return lookup("m")

    return price


STANDARD = {
    "input_cost_per_token": 1e-6,
    "output_cost_per_token": 8e-6,
    "cache_read_input_token_cost": 1e-7,
    "cache_creation_input_token_cost": 1.25e-6,
    "output_cost_per_reasoning_token": 9e-6,
}


def test_cache_writes_and_reasoning_have_their_own_prices(listed):
    assert listed(**STANDARD) == Price(
        input=1000.0, output=8000.0, cached_input=100.0, cache_write=1250.0, reasoning=9000.0
    )


@pytest.mark.parametrize(
    ("suffix", "tier"), [("batches", "batch"), ("flex", "flex"), ("priority", "priority")]
)
def test_a_tier_has_its_prices_under_the_name_that_answers_give_it(listed, suffix, tier):
    own = {f"{key}_{suffix}": value / 2 for key, value in STANDARD.items()}

    assert listed(**STANDARD, **own).tiers == {
        tier: Price(
            input=500.0, output=4000.0, cached_input=50.0, cache_write=625.0, reasoning=4500.0
        )
    }


def test_what_a_tier_leaves_out_costs_as_without_a_tier_but_reasoning_as_the_tiers_output(listed):
    own = {"input_cost_per_token_flex": 5e-7, "output_cost_per_token_flex": 4e-6}

    flex = listed(**STANDARD, **own).tiers["flex"]

    assert flex == Price(
        input=500.0, output=4000.0, cached_input=100.0, cache_write=1250.0, reasoning=None
    )


def test_a_tier_with_a_price_of_its_input_only_keeps_the_output(listed):
    priority = listed(**STANDARD, input_cost_per_token_priority=2e-6).tiers["priority"]

    assert (priority.input, priority.output, priority.reasoning) == (2000.0, 8000.0, 9000.0)


def test_a_tier_with_neither_input_nor_output_is_none(listed):
    assert listed(**STANDARD, cache_read_input_token_cost_flex=5e-8).tiers == {}


def test_a_cache_write_that_the_list_has_at_zero_costs_as_input(listed):
    assert listed(**STANDARD | {"cache_creation_input_token_cost": 0.0}).cache_write is None


def test_the_installed_list_has_tiers_and_cache_writes():
    mini, sonnet = lookup("gpt-5-mini"), lookup("claude-sonnet-4-5")

    assert mini.tiers["flex"].input < mini.input < mini.tiers["priority"].input
    assert mini.tiers["batch"].output < mini.output
    assert sonnet.cache_write > sonnet.input
