"""`POST /v1/responses`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson
from msgspec import Raw

from llm_canary.gateway.dialects.answer import AnswerFacts, dicts, loaded
from llm_canary.gateway.dialects.dialect import Dialect
from llm_canary.gateway.dialects.request import (
    USER,
    InferenceRequest,
    Message,
    encode,
    opening_of,
    readable,
    text_of,
    user_text_of,
)
from llm_canary.gateway.errors import error_body
from llm_canary.gateway.sse import Marks

_items_decoder = msgspec.json.Decoder(list[Message])
_UNFINISHED = ("queued", "in_progress")


class ResponsesRequest(InferenceRequest):
    """The validated body of a request for a response."""

    __slots__ = ("messages",)
    needs_model = False  # a stored prompt may name it

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.messages = self._read_messages()

    def _read_messages(self) -> list[Message]:
        """Return the input as messages; items that are none, as tool results, have no role."""
        raw = self.fields.get("input")
        if raw is None:
            return []
        if isinstance(readable(raw), str):
            return [Message(USER, raw)]
        try:
            return _items_decoder.decode(raw)
        except ValueError:
            return []  # of another form: the provider will say what it thinks of it

    def opening(self) -> Iterator[tuple[str, bytes]]:
        """Yield the input up to and including the first user message."""
        return opening_of(self.messages) if self.messages else super().opening()

    def first_user_text(self) -> str:
        """Return the text of the first user message, "" when there is none."""
        return user_text_of(self.messages)

    def texts(self) -> Iterator[str]:
        """Yield the instructions and the text of every item."""
        if isinstance(instructions := self.value(("instructions",)), str):
            yield instructions
        for message in self.messages:
            yield text_of(message.content)

    def content(self) -> bytes:
        """Return the input."""
        return bytes(self.fields.get("input", b"null"))

    def expected_format(self) -> object:
        """Return `text.format` as the `response_format` of a chat completion."""
        form = self.value(("text", "format"))
        if not isinstance(form, dict):
            return None
        return {"type": form.get("type"), "json_schema": form}

    def previous_response_id(self) -> str | None:
        """Return `previous_response_id`."""
        if "previous_response_id" not in self.fields:
            return None
        value = self.value(("previous_response_id",))
        return value if isinstance(value, str) and value else None

    def prompted(self, fields: dict[str, Raw], text: bytes) -> None:
        """Put the variant's prompt before the app's own instructions."""
        own = self.value(("instructions",))
        if isinstance(own, str) and own:
            text = encode(f"{msgspec.json.decode(text)}\n\n{own}")
        fields["instructions"] = Raw(text)


def _note_body(facts: AnswerFacts, answer: dict[str, Any]) -> None:
    facts.note_head(answer)
    choice = facts.choice()
    choice.text.clear()
    choice.tools.clear()
    for index, item in enumerate(dicts(answer.get("output"))):
        if item.get("type") == "function_call":
            choice.note_tool(index, name=item.get("name"), arguments=item.get("arguments"))
        for part in dicts(item.get("content")):
            if isinstance(text := part.get("text"), str) and part.get("type") == "output_text":
                choice.text.append(text)
            choice.is_refusal = choice.is_refusal or part.get("type") == "refusal"
    details = answer.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    if isinstance(reason := reason or answer.get("status"), str):
        choice.note_finish(reason)


def _note_event(facts: AnswerFacts, payload: bytes) -> None:
    event = loaded(payload)
    kind, delta = event.get("type"), event.get("delta")
    if isinstance(response := event.get("response"), dict):
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            _note_body(facts, response)
        else:
            facts.note_head(response)
    elif not isinstance(delta, str):
        return
    elif kind == "response.output_text.delta":
        facts.choice().text.append(delta)
    elif kind == "response.refusal.delta":
        facts.choice().is_refusal = True
    elif kind == "response.function_call_arguments.delta":
        index = event.get("output_index")
        facts.choice().note_tool(index if isinstance(index, int) else 0, arguments=delta)


def _error_frame(message: str, *, type_: str, code: str) -> bytes:
    """Return the error event of the Responses API; `error` in it is what OpenAI's clients raise."""
    error = {"message": message, "type": type_, "param": None, "code": code}
    event = {**error, "type": "error", "sequence_number": 0, "error": error}
    return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"


_MARKS = Marks(
    content=re.compile(
        rb'"type"\s*:\s*"response\.(?:output_text|refusal|function_call_arguments|reasoning|'
        rb"output_item|custom_tool|mcp|code_)"
    ),
    done=re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete|cancelled)"'),
    done_hint=b'"response.',
    error=re.compile(
        rb'[\r\n](?:event: ?error|data: ?\{\s*"error"\s*:\s*[{"])|"type"\s*:\s*"response\.failed"'
    ),
    error_hint=b"",
)


def _is_answer(answer: dict[str, Any]) -> bool:
    return isinstance(answer.get("output"), list) or answer.get("status") in _UNFINISHED


RESPONSES = Dialect(
    name="responses",
    path="/responses",
    read=ResponsesRequest,
    is_answer=_is_answer,
    expects="output",
    note_body=_note_body,
    note_event=_note_event,
    marks=_MARKS,
    error_body=error_body,
    error_frame=_error_frame,
    is_failed=lambda answer: answer.get("status") == "failed",
)
