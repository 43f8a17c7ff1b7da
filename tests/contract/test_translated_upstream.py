"""A canary behind LiteLLM, beside a control that is relayed: through the whole data plane."""

import json
import subprocess
import sys

import msgspec
import pytest
from raw_client import call, chat
from running_gateway import CANARY, make_split
from simulated_upstream import completion

from llm_canary.providers.litellm_bridge import litellm_library
from llm_canary.routing.table import Price, Upstream

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier.*"),
    pytest.mark.filterwarnings("ignore:.*Accessing the.*attribute on the instance.*"),
    pytest.mark.filterwarnings("ignore:.*conflict with protected namespace.*"),
]
CLAUDE = msgspec.structs.replace(
    CANARY, upstream="claude", model="claude-haiku-4-5", price=Price(input=1000.0, output=5000.0)
)
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "from the canary"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 11, "output_tokens": 7},
}
EVENTS = [
    {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "from the canary"},
    },
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]


@pytest.fixture
def translated(gateway, upstream, monkeypatch):
    """A gateway whose canary is Anthropic's model behind LiteLLM; everybody gets the canary."""
    litellm_library()  # seconds, many on a busy machine; a request would have to wait for it

    async def script(got, client):
        if not got.path.endswith("/messages"):
            await client.answer(completion("from control"))
        elif got.json.get("stream"):
            frames = (f"event: {event['type']}\ndata: {json.dumps(event)}" for event in EVENTS)
            await client.stream("\n\n".join([*frames, ""]).encode())
        else:
            await client.answer(MESSAGE)

    upstream.script = script
    base_url = gateway.table.upstreams["up"].base_url.removesuffix("/v1")
    monkeypatch.setenv("CLAUDE_KEY", "key-of-the-gateway")
    claude = Upstream(
        name="claude",
        kind="litellm",
        provider="anthropic",
        base_url=base_url,
        api_key="${CLAUDE_KEY}",
    )
    gateway.swap(upstreams=gateway.table.upstreams | {"claude": claude})
    gateway.change_split = lambda **fields: gateway.swap(
        routes={
            "bot": msgspec.structs.replace(
                gateway.table.routes["bot"], split=make_split(1.0, CLAUDE, **fields)
            )
        }
    )
    gateway.change_split()
    return gateway


def test_the_answer_is_openais_and_the_row_says_what_was_translated(translated, upstream):
    reply = chat(translated, temperature=0.5, seed=4, user="u-1")

    assert reply.json["choices"][0]["message"]["content"] == "from the canary"
    [sent] = upstream.received
    assert (sent.json["temperature"], "seed" in sent.json) == (0.5, False)
    event = translated.event()
    assert (event.path, event.terminal, event.served) == ("translated", "completed", "canary")
    assert "temperature" in event.sent_params and "seed" not in event.sent_params
    assert (event.prompt_tokens, event.completion_tokens) == (11, 7)
    assert event.cost_nanousd == 11 * 1000 + 7 * 5000
    assert event.usage_source == "provider"


def test_a_stream_has_its_usage_taken_out_unless_it_was_asked_for(translated):
    plain = chat(translated, stream=True, user="u-1")
    asked = chat(translated, stream=True, stream_options={"include_usage": True}, user="u-1")

    assert b"from the canary" in plain.body and plain.body.endswith(b"data: [DONE]\n\n")
    assert b'"usage":{' not in plain.body.replace(b" ", b"")
    assert b'"choices":[]' in asked.body.replace(b" ", b"")
    events = translated.writer.wait(2)
    assert [(e.terminal, e.prompt_tokens, e.completion_tokens) for e in events] == [
        ("completed", 11, 7)
    ] * 2


def test_connections_that_litellm_has_forgotten_are_closed_too(translated):
    """Left open, the event loop of the gateway could not be closed, and what follows this test would fail."""
    import litellm

    assert chat(translated, stream=True, user="u-1").status == 200

    clients = litellm.in_memory_llm_clients_cache
    for name in list(clients.cache_dict):  # as after an hour
        clients.delete_cache(name)
    assert not litellm.module_level_aclient.client.is_closed


def test_a_failing_canary_falls_back_and_keeps_its_exposure(translated, upstream):
    answer = upstream.script

    async def overloaded(got, client):
        if got.path.endswith("/messages"):
            error = {"type": "overloaded_error", "message": "Overloaded"}
            await client.answer({"type": "error", "error": error}, status=529)
        else:
            await answer(got, client)

    upstream.script = overloaded
    translated.change_split(fallback=True)

    reply = chat(translated, user="u-1")

    assert reply.json["choices"][0]["message"]["content"] == "from control"
    event = translated.event()
    assert (event.assigned, event.served, event.path) == ("canary", "control", "passthrough")
    assert [(each.upstream, each.status) for each in event.absorbed] == [("claude", 529)]
    assert event.attempts == 2


def test_a_missing_key_is_the_operators_business_and_never_looks_like_the_clients(
    translated, upstream, monkeypatch
):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    claude = msgspec.structs.replace(translated.table.upstreams["claude"], api_key=None)
    translated.swap(upstreams=translated.table.upstreams | {"claude": claude})

    reply = chat(translated, user="u-1")

    assert (reply.status, reply.error["code"]) == (502, "upstream_credentials")
    assert "'claude'" in reply.error["message"] and upstream.received == []


def test_what_it_cannot_translate_is_refused_before_anything_is_sent(translated, upstream):
    reply = call(translated, "POST", "/v1/responses", {"model": "bot", "input": "hi"})

    assert (reply.status, reply.error["code"]) == (400, "endpoint_not_supported")
    assert upstream.received == []
    assert translated.event().terminal == "rejected"


def test_a_gateway_without_such_an_upstream_never_imports_litellm():
    code = """
import sys
from llm_canary.server.data_plane import DataPlane
from llm_canary.gateway.state import GatewayState
from llm_canary.opaque import Opaque
from llm_canary.routing.table import RoutingTable, Upstream
import asyncio

async def run(kind):
    state = GatewayState(None)
    up = Upstream(name="up", kind=kind, provider="anthropic", base_url="http://127.0.0.1:9/v1")
    state.swap(RoutingTable(config_hash="h", version=1, routes={}, upstreams={"up": up}, unit_secret=Opaque(bytes(32))))
    await state.start()
    await asyncio.sleep(0.3)
    print("litellm" in sys.modules)
    await state.close()

asyncio.run(run(sys.argv[1]))
"""
    seen = {
        kind: subprocess.run(
            [sys.executable, "-c", code, kind],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
        for kind in ("openai", "litellm")
    }

    assert seen == {"openai": "False", "litellm": "True"}
