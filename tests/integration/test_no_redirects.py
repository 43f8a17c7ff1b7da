"""A redirect leads nowhere: neither LiteLLM's clients nor those of checks follow it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from aiohttp import web

from llm_canary.addresses import Network
from llm_canary.checks.candidate import Endpoint
from llm_canary.errors import RequestError
from llm_canary.opaque import Opaque
from llm_canary.providers.litellm_bridge import LiteLlmWire
from llm_canary.providers.model_calls import Target, complete
from llm_canary.providers.wire import Outbound
from llm_canary.routing.table import Upstream
from llm_canary.rubric.item import Item
from tests.support.litellm_clients import close_clients

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier.*"),
    pytest.mark.filterwarnings("ignore:.*Accessing the.*attribute on the instance.*"),
    pytest.mark.filterwarnings("ignore:.*conflict with protected namespace.*"),
]
BODY = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"max_tokens":9%s}'


class Redirecting:
    """A server that sends everybody to `/secret`, and counts who comes."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _serve(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        headers = {"location": f"{self.url}/secret"}
        return web.Response(status=307, headers=headers)


def play(script):
    """Run `script(server)`; return what the server was asked for."""

    async def run():
        server = Redirecting()
        runner = await server.start()
        try:
            await script(server)
        finally:
            await close_clients()
            await runner.cleanup()
        return server.asked

    return asyncio.run(run())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["anthropic", "openai", "gemini", "hosted_vllm"])
def test_a_translated_upstream(provider, stream):
    async def script(server):
        upstream = Upstream("up", "litellm", server.url, provider=provider)
        wire = LiteLlmWire(upstream, Opaque(b"key"))
        body = BODY % (b',"stream":true' if stream else b"")
        with suppress(RequestError):
            await wire.send(Outbound("/chat/completions", body, (), "m", stream))

    asked = play(script)

    assert asked
    assert "/secret" not in asked


def test_a_judge():
    async def script(server):
        target = Target("openai/m", server.url, Opaque(b"key"), 5.0)
        reply = await complete(target, [{"role": "user", "content": "Hi"}])
        assert reply.failure == "provider_error"

    asked = play(script)

    assert asked
    assert "/secret" not in asked


def test_a_candidate_of_a_check():
    async def script(server):
        endpoint = Endpoint(server.url, "m")
        reply = await endpoint._asked(Item("1", "Hi"))
        await endpoint._client.close()
        assert reply.failure

    asked = play(script)

    assert asked
    assert "/secret" not in asked


def test_a_judge_at_a_name_of_this_machine_is_not_asked(monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 80))])
    target = Target("openai/m", "http://models.example/v1", Opaque(b"key"), 5.0, Network.PUBLIC)
    reply = asyncio.run(complete(target, []))

    assert (reply.failure, reply.calls) == ("provider_error", 0)
    assert "network: private" in reply.detail


def test_a_translated_upstream_at_such_a_name_is_not_asked(monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 80))])
    upstream = Upstream("up", "litellm", "http://models.example", provider="anthropic")
    outbound = Outbound("/chat/completions", BODY % b"", (), "m")
    with pytest.raises(RequestError, match="network: private"):
        asyncio.run(LiteLlmWire(upstream, Opaque(b"key")).send(outbound))
