import pytest

from llm_canary.gateway.content import MAX_KEPT_CHARS, keep, redact
from llm_canary.routing.table import ContentStore


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("write to jane.doe+x@mail.example.org now", "write to [email] now"),
        ("key sk-proj-abcdefghij0123456789", "key [key]"),
        ("ghp_abcdefghij0123456789abcd", "[key]"),
        ("AKIAIOSFODNN7EXAMPLE", "[key]"),
        ("card 4242 4242 4242 4242.", "card [card]."),
        ("call +43 660 123 45 67 today", "call [phone] today"),
        ("call (030) 1234-5678", "call [phone]"),
        ("0664 1234567", "[phone]"),
        ("IBAN AT61 1904 3002 3457 3201", "IBAN [account]"),
    ],
)
def test_what_looks_private_is_replaced(text, redacted):
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "order 4242 4242 4242 4241 of 2026-11-23",
        "it costs 1,234.56 or 12 % of 3.5 million",
        "unix time 1795435200, port 8484",
        "task sk-1, user@host",
        "uuid 0192f0c1-7b3a-7c2e-8d4f-5a6b7c8d9e0f",
    ],
)
def test_ordinary_text_stays(text):
    assert redact(text) == text


@pytest.mark.timeout(5)
def test_hostile_text_does_not_take_for_ever():
    for text in ("1 " * 50_000, "a" * 100_000, "a@" * 50_000, "a." * 50_000, "+(1)" * 30_000):
        redact(text)


def test_a_hash_tells_answers_apart_and_holds_no_text():
    one = keep(ContentStore.HASH, b"[1]", "a", b"k")

    assert one != keep(ContentStore.HASH, b"[1]", "b", b"k")
    assert one.request_text is None and one.response_text is None


def test_kept_texts_are_bounded():
    kept = keep(ContentStore.FULL, b"x" * 3_000_000, "y" * 3_000_000, b"k")

    assert len(kept.request_text) == len(kept.response_text) == MAX_KEPT_CHARS


def test_nothing_is_kept_of_nothing():
    assert keep(ContentStore.NONE, b"[1]", "a", b"k") == (None, None, None)
