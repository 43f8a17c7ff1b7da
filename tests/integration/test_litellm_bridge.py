"""The translation by LiteLLM, against a simulated server of Anthropic's Messages API on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path as FilePath
from typing import Any

import pytest
from aiohttp import web

from llm_canary.errors import InvalidRequest, UpstreamTimeout, UpstreamUnavailable
from llm_canary.gateway.dialects.chat import MARKS
from llm_canary.gateway.sse import Tap
from llm_canary.opaque import Opaque
from llm_canary.providers import litellm_bridge
from llm_canary.providers.litellm_bridge import LiteLlmWire
from llm_canary.providers.wire import Answer, AnswerCut, Outbound, Wire
from llm_canary.routing.table import Path, Upstream
from tests.support.litellm_clients import close_clients

# litellm turns these off while it is imported, and pytest turns them on again for each test.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier.*"),
    pytest.mark.filterwarnings("ignore:.*Accessing the.*attribute on the instance.*"),
    pytest.mark.filterwarnings("ignore:.*conflict with protected namespace.*"),
]
KEY = "not-to-be-shown-4711"
PROMPT = "Where is the parcel of Ada Lovelace?"
MODEL = "claude-haiku-4-5"
EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": [],
            "stop_reason": None,
            "usage": {"input_tokens": 11, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "It is "},
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "on its way."},
    },
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 7},
    },
    {"type": "message_stop"},
]
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


class Anthropic:
    """The simulated server; `fault` says what it does wrong."""

    def __init__(self) -> None:
        self.fault = ""
        self.status = 200
        self.error: dict[str, Any] = OVERLOADED
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.left = asyncio.Event()  # a client closed its connection before its answer
        self.base_url = ""

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/messages", self._messages)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(body)
        self.keys.append(request.headers.get("x-api-key"))
        if self.status != 200:
            headers = {"retry-after": "7", "request-id": "req_9", "set-cookie": "a=b"}
            return web.json_response(self.error, status=self.status, headers=headers)
        if body.get("stream"):
            return await self._stream(request)
        if self.fault == "hang":
            await self._hang()
        answer = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [{"type": "text", "text": "It is on its way."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 11, "output_tokens": 7},
        }
        return web.json_response(answer, headers={"request-id": "req_1"})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        headers = {"content-type": "text/event-stream", "request-id": "req_1"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for place, event in enumerate(EVENTS):
            if place == 0 and self.fault == "error first":
                await response.write(_frame(OVERLOADED))
                return response
            if place == 4 and self.fault == "cut":
                return response
            if place == 4 and self.fault == "reset":
                assert request.transport is not None
                request.transport.abort()
                return response
            if place == 4 and self.fault == "error":
                await response.write(_frame(OVERLOADED))
                return response
            if place == 4 and self.fault == "hang":
                await self._hang()
            await response.write(_frame(event))
        return response

    async def _hang(self) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.left.set()
            raise


def _frame(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


Script = Callable[[Anthropic, LiteLlmWire], Awaitable[Any]]


def play(script: Script, **changes: Any) -> Any:
    """Run `script` against a fresh server."""

    async def run() -> Any:
        server = Anthropic()
        runner = await server.start()
        fields = {"base_url": server.base_url, **changes}
        upstream = Upstream(name="claude", kind="litellm", provider="anthropic", **fields)
        try:
            return await script(server, LiteLlmWire(upstream, Opaque(KEY.encode())))
        finally:
            await close_clients()
            await runner.cleanup()

    return asyncio.run(run())


def outbound(path: str = "/chat/completions", **fields: Any) -> Outbound:
    body = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], **fields}
    return Outbound(
        path=path,
        body=json.dumps(body).encode(),
        headers=(),
        model=MODEL,
        stream=bool(fields.get("stream")),
    )


async def whole(answer: Answer, parts: list[bytes] | None = None) -> bytes:
    parts = [] if parts is None else parts
    while not answer.at_end():
        parts.append(await answer.read_some())
    return b"".join(parts)


def chunks(data: bytes) -> list[Any]:
    events = data.decode().split("\n\n")
    assert events.pop() == ""
    assert all(event.startswith("data: ") for event in events)
    payloads = [event.removeprefix("data: ") for event in events]
    return [json.loads(payload) if payload != "[DONE]" else payload for payload in payloads]


class TestWhole:
    """An answer that is no stream."""

    def test_it_is_one_json_body_of_openais_form(self):
        async def script(server, wire):
            answer = await wire.send(outbound(max_tokens=50))
            return answer.status, dict(answer.headers()), json.loads(await whole(answer)), server

        status, headers, body, server = play(script)

        assert status == 200
        assert headers == {b"content-type": b"application/json", b"x-request-id": b"req_1"}
        assert body["object"] == "chat.completion"
        assert body["model"] == MODEL
        choice = body["choices"][0]
        assert choice["finish_reason"] == "stop"
        assert choice["message"] == {"role": "assistant", "content": "It is on its way."}
        assert body["usage"]["prompt_tokens"] == 11
        assert body["usage"]["completion_tokens"] == 7
        assert "cost" not in body["usage"]
        assert server.keys == [KEY]
        assert server.seen[0]["messages"][0]["content"][0]["text"] == PROMPT

    @pytest.mark.parametrize("stream", [False, True])
    def test_tools_are_translated_too(self, stream):
        parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
        function = {"name": "get_weather", "description": "it", "parameters": parameters}
        tools = [{"type": "function", "function": function}]

        async def script(server, wire):
            answer = await wire.send(outbound(tools=tools, stream=stream))
            await whole(answer)
            return answer.status, answer.sent_params, server.seen

        status, sent, seen = play(script)

        assert status == 200
        assert "tools" in sent
        assert [tool["name"] for tool in seen[0]["tools"]] == ["get_weather"]

    def test_it_is_translated_and_a_wire(self):
        wire: Wire = LiteLlmWire(Upstream(name="c", kind="litellm", base_url=""), None)

        assert wire.path is Path.TRANSLATED

    @pytest.mark.parametrize("path", ["/responses", "/completions", "/messages", ""])
    def test_other_endpoints_are_refused_before_litellm_is_needed(self, path, monkeypatch):
        monkeypatch.setattr(litellm_bridge, "litellm_library", None)
        wire = LiteLlmWire(Upstream(name="claude", kind="litellm", base_url=""), None)

        with pytest.raises(InvalidRequest) as caught:
            asyncio.run(wire.send(outbound(path)))

        assert caught.value.code == "endpoint_not_supported"


class TestParameters:
    """What of the body reaches the provider."""

    def test_the_sent_ones_are_named_and_the_dropped_ones_are_not(self):
        async def script(server, wire):
            fields = {"temperature": 0.2, "seed": 7, "logit_bias": {"5": 1}, "n": 1, "top_k": 3}
            answer = await wire.send(
                outbound(max_completion_tokens=9, stop=["x"], user="u-1", **fields)
            )
            return answer.status, answer.sent_params, server.seen[0]

        status, sent, seen = play(script)

        assert status == 200
        assert set(sent) == {
            "model", "messages", "temperature", "top_k", "max_completion_tokens", "stop", "user",
        }  # fmt: skip
        assert seen["temperature"] == 0.2
        assert seen["top_k"] == 3
        assert seen["max_tokens"] == 9
        assert seen["stop_sequences"] == ["x"]
        assert seen["metadata"] == {"user_id": "u-1"}
        assert not {"seed", "logit_bias", "n"} & set(seen)

    def test_a_parameter_that_only_the_model_refuses_is_not_called_sent(self):
        async def script(server, wire):
            request = outbound(temperature=0.2, max_tokens=5)
            body = request.body.replace(MODEL.encode(), b"claude-opus-4-7")
            answer = await wire.send(
                Outbound(request.path, body, headers=(), model="claude-opus-4-7")
            )
            return answer.sent_params, server.seen[0]

        sent, seen = play(script)

        assert ("temperature" in sent) == ("temperature" in seen)
        assert "max_tokens" in sent

    def test_a_client_cannot_set_what_is_litellms_own(self):
        async def script(server, wire):
            answer = await wire.send(
                outbound(
                    api_base="http://127.0.0.1:1",
                    base_url="http://127.0.0.1:1",
                    api_key="stolen",
                    custom_llm_provider="openai",
                    mock_response="made up",
                    extra_headers={"x-evil": "1"},
                    metadata={"name": "Ada"},
                    num_retries=5,
                )
            )
            return json.loads(await whole(answer)), answer.sent_params, server.keys

        body, sent, keys = play(script)

        assert body["choices"][0]["message"]["content"] == "It is on its way."
        assert set(sent) == {"model", "messages"}
        assert keys == [KEY]


class TestStream:
    """Server-sent events."""

    def test_it_comes_as_events_and_done(self):
        async def script(_, wire):
            answer = await wire.send(outbound(stream=True, stream_options={"include_usage": True}))
            return dict(answer.headers()), answer.sent_params, await whole(answer)

        headers, sent, data = play(script)

        assert headers[b"content-type"].startswith(b"text/event-stream")
        assert headers[b"x-request-id"] == b"req_1"
        assert set(sent) == {"model", "messages", "stream"}
        *events, usage, done = chunks(data)
        assert done == "[DONE]"
        assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == (
            "It is on its way."
        )
        assert [e["choices"][0]["finish_reason"] for e in events][-2:] == [None, "stop"]
        assert usage["choices"] == []
        assert usage["usage"]["completion_tokens"] == 7

    def test_the_gateways_tap_understands_it_and_takes_the_usage_out(self):
        async def script(_, wire):
            answer = await wire.send(outbound(stream=True, stream_options={"include_usage": True}))
            return await whole(answer)

        tap = Tap(MARKS, strips_usage=True, choices=1)
        out = tap.feed(play(script)) + tap.flush()

        assert tap.has_content and tap.is_finished and tap.is_done and not tap.has_error
        assert b'"usage"' not in out
        assert out.endswith(b"data: [DONE]\n\n")

    @pytest.mark.parametrize("fault", ["cut", "reset"])
    def test_a_stream_without_its_end_is_cut_and_never_finished(self, fault):
        async def script(server, wire):
            server.fault = fault
            answer = await wire.send(outbound(stream=True))
            parts: list[bytes] = []
            with pytest.raises(AnswerCut):
                await whole(answer, parts)
            return b"".join(parts)

        data = play(script)

        assert b"It is " in data
        assert b"[DONE]" not in data
        assert b'"stop"' not in data

    def test_an_error_in_the_stream_comes_out_as_an_error_event(self):
        async def script(server, wire):
            server.fault = "error"
            return await whole(await wire.send(outbound(stream=True)))

        data = play(script)

        assert "error" in chunks(data)[-1]
        tap = Tap(MARKS, strips_usage=False, choices=1)
        tap.feed(data)
        assert tap.has_error and not tap.is_complete

    def test_an_error_before_the_first_event_is_a_status(self):
        async def script(server, wire):
            server.fault = "error first"
            answer = await wire.send(outbound(stream=True))
            return answer.status, json.loads(await whole(answer))

        status, body = play(script)

        assert status >= 500
        assert set(body["error"]) == {"message", "type", "param", "code"}


class TestErrors:
    """What a provider's refusals and failures become."""

    @pytest.mark.parametrize("status", [400, 401, 404, 413, 429, 500, 529])
    @pytest.mark.parametrize("stream", [False, True])
    def test_the_providers_status_stays_and_nothing_is_sent_twice(self, status, stream):
        async def script(server, wire):
            server.status = status
            server.error = {"type": "error", "error": {"type": "some_error", "message": "No luck"}}
            answer = await wire.send(outbound(stream=stream))
            return answer, json.loads(await whole(answer)), len(server.seen)

        answer, body, count = play(script)

        assert answer.status == status
        assert count == 1
        assert body["error"] == {
            "message": f"upstream 'claude' answered {status}: No luck",
            "type": "some_error",
            "param": None,
            "code": f"upstream_{status}",
        }
        headers = dict(answer.headers())
        assert headers[b"retry-after"] == b"7"
        assert headers[b"x-request-id"] == b"req_9"
        assert b"set-cookie" not in headers

    @pytest.mark.parametrize(
        "said", [f"bad prompt: {PROMPT}", "the parcel of Ada is lost", f"key {KEY} is wrong"]
    )
    def test_a_message_that_quotes_prompt_or_key_is_kept_back(self, said):
        async def script(server, wire):
            server.status = 400
            server.error = {"type": "error", "error": {"type": "bad", "message": said}}
            return await whole(await wire.send(outbound()))

        message = json.loads(play(script))["error"]["message"]

        assert message == "upstream 'claude' answered 400"

    def test_a_refused_connection_is_no_answer(self):
        async def script(_, wire):
            with pytest.raises(UpstreamUnavailable) as caught:
                await wire.send(outbound())
            return caught.value

        error = play(script, base_url="http://127.0.0.1:1")

        assert not isinstance(error, UpstreamTimeout)
        assert error.code == "upstream_unreachable"
        assert PROMPT not in error.message

    def test_silence_is_a_timeout(self):
        async def script(server, wire):
            server.fault = "hang"
            with pytest.raises(UpstreamTimeout):
                await wire.send(outbound())

        play(script, total_timeout_s=0.3)

    @pytest.mark.parametrize(
        "messages",
        [
            "no list",
            [{"role": "nobody"}],
            [{"role": "tool", "content": 3}],
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x"}}
                    ],
                }
            ],
        ],
    )
    def test_what_cannot_be_translated_is_the_requests_fault(self, messages):
        async def script(server, wire):
            with pytest.raises(InvalidRequest) as caught:
                await wire.send(outbound(messages=messages))
            return caught.value.code, server.seen

        assert play(script) == ("untranslatable_request", [])

    def test_without_litellm_the_way_out_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "litellm", None)
        litellm_bridge.litellm_library.cache_clear()
        wire = LiteLlmWire(Upstream(name="c", kind="litellm", base_url=""), None)

        with pytest.raises(UpstreamUnavailable, match="pip install") as caught:
            asyncio.run(wire.send(outbound()))

        litellm_bridge.litellm_library.cache_clear()
        assert caught.value.code == "litellm_missing"


class TestAbort:
    """The provider stops working when nobody waits any more."""

    def test_aborting_a_stream_closes_the_connection(self):
        async def script(server, wire):
            server.fault = "hang"
            answer = await wire.send(outbound(stream=True))
            assert b"It is" in await answer.read_some()
            answer.abort()
            await asyncio.wait_for(server.left.wait(), 5)

        play(script)

    def test_cancelling_the_request_closes_the_connection(self):
        async def script(server, wire):
            server.fault = "hang"
            task = asyncio.create_task(wire.send(outbound()))
            while not server.seen:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(server.left.wait(), 5)

        play(script)


QUIET = """
import asyncio, logging, os, sys
reached = []
def audit(event, arguments):
    if event == "socket.connect" and arguments[1][0] != "127.0.0.1":
        reached.append(str(arguments[1]))
    elif event == "socket.getaddrinfo" and arguments[0] != "127.0.0.1":
        reached.append(str(arguments[0]))
sys.addaudithook(audit)
sys.path.insert(0, "tests/integration")
import test_litellm_bridge as bridge
assert "litellm" not in sys.modules
async def script(server, wire):
    wire.use(None)
    await bridge.whole(await wire.send(bridge.outbound()))
    await bridge.whole(await wire.send(bridge.outbound(stream=True)))
    server.status = 400
    await bridge.whole(await wire.send(bridge.outbound()))
    await asyncio.sleep(0.2)
bridge.play(script)
import litellm
assert not litellm.callbacks + litellm.success_callback + litellm.failure_callback
print("reached", reached, os.environ.get("FROM_DOTENV"))
"""


def test_it_reaches_nobody_but_the_provider_and_says_nothing(tmp_path):
    root = FilePath(__file__).resolve().parents[2]
    (tmp_path / ".env").write_text("FROM_DOTENV=1\n")
    run = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            QUIET.replace('"tests/integration"', repr(str(root / "tests/integration"))),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout == "reached [] None\n"
    assert PROMPT not in run.stderr and KEY not in run.stderr
