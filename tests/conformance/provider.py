"""A simulated provider for other people's clients: OpenAI's and Anthropic's endpoints on loopback.

Answers follow from the request alone. A tool, or a schema, is answered with values that fit it; a
text that begins with "bad" is refused with 400, one that begins with "busy" with 429 the first time.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections import Counter
from typing import Any

from aiohttp import web

from tests.support.loopback import LoopbackServer

TEXT = "It is on its way."
_IDENTITY = {"created": 1_700_000_000}
_USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


class Provider(LoopbackServer):
    """Simulated answers of four endpoints; the clients' scripts know them."""

    def __init__(self) -> None:
        super().__init__()
        self._refused: set[str] = set()
        self.models: Counter[str] = Counter()  # how often each was asked for

    def add_routes(self, router: web.UrlDispatcher) -> None:
        for path, handler in (
            ("chat/completions", self._chat),
            ("responses", self._responses),
            ("embeddings", self._embeddings),
            ("messages", self._messages),
        ):
            router.add_post(f"/v1/{path}", handler)

    def forget(self) -> None:
        """Begin anew: refuse again what was refused once."""
        self._refused.clear()
        self.models.clear()

    async def _body(self, request: web.Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        self.models[body["model"]] += 1
        return body

    def _refusal(self, text: str) -> web.Response | None:
        if text.startswith("bad"):
            return _error(400, "that is no good", param="messages", code="bad_text")
        if text.startswith("busy") and text not in self._refused:
            self._refused.add(text)
            error = _error(429, "slow down", code="rate_limit_exceeded")
            error.headers["retry-after-ms"] = "20"
            return error
        return None

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        text = _text(body["messages"][-1]["content"])
        if (refusal := self._refusal(text)) is not None:
            return refusal
        message: dict[str, Any] = {"role": "assistant", "content": TEXT}
        finish = "stop"
        schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
        if schema is not None:
            message["content"] = json.dumps(fitting(schema, schema))
        elif body.get("tools") and body["messages"][-1]["role"] != "tool":
            function = body["tools"][0]["function"]
            arguments = json.dumps(fitting(function["parameters"], function["parameters"]))
            call = {"name": function["name"], "arguments": arguments}
            message = {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
            }
            finish = "tool_calls"
        head = {"id": "chatcmpl-1", "model": body["model"], **_IDENTITY}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
            answer = {"object": "chat.completion", "choices": [choice], "usage": _USAGE}
            return web.json_response(head | answer)
        head["object"] = "chat.completion.chunk"
        chunks = [head | {"choices": [_choice(delta)]} for delta in _deltas(message)]
        chunks.append(head | {"choices": [_choice({}, finish)]})
        if (body.get("stream_options") or {}).get("include_usage"):
            chunks.append(head | {"choices": [], "usage": _USAGE})
        return await _stream(request, [(None, chunk) for chunk in chunks], done=True)

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        given = body["input"]
        text = given if isinstance(given, str) else _text(given[-1].get("content"))
        if (refusal := self._refusal(text)) is not None:
            return refusal
        schema = ((body.get("text") or {}).get("format") or {}).get("schema")
        said = json.dumps(fitting(schema, schema)) if schema else TEXT
        part = {"type": "output_text", "text": said, "annotations": [], "logprobs": []}
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
        usage = {
            "input_tokens": 11,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 18,
        }
        answer = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1_700_000_000,
            "status": "completed",
            "model": body["model"],
            "output": [item | {"content": [part]}],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "temperature": 1.0,
            "top_p": 1.0,
            "usage": usage,
        }
        if not body.get("stream"):
            return web.json_response(answer)
        begun = answer | {"status": "in_progress", "output": [], "usage": None}
        at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        empty = item | {"status": "in_progress", "content": []}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
            {"type": "response.output_item.added", "output_index": 0, "item": empty},
            {"type": "response.content_part.added", **at, "part": part | {"text": ""}},
            *(
                {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
                for piece in _pieces(said)
            ),
            {"type": "response.output_text.done", **at, "text": said, "logprobs": []},
            {"type": "response.content_part.done", **at, "part": part},
            {
                "type": "response.output_item.done",
                "output_index": 0,
                "item": item | {"content": [part]},
            },
            {"type": "response.completed", "response": answer},
        ]
        numbered = [event | {"sequence_number": place} for place, event in enumerate(events)]
        return await _stream(request, [(event["type"], event) for event in numbered])

    async def _embeddings(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        given = body["input"]
        texts = [given] if isinstance(given, str) else given
        data = []
        for place, text in enumerate(texts):
            vector: Any = [float(len(text)), 1.0, -0.5]
            if body.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
            data.append({"object": "embedding", "index": place, "embedding": vector})
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        return web.json_response(
            {"object": "list", "model": body["model"], "data": data, "usage": usage}
        )

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        text = _text(body["messages"][-1]["content"])
        if text.startswith("bad"):
            error = {"type": "invalid_request_error", "message": "that is no good"}
            return web.json_response({"type": "error", "error": error}, status=400)
        content: dict[str, Any] = {"type": "text", "text": TEXT}
        stop = "end_turn"
        if body.get("tools"):
            tool = body["tools"][0]
            values = fitting(tool["input_schema"], tool["input_schema"])
            content = {"type": "tool_use", "id": "toolu_1", "name": tool["name"], "input": values}
            stop = "tool_use"
        answer = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [content],
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": {"input_tokens": 11, "output_tokens": 7},
        }
        if not body.get("stream"):
            return web.json_response(answer)
        if stop == "tool_use":
            begun = content | {"input": {}}
            deltas = [
                {"type": "input_json_delta", "partial_json": piece}
                for piece in _pieces(json.dumps(content["input"]))
            ]
        else:
            begun = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(TEXT)]
        usage = {"input_tokens": 11, "output_tokens": 1}
        head = answer | {"content": [], "stop_reason": None, "usage": usage}
        events = [
            {"type": "message_start", "message": head},
            {"type": "content_block_start", "index": 0, "content_block": begun},
            *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": stop, "stop_sequence": None},
                "usage": {"output_tokens": 7},
            },
            {"type": "message_stop"},
        ]
        return await _stream(request, [(event["type"], event) for event in events])


def fitting(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """Return a value that fits a plain JSON schema."""
    if "$ref" in schema:
        for key in schema["$ref"].removeprefix("#/").split("/"):
            root = root[key]
        return fitting(root, root)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {
            name: fitting(value, root) for name, value in (schema.get("properties") or {}).items()
        }
    if kind == "array":
        return [fitting(schema.get("items") or {"type": "string"}, root)]
    return {"integer": 3, "number": 3.5, "boolean": True}.get(str(kind), "Graz")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or () if isinstance(part, dict))


def _pieces(text: str) -> list[str]:
    return [text[at : at + 5] for at in range(0, len(text), 5)]


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a message in pieces, as OpenAI streams it."""
    if message["content"] is not None:
        pieces = [{"content": piece} for piece in _pieces(message["content"])]
        return [{"role": "assistant", "content": ""}, *pieces]
    (call,) = message["tool_calls"]
    function = call["function"]
    first = {"index": 0, **call, "function": {"name": function["name"], "arguments": ""}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [first]},
        *(
            {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
            for piece in _pieces(function["arguments"])
        ),
    ]


def _error(status: int, message: str, *, param: str | None = None, code: str) -> web.Response:
    error = {"message": message, "type": "simulated", "param": param, "code": code}
    return web.json_response({"error": error}, status=status)


async def _stream(
    request: web.Request, events: list[tuple[str | None, dict[str, Any]]], *, done: bool = False
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for name, event in events:
        line = f"event: {name}\n" if name else ""
        await response.write(f"{line}data: {json.dumps(event)}\n\n".encode())
        await asyncio.sleep(0)
    if done:
        await response.write(b"data: [DONE]\n\n")
    return response
