"""A key that the command line makes or ends is known to a running server within two seconds."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

from tests.support.server import RunningServer
from tests.support.upstream import SimulatedUpstream

CONFIG = """
version: 1
upstreams:
  simulated: {{kind: openai, base_url: "{base_url}"}}
routes:
  bot:
    control: {{upstream: simulated, model: good}}
  other-bot:
    control: {{upstream: simulated, model: good}}
"""
LIMIT_S = 2.0


@pytest.fixture
def server(tmp_path: Path):
    with (
        SimulatedUpstream() as upstream,
        RunningServer(tmp_path, CONFIG.format(base_url=upstream.base_url)) as running,
    ):
        yield running


def ask(server: RunningServer, key: str | None, model: str = "bot") -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers)


def keys(server: RunningServer, *arguments: str) -> dict:
    done = server.cli("keys", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def becomes(server: RunningServer, key: str | None, status: int, model: str = "bot") -> float:
    """Return after how many seconds asking has that status."""
    begun = time.monotonic()
    while ask(server, key, model).status_code != status:
        assert time.monotonic() < begun + LIMIT_S, ask(server, key, model).text
        time.sleep(0.02)
    return time.monotonic() - begun


def test_a_key_opens_its_route_closes_the_server_to_others_and_ends(server: RunningServer) -> None:
    assert ask(server, None).status_code == 200
    assert httpx.get(f"{server.url}/api/v1/status").status_code == 200

    bot = keys(server, "create", "bot", "--route", "bot", "--expires", "90d")
    becomes(server, None, 401)

    assert ask(server, bot["key"]).status_code == 200
    assert ask(server, bot["key"], "other-bot").json()["error"]["code"] == "model_not_found"
    status = f"{server.url}/api/v1/status"
    assert httpx.get(status).status_code == 401
    assert httpx.get(status, headers={"authorization": f"Bearer {bot['key']}"}).status_code == 403
    assert httpx.get(status, headers={"host": "canary.example"}).status_code == 401, "not refused"

    new = keys(server, "rotate", "bot", "--overlap", "1h")
    becomes(server, new["key"], 200)
    assert ask(server, bot["key"]).status_code == 200

    ops = keys(server, "create", "ops", "--role", "operator")
    becomes(server, ops["key"], 200, "other-bot")
    assert httpx.get(status, headers={"authorization": f"Bearer {ops['key']}"}).status_code == 200

    keys(server, "revoke", bot["prefix"])
    becomes(server, bot["key"], 401)
    refused = ask(server, bot["key"]).json()["error"]["message"]
    assert refused == "the API key 'bot' was revoked; ask for a new one"
    assert ask(server, new["key"]).status_code == 200
    listed = server.cli("keys", "list", "--json", "--all")
    used = {each["prefix"]: each["last_used_at"] for each in json.loads(listed.stdout)}
    assert used[bot["prefix"]] is not None
    assert used[new["prefix"]] is not None

    for name in ("bot", "ops"):
        keys(server, "revoke", name)
    becomes(server, new["key"], 401)
    assert ask(server, None).status_code == 401, "ended keys do not open the server"
    assert bot["key"] not in server.log()


def test_a_key_in_the_database_is_enough_to_serve_the_network(server: RunningServer) -> None:
    port = str(server.port)
    server.stop()
    refused = server.cli("serve", "--host", "0.0.0.0", "--port", port)
    assert refused.returncode == 1
    assert "llm-canary keys create" in refused.stderr

    made = keys(server, "create", "bot")
    server._arguments = ("--host", "0.0.0.0")
    server.start()

    assert ask(server, None).status_code == 401
    assert ask(server, made["key"]).status_code == 200
