import subprocess
import sys

from llm_canary.providers.price_list import lookup


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
