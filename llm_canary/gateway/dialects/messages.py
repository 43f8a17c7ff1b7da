"""`POST /v1/messages`: Anthropic's API, relayed to upstreams that speak it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson
from msgspec import Raw

from llm_canary.gateway.dialects.answer import AnswerFacts, dicts, loaded
from llm_canary.gateway.dialects.chat import ChatRequest
from llm_canary.gateway.dialects.dialect import Dialect
from llm_canary.gateway.dialects.request import encode, text_of
from llm_canary.gateway.sse import Marks


class MessagesRequest(ChatRequest):
    """The validated body of a request for a message."""

    __slots__ = ()

    def texts(self) -> Iterator[str]:
        """Yield the system prompt and the text of every message."""
        if system := self.fields.get("system"):
            yield text_of(system)
        yield from super().texts()

    def expected_format(self) -> object:
        """Return None: what is asked for is in the tools."""
        return None

    def asks_for_usage(self) -> bool:
        """Return True: every stream reports its usage."""
        return True

    def choices(self) -> int:
        """Return 1."""
        return 1

    def prompted(self, fields: dict[str, Raw], text: bytes) -> None:
        """Put the variant's prompt before the app's own system prompt."""
        own = self.value(("system",))
        if isinstance(own, str) and own:
            text = encode(f"{msgspec.json.decode(text)}\n\n{own}")
        elif isinstance(own, list):
            blocks = bytes(fields["system"])[1:]
            separator = b"," if own else b""
            text = b'[{"type":"text","text":' + text + b"}" + separator + blocks
        fields["system"] = Raw(text)


def _note_body(facts: AnswerFacts, answer: dict[str, Any]) -> None:
    facts.note_head(answer)
    _note_usage(facts, answer)
    choice = facts.choice()
    for index, block in enumerate(dicts(answer.get("content"))):
        if isinstance(text := block.get("text"), str):
            choice.text.append(text)
        if block.get("type") == "tool_use":
            arguments = orjson.dumps(block.get("input")).decode()
            choice.note_tool(index, name=block.get("name"), arguments=arguments)
    if isinstance(reason := answer.get("stop_reason"), str):
        choice.note_finish(reason)


def _note_usage(facts: AnswerFacts, answer: dict[str, Any]) -> None:
    usage = answer.get("usage")
    facts.note_usage(usage)
    if isinstance(usage, dict) and isinstance(tier := usage.get("service_tier"), str):
        facts.service_tier = tier


def _note_event(facts: AnswerFacts, payload: bytes) -> None:
    event = loaded(payload)
    delta, block, message = event.get("delta"), event.get("content_block"), event.get("message")
    index = event.get("index")
    place = index if isinstance(index, int) else 0
    if isinstance(message, dict):
        _note_body(facts, message)
        if facts.usage is not None:  # the answer's count is a first guess until the end
            facts.usage = {k: v for k, v in facts.usage.items() if k != "output_tokens"}
    _note_usage(facts, event)
    if isinstance(block, dict) and block.get("type") == "tool_use":
        facts.choice().note_tool(place, name=block.get("name"))
    if isinstance(delta, dict):
        if isinstance(text := delta.get("text"), str):
            facts.choice().text.append(text)
        if isinstance(part := delta.get("partial_json"), str):
            facts.choice().note_tool(place, arguments=part)
        if isinstance(reason := delta.get("stop_reason"), str):
            facts.choice().note_finish(reason)


def _error_body(message: str, *, type_: str, code: str | None, param: str | None = None) -> bytes:
    """Return an error as both Anthropic's and OpenAI's clients read it."""
    error = {"type": type_, "message": message, "param": param, "code": code}
    return orjson.dumps({"type": "error", "error": error})


def _error_frame(message: str, *, type_: str, code: str) -> bytes:
    return b"event: error\ndata: " + _error_body(message, type_=type_, code=code) + b"\n\n"


MESSAGES = Dialect(
    name="messages",
    path="/messages",
    read=MessagesRequest,
    is_answer=lambda answer: isinstance(answer.get("content"), list),
    expects="content",
    note_body=_note_body,
    note_event=_note_event,
    marks=Marks(
        content=re.compile(rb'"type"\s*:\s*"content_block_delta"|"type"\s*:\s*"tool_use"'),
        done=re.compile(rb'"type"\s*:\s*"message_stop"'),
        done_hint=b'"message_stop"',
        error=re.compile(rb'[\r\n](?:event: ?error|data: ?\{\s*"type"\s*:\s*"error")'),
        error_hint=b"error",
    ),
    error_body=_error_body,
    error_frame=_error_frame,
)
