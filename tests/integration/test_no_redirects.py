"""Neither LiteLLM's clients nor those of checks follow a redirect, or ask where nothing is sent."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest
from aiohttp import web
from click.testing import CliRunner

from llm_canary.addresses import Network
from llm_canary.checks.live_candidate import Endpoint
from llm_canary.cli import main
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
        endpoint = Endpoint(Target("m", server.url))
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


@pytest.mark.parametrize("network", Network)
def test_a_candidate_at_such_a_name_is_asked_only_where_that_is_meant(monkeypatch, network):
    looked_up = socket.getaddrinfo

    def names(host, *rest, **options):
        return looked_up(
            "127.0.0.1" if host in ("models.example", b"models.example") else host, *rest, **options
        )

    async def script(server):
        monkeypatch.setattr("socket.getaddrinfo", names)
        url = server.url.replace("127.0.0.1", "models.example")
        endpoint = Endpoint(Target("m", url, network=network))
        reply = await endpoint._asked(Item("1", "Hi"))
        await endpoint._client.close()
        assert ("network: private" in reply.failure) is (network is Network.PUBLIC)

    asked = play(script)

    assert bool(asked) is (network is Network.PRIVATE)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/v1",
        "http://metadata.google.internal/v1",
        "http://[::ffff:169.254.169.254]/v1",
        "http://2130706433/v1",
        "http://user:sk-secret@models.example/v1",
        "file:///etc/passwd",
    ],
)
@pytest.mark.parametrize("given", ["--endpoint", "--candidate"])
def test_a_candidate_at_an_address_to_which_nothing_is_sent_is_refused(tmp_path, url, given):
    (tmp_path / "items.jsonl").write_text('{"id": "1", "prompt": "Hi"}\n')
    (tmp_path / "candidate.yaml").write_text(f"base_url: '{url}'\nmodel: m\n")
    words = {"--endpoint": ["--endpoint", url, "--model", "m"]}
    words["--candidate"] = ["--candidate", str(tmp_path / "candidate.yaml")]

    checked = CliRunner().invoke(
        main,
        [
            "check",
            "--rubric",
            "helpfulness",
            "--dataset",
            str(tmp_path / "items.jsonl"),
            *words[given],
        ],
    )

    assert checked.exit_code != 0
    assert "cannot be asked: its URL is" in checked.output
    assert "sk-secret" not in checked.output
