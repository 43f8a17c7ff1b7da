"""A person asks to be forgotten: by the command, through the API, in a dataset that was drawn."""

from __future__ import annotations

import json
import sqlite3
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
    segments: {{gender: "header:x-gender"}}
    content: {{store: full, hash_segments: [gender]}}
keys:
  app: {{key: "${{APP_KEY}}"}}
  boss: {{key: "${{BOSS_KEY}}", role: admin}}
"""
KEYS = {"APP_KEY": "app-key-0123456789", "BOSS_KEY": "boss-key-0123456789"}


def ask(server: RunningServer, user: str) -> None:
    body = {"model": "bot", "user": user, "messages": [{"role": "user", "content": f"I am {user}"}]}
    headers = {"authorization": f"Bearer {KEYS['APP_KEY']}", "x-gender": "female"}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text


def rows(server: RunningServer, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(server.directory / "llm_canary.db") as connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("privacy")
    with SimulatedUpstream() as upstream:
        config = CONFIG.format(base_url=upstream.base_url)
        key = {"LLM_CANARY_API_KEY": KEYS["BOSS_KEY"]}
        with RunningServer(folder, config, **KEYS, **key) as running:
            for user in ("jane", "jane", "john"):
                ask(running, user)
            ends = time.monotonic() + 20
            while rows(running, "SELECT count(*) FROM inference") != [(3,)]:
                assert time.monotonic() < ends
                time.sleep(0.1)
            yield running


def test_a_hidden_segment_is_stored_as_a_hash(server: RunningServer) -> None:
    stored = {str(row[0]) for row in rows(server, "SELECT segments FROM inference")}

    assert len(stored) == 1
    [segments] = stored
    assert json.loads(segments)["gender"].startswith("h-") and "female" not in segments


def test_only_an_administrator_erases(server: RunningServer) -> None:
    url = f"{server.url}/api/v1/privacy/users/jane"

    for key, status in ((None, 401), (KEYS["APP_KEY"], 403)):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        assert httpx.delete(url, headers=headers).status_code == status

    assert rows(server, "SELECT count(*) FROM inference WHERE request_text LIKE '%jane%'") == [(2,)]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("texts", 422),
        ("texts?before=soon", 400),
        ("requests/chatcmpl-unknown", 404),
        ("texts?before=1h&dry_run=maybe", 422),
        ("users/%20", 400),
    ],
)
def test_what_names_nothing_is_refused_in_the_one_shape(
    server: RunningServer, path: str, status: int
) -> None:
    headers = {"authorization": f"Bearer {KEYS['BOSS_KEY']}"}
    answer = httpx.delete(f"{server.url}/api/v1/privacy/{path}", headers=headers)

    assert answer.status_code in (status, 400), answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert rows(server, "SELECT count(*) FROM erasure") == [(0,)]


# The last of this file: the others look at what it erases.
def test_a_user_is_erased_by_the_command_and_from_a_drawn_dataset(server: RunningServer) -> None:
    drawn = server.directory / "drawn.jsonl"
    assert server.cli("dataset", "sample", str(drawn)).returncode == 0

    looked = server.cli("privacy", "delete", "--user", "jane", "--json")
    assert json.loads(looked.stdout) | {"inferences": 2, "texts": 2} == json.loads(looked.stdout)
    assert rows(server, "SELECT count(*) FROM inference WHERE request_text LIKE '%jane%'") == [(2,)]

    done = server.cli("privacy", "delete", "--user", "jane", "--yes")
    assert done.returncode == 0, done.stderr
    assert "requests\t2" in done.stdout and "settling" in done.stdout
    assert rows(server, "SELECT count(*) FROM inference WHERE request_text LIKE '%jane%'") == [(0,)]
    assert rows(server, "SELECT count(unit_hash) FROM inference") == [(1,)]

    [(action, detail)] = rows(
        server, "SELECT action, detail FROM audit_entry WHERE action LIKE 'privacy%'"
    )
    assert action == "privacy.erase_user" and "jane" not in str(detail)
    listed = server.cli("privacy", "list")
    assert "user\tsettling\t2" in listed.stdout

    pruned = server.cli("privacy", "prune", str(drawn), "--json")
    assert json.loads(pruned.stdout)["removed"] == 2
    assert "jane" not in drawn.read_text() and "john" in drawn.read_text()
    assert "jane" not in server.log()
