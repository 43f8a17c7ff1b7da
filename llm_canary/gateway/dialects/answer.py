"""Reads a finished answer: what it says, how it ended, what it cost in tokens.

Runs in the telemetry thread. Providers deviate, so every field may be missing or of another kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from llm_canary.gateway.sse import Tap

_DATA = b"data:"
_DONE = b"[DONE]"
_BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Choice:
    """One of the `n` answers."""

    text: list[str] = field(default_factory=list)
    tools: dict[int, dict[str, str]] = field(default_factory=dict)  # index -> name, arguments
    is_refusal: bool = False
    finish_reason: str | None = None

    def note_finish(self, reason: str) -> None:
        """Take the reason why this choice ended."""
        self.finish_reason = reason
        if reason in ("content_filter", "refusal"):
            self.is_refusal = True

    def note_tool(self, index: int, **parts: object) -> None:
        """Add to the name and the arguments of the tool call at `index`."""
        tool = self.tools.setdefault(index, {"name": "", "arguments": ""})
        for name, text in parts.items():
            if isinstance(text, str):
                tool[name] += text

    @property
    def content(self) -> str:
        """The text."""
        return "".join(self.text)

    @property
    def is_empty(self) -> bool:
        """Whether there is neither text nor tool call."""
        return not self.tools and not self.is_refusal and not self.content.strip()


@dataclass(slots=True)
class AnswerFacts:
    """What an answer showed."""

    response_id: str | None = None
    model: str | None = None
    usage: dict[str, Any] | None = None
    service_tier: str | None = None
    choices: dict[int, Choice] = field(default_factory=dict)
    has_text: bool = True  # False: the endpoint answers with something else than text
    is_whole: bool = True  # False: more was streamed than is kept

    @property
    def text(self) -> str:
        """The answer as one string: plain text, or JSON when there is more to it."""
        choices = [self.choices[index] for index in sorted(self.choices)]
        if len(choices) == 1 and not choices[0].tools:
            return choices[0].content
        shown = [
            {"content": choice.content, "tool_calls": list(choice.tools.values())}
            for choice in choices
        ]
        return orjson.dumps(shown).decode() if shown else ""

    def choice(self, index: object = 0) -> Choice:
        """Return the choice at `index`, which a provider may have left out."""
        return self.choices.setdefault(index if isinstance(index, int) else 0, Choice())

    def note_head(self, answer: dict[str, Any]) -> None:
        """Take the id, the model and the like, which stand at the top of an answer or a chunk."""
        response_id, model = answer.get("id"), answer.get("model")
        if self.response_id is None and isinstance(response_id, str) and response_id:
            self.response_id = response_id
        if self.model is None and isinstance(model, str) and model:
            self.model = model
        if isinstance(tier := answer.get("service_tier"), str):
            self.service_tier = tier
        self.note_usage(answer.get("usage"))

    def note_usage(self, usage: object) -> None:
        """Take counts; a later report of the same count wins."""
        if isinstance(usage, dict):
            self.usage = {**self.usage, **usage} if self.usage else usage


def facts_of_body(body: bytes, note: Callable[[AnswerFacts, dict[str, Any]], None]) -> AnswerFacts:
    """Return the facts of an answer that came whole: a JSON object, as the relay has checked."""
    facts = AnswerFacts()
    note(facts, orjson.loads(body))
    return facts


def facts_of_stream(tap: Tap, note: Callable[[AnswerFacts, bytes], None]) -> AnswerFacts:
    """Return the facts of a stream; of a very long one only what its two ends tell."""
    facts = AnswerFacts(is_whole=tap.tail is None)
    for reads in (tap.kept, tap.tail or ()):
        for payload in _payloads(b"".join(reads)):
            note(facts, payload)
    return facts


def _payloads(data: bytes) -> Iterable[bytes]:
    """Yield the data of each event; the lines of one event belong together."""
    waiting: list[bytes] = []
    for line in data.removeprefix(_BOM).splitlines():
        if line.startswith(_DATA):
            waiting.append(line[len(_DATA) :].strip())
        elif not line and waiting:
            yield from _payload(waiting)
            waiting.clear()
    yield from _payload(waiting)


def _payload(lines: list[bytes]) -> Iterable[bytes]:
    payload = lines[0] if len(lines) == 1 else b"\n".join(lines)
    if payload and payload != _DONE:
        yield payload


def loaded(payload: bytes) -> dict[str, Any]:
    """Return the JSON object of `payload`; empty when it is none: cut, or of another form."""
    try:
        value = orjson.loads(payload)
    except (orjson.JSONDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def dicts(values: object) -> Iterable[dict[str, Any]]:
    """Yield the objects of a list, nothing when it is none."""
    if isinstance(values, list):
        yield from (value for value in values if isinstance(value, dict))
