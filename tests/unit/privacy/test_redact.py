"""What is private is replaced, and nothing else is."""

import string
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_canary.privacy.kinds import Kind
from llm_canary.privacy.redact import Redactor

REDACTOR = Redactor(b"a secret")
redact = REDACTOR.redact
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKC\nabc=\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN"


def label(text):
    """Return the placeholder's label of a text that is one private thing."""
    redacted = redact(text)
    assert redacted.startswith("[") and redacted.endswith("]"), redacted
    return redacted[1:].rpartition("_")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jane.doe+x@mail.example.org", "EMAIL"),
        ("jürgen@müller.example", "EMAIL"),
        ("a@xn--mller-kva.example", "EMAIL"),
        ("4242 4242 4242 4242", "CARD"),
        ("4242-4242-4242-4242", "CARD"),
        ("378282246310005", "CARD"),
        ("3782 822463 10005", "CARD"),
        ("5555555555554444", "CARD"),
        ("٤٢٤٢ ٤٢٤٢ ٤٢٤٢ ٤٢٤٢", "CARD"),
        ("AT61 1904 3002 3457 3201", "IBAN"),
        ("DE89370400440532013000", "IBAN"),
        ("gb82 west 1234 5698 7654 32", "IBAN"),
        ("NO93 8601 1117 947", "IBAN"),
        ("+43 660 123 45 67", "PHONE"),
        ("+1 (415) 555-0123", "PHONE"),
        ("(+49) 30 123456", "PHONE"),
        ("0043 660 1234567", "PHONE"),
        ("(030) 1234-5678", "PHONE"),
        ("0664 1234567", "PHONE"),
        ("01711234567", "PHONE"),
        ("01.02.34.56.78", "PHONE"),
        ("(212) 555-0123", "PHONE"),
        ("212-555-0123", "PHONE"),
        ("98765 43210", "PHONE"),
        ("138 0013 8000", "PHONE"),
        ("192.168.1.20", "IP"),
        ("2001:db8::8a2e:370:7334", "IP"),
        ("fe80:0:0:0:204:61ff:fe9d:f156", "IP"),
        ("sk-proj-abcdefghij0123456789", "KEY"),
        ("sk_live_abcdefghij0123456789", "KEY"),
        ("ghp_abcdefghij0123456789abcd", "KEY"),
        ("github_pat_11ABCDEFG0abcdefghijkl_mnop", "KEY"),
        ("glpat-abcdefghij0123456789", "KEY"),
        ("xoxb-1234567890-abcdefghij", "KEY"),
        ("AKIAIOSFODNN7EXAMPLE", "KEY"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstu", "KEY"),
        ("lc_abcdEFGH_abcdefghij0123456789", "KEY"),
        (JWT, "KEY"),
        (PEM, "KEY"),
        (PEM.partition("-----END")[0].rstrip(), "KEY"),
        ("078-05-1120", "NATIONAL_ID"),
        ("529.982.247-25", "NATIONAL_ID"),
        ("52998224725", "NATIONAL_ID"),
        ("86 095 742 719", "NATIONAL_ID"),
        ("47036892816", "NATIONAL_ID"),
        ("2 55 08 14 168 025 38", "NATIONAL_ID"),
        ("255081416802538", "NATIONAL_ID"),
        ("12345678Z", "NATIONAL_ID"),
        ("12345678-Z", "NATIONAL_ID"),
        ("X1234567L", "NATIONAL_ID"),
        ("RSSMRA85T10A562S", "NATIONAL_ID"),
    ],
)
def test_a_private_thing_is_replaced(text, expected):
    assert label(text) == expected


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Authorization: Bearer abcdefghijklmnopqrst", "Authorization: Bearer [KEY_"),
        ('{"authorization": "Basic dXNlcjpwYXNz"}', '{"authorization": "Basic [KEY_'),
        ("bearer abcdefghijklmnopqrst", "bearer [KEY_"),
        ("postgres://bob:hunter2@db.example/x", "postgres://[KEY_"),
        ("Tel. 5551234 now", "Tel. [PHONE_"),
        ("my phone is 5551234", "my phone is [PHONE_"),
        ("two: 0664 1234567 0664 7654321", "two: [PHONE_"),
    ],
)
def test_what_introduces_it_stays(text, kept):
    redacted = redact(text)

    assert redacted.startswith(kept)
    assert not any(part in redacted for part in ("abcdefghij", "hunter2", "dXNl", "555", "765"))


@pytest.mark.parametrize(
    "text",
    [
        "order 4242 4242 4242 4241 of 2026-11-23",
        "it costs 1,234.56 or 12 % of 3.5 million, 100 000 000 in all",
        "unix time 1795435200, port 8484, 2026-11-28 01:02:03.123456",
        "from 01-02-2026 10 to 28.11.2026 12",
        "task sk-1, user@host, risk-averse-people-are-many, std::vector, 12:34:56, a::b",
        "uuid 0192f0c1-7b3a-7c2e-8d4f-5a6b7c8d9e0f, 0.4242424242424242, 3.14159265358979",
        "v1.2.3.4, 127.0.0.1, 0.0.0.0, 1.2.3, 1.2.3.4.5, 256.1.1.1",
        "DE00 3704 1044 1532 1130 10 is no account, nor is AB12 3456",
        "5 10 15 20 25 30 35 40 and 1990-2000",
        "https://example.org/a?b=1#c and @decorator, x @ y",
        "000-12-3456 and 12345678A are none",
        "-----BEGIN CERTIFICATE-----",
    ],
)
def test_ordinary_text_stays(text):
    assert redact(text) == text


def test_the_same_thing_has_the_same_placeholder_however_it_is_written():
    for one, other in (
        ("Jo@X.example", "jo@x.example"),
        ("4242 4242 4242 4242", "4242424242424242"),
        ("AT611904300234573201", "at61 1904 3002 3457 3201"),
        ("+43 660 1234567", "0043/660/1234567"),
        ("2001:db8::1:2:3", "2001:0db8:0:0:0:1:2:3"),
    ):
        assert redact(one) == redact(other)
    assert redact("jo@x.example") != redact("jo@y.example")


def test_another_installation_has_other_placeholders():
    assert Redactor(b"another").redact("jo@x.example") != redact("jo@x.example")


def test_only_the_kinds_that_are_asked_for_are_replaced():
    text = "jo@x.example 4242 4242 4242 4242"

    assert "[EMAIL_" in Redactor(b"k", [Kind.EMAIL]).redact(text)
    assert "4242 4242" in Redactor(b"k", [Kind.EMAIL]).redact(text)
    assert Redactor(b"k", []).redact(text) == text


def test_patterns_of_the_file_go_first_and_may_match_anything():
    mine = Redactor(b"k", patterns={"order_no": r"ORD-\d{6}", "word": "[A-Za-z]+"})

    once = mine.redact("ORD-123456 of jo@x.example \ud800")

    assert once.startswith("[ORDER_NO_")
    assert once == mine.redact(once)


PRIVATE = st.sampled_from(
    [
        *("jane.doe@mail.example.org", "4242 4242 4242 4242", "378282246310005", JWT, PEM),
        *("AT61 1904 3002 3457 3201", "+43 660 1234567", "0664 1234567", "192.168.7.20"),
        *("2001:db8::8a2e:370:7334", "sk-proj-abcdefghij0123456789", "AKIAIOSFODNN7EXAMPLE"),
        *("078-05-1120", "12345678Z", "RSSMRA85T10A562S", "ghp_abcdefghij0123456789abcd"),
    ]
)
WORDS = st.text(alphabet=string.ascii_letters + " ,;!?\n'\"äß中", max_size=40)
SIGNS = st.text(alphabet="0123456789 .-/()+@:_[]abcAXZsk-eyJghp_EMAIL\n", max_size=60)
AROUND = st.sampled_from([" ", "\n", ", ", " (", ") ", '"', "'", "; ", "\t", "<", ">", "|"])


@given(st.lists(st.tuples(WORDS, AROUND, PRIVATE, AROUND), max_size=6))
@settings(max_examples=300)
def test_nothing_private_survives_among_words(parts):
    text = "".join("".join(part) for part in parts)

    redacted = redact(text)

    for *_, private, _ in parts:
        assert private not in redacted


@given(st.one_of(SIGNS, st.text(max_size=80), st.lists(st.one_of(SIGNS, PRIVATE)).map("".join)))
@settings(max_examples=1500)
@example("a@b.co1234567890123")
@example("[EMAIL_12ab]@x.example 1[PHONE_1234]2")
def test_redacting_twice_changes_nothing(text):
    once = redact(text)

    assert redact(once) == once


def joined(texts):
    return "\0".join(texts).encode(errors="surrogatepass")


@given(st.lists(st.one_of(WORDS, SIGNS, PRIVATE, st.text(max_size=40)), max_size=5))
@settings(max_examples=1500)
def test_one_look_at_all_texts_overlooks_nothing_that_a_look_at_each_finds(texts):
    if REDACTOR.leaves(joined(texts)):
        assert [redact(text) for text in texts] == texts


def test_one_look_at_ordinary_texts_shows_that_they_stay():
    # The numbers of two texts are not one.
    texts = ["user", "How do I change it?", "Order 123", "456, by 12:30", "\ud800"]
    assert REDACTOR.leaves(joined(texts))


def test_patterns_of_the_file_take_a_look_at_each_text():
    assert not Redactor(b"k", patterns={"order": "ORD-[0-9]+"}).leaves(b"Hi")


@given(WORDS)
@settings(max_examples=300)
def test_text_without_anything_private_is_unchanged(text):
    assert redact(text) == text


@pytest.mark.parametrize(
    "part",
    [
        *("1 ", "4242 ", "1.", "01 ", "a", "a@", "a.", "+(1)", ":a", "://a", "eyJ-", "sk-", "lc_"),
        *("-----BEGIN PRIVATE KEY-----", "uthorization:", "jane@x.example ", "+43 660 1234567, "),
        *("4242 4242 4242 4242, ", "SG.", "xoxb-", "AB12", "[EMAIL_12ab]"),
    ],
)
def test_hostile_text_takes_time_by_its_length_only(part):
    """512 KB must take about 32 times what 16 KB take; the square would take 1,024 times."""

    def seconds(size):
        """The least of three: the others may hold a collection of the whole suite's garbage."""
        text, took = part * (size // len(part)), []
        for _ in range(3):
            began = time.thread_time()
            redact(text)
            took.append(time.thread_time() - began)
        return min(took)

    assert seconds(524_288) < 32 * max(seconds(16_384), 0.001) * 5  # large texts fit no cache


def test_a_pattern_that_backtracks_elsewhere_takes_linear_time():
    bomb = Redactor(b"k", patterns={"bomb": "(a+)+$", "other": "(x|xx)*y"})

    began = time.process_time()
    bomb.redact("a" * 1_000_000 + "b" + "x" * 1_000_000)

    assert time.process_time() - began < 2
