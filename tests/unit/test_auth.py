"""Keys: their form, and a hash that is HMAC-SHA256 to the letter."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.auth import KeyHasher, key_hash, key_text, shown_part


@given(st.binary(max_size=200), st.text(max_size=300))
def test_the_hash_of_a_key_is_the_standard_librarys(secret, key):
    text = key.encode(errors="surrogatepass")

    assert KeyHasher(secret).digest(key) == hmac.digest(secret, text, hashlib.sha256)
    assert key_hash(secret, key) == hmac.digest(secret, text, hashlib.sha256).hex()


@pytest.mark.parametrize("key", ["", "\ud800", "é" * 10_000])
def test_any_text_can_be_hashed(key):
    assert len(key_hash(b"s", key)) == 64


def test_of_a_key_eight_characters_are_shown():
    text = key_text("0123456789abcdef", "secret")

    assert text == "lc_01234567_secret"
    assert shown_part(text) == "lc_01234567"
