"""`POST /v1/chat/completions`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from llm_canary.gateway.dialects.answer import AnswerFacts, Choice, dicts, loaded
from llm_canary.gateway.dialects.dialect import Dialect
from llm_canary.gateway.dialects.request import (
    InferenceRequest,
    opening_of,
    read_messages,
    text_of,
    user_text_of,
)
from llm_canary.gateway.errors import error_body, error_frame
from llm_canary.gateway.sse import Marks


class ChatRequest(InferenceRequest):
    """The validated body of a chat completion."""

    __slots__ = ("messages",)

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.messages = read_messages(self.fields)

    def opening(self) -> Iterator[tuple[str, bytes]]:
        """Yield the messages up to and including the first user message."""
        return opening_of(self.messages)

    def first_user_text(self) -> str:
        """Return the text of the first user message, "" when there is none."""
        return user_text_of(self.messages)

    def texts(self) -> Iterator[str]:
        """Yield the text of every message."""
        return (text_of(message.content) for message in self.messages)

    def content(self) -> bytes:
        """Return the messages."""
        return bytes(self.fields["messages"])

    def expected_format(self) -> object:
        """Return `response_format`."""
        return self.value(("response_format",))

    def asks_for_usage(self) -> bool:
        """Say whether the client itself asked for the usage chunk."""
        return asks_for_usage(self)

    def choices(self) -> int:
        """Return `n`."""
        return choices_of(self)

    def prompted(self, fields: dict[str, Raw], text: bytes) -> None:
        """Make the variant's prompt the first system message.

        A system message of the app's own is kept after it: dropping it would lose instructions
        that nobody moved into the prompt.
        """
        messages = bytes(fields["messages"])
        system = b'{"role":"system","content":' + text + b"},"
        fields["messages"] = Raw(b"[" + system + messages[1:])


def asks_for_usage(request: InferenceRequest) -> bool:
    """Say whether the client itself asked for the usage chunk."""
    options = request.value(("stream_options",))
    return isinstance(options, dict) and options.get("include_usage") is True


def choices_of(request: InferenceRequest) -> int:
    """Return `n`: how many answers were asked for."""
    if "n" not in request.fields:
        return 1
    count = request.value(("n",))
    return count if isinstance(count, int) and count > 0 else 1


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
    service_tier: str | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def note_body(facts: AnswerFacts, answer: dict[str, Any]) -> None:
    """Take a completion."""
    facts.note_head(answer)
    _note_choices(facts, answer.get("choices"), "message")


def note_event(facts: AnswerFacts, payload: bytes) -> None:
    """Take a chunk: those of the usual form quickly, as there are hundreds in a stream."""
    try:
        chunk = _decode_chunk(payload)
    except (ValueError, RecursionError):
        answer = loaded(payload)
        facts.note_head(answer)
        _note_choices(facts, answer.get("choices"), "delta")
        return
    if facts.response_id is None and chunk.id:
        facts.response_id = chunk.id
    if facts.model is None and chunk.model:
        facts.model = chunk.model
    if chunk.service_tier:
        facts.service_tier = chunk.service_tier
    facts.note_usage(chunk.usage)
    for entry in chunk.choices or ():
        choice = facts.choices.get(entry.index)
        if choice is None:
            choice = facts.choices[entry.index] = Choice()
        if entry.finish_reason:
            choice.note_finish(entry.finish_reason)
        if entry.delta is not None:
            _note_delta(choice, entry.delta)


def _note_delta(choice: Choice, delta: _Delta) -> None:
    if delta.content:
        choice.text.append(delta.content)
    if delta.refusal:
        choice.is_refusal = True
    if delta.tool_calls or delta.function_call:
        rest = {"tool_calls": delta.tool_calls, "function_call": delta.function_call}
        _note_message(choice, rest)


def _note_choices(facts: AnswerFacts, choices: object, part: str) -> None:
    for entry in dicts(choices):
        choice = facts.choice(entry.get("index"))
        reason = entry.get("finish_reason")
        if reason and isinstance(reason, str):
            choice.note_finish(reason)
        message = entry.get(part)
        if isinstance(message, dict):
            _note_message(choice, message)


def _note_message(choice: Choice, message: dict[str, Any]) -> None:
    content = message.get("content")
    if isinstance(content, str):
        choice.text.append(content)
    else:
        parts = (part.get("text") for part in dicts(content))
        choice.text.extend(part for part in parts if isinstance(part, str))
    if message.get("refusal"):
        choice.is_refusal = True
    calls = message.get("tool_calls") or []
    if isinstance(message.get("function_call"), dict):
        calls = [{"function": message["function_call"]}]
    for position, call in enumerate(dicts(calls)):
        index, function = call.get("index"), call.get("function")
        parts_of = function if isinstance(function, dict) else {}
        choice.note_tool(
            index if isinstance(index, int) else position,
            name=parts_of.get("name"),
            arguments=parts_of.get("arguments"),
        )


MARKS = Marks(
    content=re.compile(
        rb'"(?:content|reasoning_content|reasoning|refusal|text|arguments|name)"\s*:\s*"[^"]'
    ),
    done=re.compile(rb"[\r\n]data: ?\[DONE\]"),
    done_hint=b"[DONE]",
    error=re.compile(rb'[\r\n](?:data: ?\{\s*"error"\s*:\s*[{"]|event: ?error)'),
    error_hint=b"error",
    finish=re.compile(rb'"finish_reason"\s*:\s*"[^"]'),  # some send "" with every chunk
    usage=re.compile(rb'"usage"\s*:\s*\{'),
)


def has_choices(answer: dict[str, Any]) -> bool:
    """Say whether an answer has choices."""
    return isinstance(answer.get("choices"), list)


CHAT = Dialect(
    name="chat.completions",
    path="/chat/completions",
    read=ChatRequest,
    is_answer=has_choices,
    expects="choices",
    note_body=note_body,
    note_event=note_event,
    marks=MARKS,
    error_body=error_body,
    error_frame=error_frame,
)
