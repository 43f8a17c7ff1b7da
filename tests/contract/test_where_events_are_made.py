"""What is made on the event loop, and what is left to the telemetry thread."""

import threading

import pytest
from raw_client import chat
from test_stored_answers import provide

from llm_canary.privacy.redact import Redactor
from llm_canary.routing.table import ContentStore, Redaction

HELLO = "How do I change my password?"


@pytest.fixture(autouse=True)
def answers(upstream):
    upstream.script = provide


@pytest.fixture
def told(gateway):
    """Return what telemetry is handed: events, and functions that make events."""
    handed, arrived = [], threading.Event()

    def put(event):
        handed.append(event)
        arrived.set()
        return True

    gateway.writer.put = put

    def ask(text=HELLO, **fields):
        arrived.clear()
        messages = [{"role": "user", "content": text}]
        assert chat(gateway, messages=messages, **fields).status == 200
        assert arrived.wait(5.0)
        return handed[-1]

    return ask


@pytest.mark.parametrize("store", list(ContentStore))
def test_a_short_exchange_with_nothing_private_is_recorded_at_once(gateway, told, store):
    segments = {"language": "detect", "length": "first_message"}
    gateway.change(route={"content": store, "segments": segments})

    event = told()

    assert not callable(event)
    assert event.segments == {"language": "en", "length": "short"}
    assert (event.request_text is not None) is (store in {ContentStore.REDACTED, ContentStore.FULL})


def test_what_may_be_private_is_redacted_by_the_telemetry_thread(gateway, told, monkeypatch):
    gateway.change(route={"content": ContentStore.REDACTED})
    calls = []
    redact = Redactor.redact
    monkeypatch.setattr(Redactor, "redact", lambda *given: calls.append(1) or redact(*given))

    made = told("Write to jo@x.example")

    assert callable(made)
    assert not calls
    assert "[EMAIL_" in made().request_text
    assert calls


@pytest.mark.parametrize(
    ("text", "fields", "route"),
    [
        pytest.param("word " * 10_000, {}, {}, id="a-long-text"),
        pytest.param("[" + "1," * 5_000 + "1]", {}, {}, id="many-values"),
        pytest.param(HELLO, {"response_format": {"type": "json_object"}}, {}, id="asks-for-json"),
        pytest.param(
            HELLO, {}, {"redact": Redaction(patterns={"order": "ORD-[0-9]+"})}, id="own-patterns"
        ),
    ],
)
def test_what_may_take_long_is_left_to_the_telemetry_thread(gateway, told, text, fields, route):
    gateway.change(route={"content": ContentStore.REDACTED, **route})

    assert callable(told(text, **fields))
