"""Reads a finished answer: what it says, how it ended, what it cost in tokens.

Runs in the telemetry thread. Providers deviate, so every field may be missing or of another kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

from llm_canary.gateway.sse import Tap

_DATA = b"data:"
_DONE = b"[DONE]"


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
        if reason == "content_filter":
            self.is_refusal = True

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
    choices: dict[int, Choice] = field(default_factory=dict)
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

    def tokens(self, *path: str) -> int | None:
        """Return a token count of `usage`, None when the provider did not report it."""
        value: object = self.usage
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _StreamChoice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    choices: list[_StreamChoice] | None = None
    usage: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def facts_of_body(body: bytes) -> AnswerFacts:
    """Return the facts of an answer that came whole: a JSON object, as the relay has checked."""
    facts = AnswerFacts()
    answer: dict[str, Any] = orjson.loads(body)
    _note_head(facts, answer.get("id"), answer.get("model"), answer.get("usage"))
    _note_choices(facts, answer.get("choices"), "message")
    return facts


def facts_of_stream(tap: Tap) -> AnswerFacts:
    """Return the facts of a stream; of a very long one only what its two ends tell."""
    facts = AnswerFacts(is_whole=tap.tail is None)
    _note_events(facts, b"".join(tap.kept))
    if tap.tail is not None:
        _note_events(facts, b"".join(tap.tail))
    return facts


def _note_events(facts: AnswerFacts, data: bytes) -> None:
    for line in data.splitlines():
        if not line.startswith(_DATA):
            continue
        payload = line[len(_DATA) :].strip()
        if not payload or payload == _DONE:
            continue
        try:
            _note_chunk(facts, _decode_chunk(payload))
        except (ValueError, RecursionError):
            _note_unusual(facts, payload)


def _note_chunk(facts: AnswerFacts, chunk: _Chunk) -> None:
    """Take a chunk of the usual form: quick, as there are hundreds in a stream."""
    _note_head(facts, chunk.id, chunk.model, chunk.usage)
    for entry in chunk.choices or ():
        choice = facts.choices.get(entry.index)
        if choice is None:
            choice = facts.choices[entry.index] = Choice()
        if entry.finish_reason is not None:
            choice.note_finish(entry.finish_reason)
        delta = entry.delta
        if delta is None:
            continue
        if delta.content:
            choice.text.append(delta.content)
        if delta.refusal:
            choice.is_refusal = True
        if delta.tool_calls or delta.function_call:
            rest = {"tool_calls": delta.tool_calls, "function_call": delta.function_call}
            _note_message(choice, rest)


def _note_unusual(facts: AnswerFacts, payload: bytes) -> None:
    try:
        chunk = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return  # cut at an end of what is kept, or not ours to understand
    if isinstance(chunk, dict):
        _note_head(facts, chunk.get("id"), chunk.get("model"), chunk.get("usage"))
        _note_choices(facts, chunk.get("choices"), "delta")


def _note_head(facts: AnswerFacts, response_id: object, model: object, usage: object) -> None:
    if facts.response_id is None and isinstance(response_id, str) and response_id:
        facts.response_id = response_id
    if facts.model is None and isinstance(model, str) and model:
        facts.model = model
    if isinstance(usage, dict):
        facts.usage = usage


def _note_choices(facts: AnswerFacts, choices: object, part: str) -> None:
    if not isinstance(choices, list):
        return
    for entry in choices:
        if not isinstance(entry, dict):
            continue
        index = entry.get("index")
        choice = facts.choices.setdefault(index if isinstance(index, int) else 0, Choice())
        reason = entry.get("finish_reason")
        if isinstance(reason, str):
            choice.note_finish(reason)
        message = entry.get(part)
        if isinstance(message, dict):
            _note_message(choice, message)


def _note_message(choice: Choice, message: dict[str, Any]) -> None:
    content = message.get("content")
    if isinstance(content, str):
        choice.text.append(content)
    elif isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        choice.text.extend(part for part in parts if isinstance(part, str))
    if message.get("refusal"):
        choice.is_refusal = True
    if message.get("tool_calls"):
        _note_tools(choice, message["tool_calls"])
    if isinstance(message.get("function_call"), dict):
        _note_tools(choice, [{"function": message["function_call"]}])


def _note_tools(choice: Choice, calls: object) -> None:
    for position, call in enumerate(_dicts(calls)):
        index = call.get("index")
        tool = choice.tools.setdefault(
            index if isinstance(index, int) else position, {"name": "", "arguments": ""}
        )
        function = call.get("function")
        for name in ("name", "arguments"):
            text = function.get(name) if isinstance(function, dict) else None
            if isinstance(text, str):
                tool[name] += text


def _dicts(values: object) -> Iterable[dict[str, Any]]:
    if isinstance(values, list):
        yield from (value for value in values if isinstance(value, dict))
