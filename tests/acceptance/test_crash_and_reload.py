"""The server is killed under load, and its configuration is replaced under load."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.support.load import chat, drive
from tests.support.server import RunningServer
from tests.support.upstream import SimulatedUpstream

CONFIG = """
version: 1
upstreams:
  simulated: {{kind: openai, base_url: "{base_url}", price: {{input_per_million: 0.10, output_per_million: 0.40}}}}
routes:
  bot:
    control: {{upstream: simulated, model: good, params: {{temperature: {temperature}}}}}
"""


def rows(server: RunningServer, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(server.directory / "llm_canary.db", timeout=30) as connection:
        return connection.execute(query).fetchall()


def settled(server: RunningServer, wanted: int, timeout_s: float = 30) -> int:
    """Wait until `wanted` exchanges are in SQL; return how many are."""
    deadline = time.monotonic() + timeout_s
    while True:
        count = rows(server, "select count(*) from inference")[0][0]
        assert isinstance(count, int)
        if count >= wanted or time.monotonic() > deadline:
            return count
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_a_client_received_a_second_before_kill_9_is_in_sql_once(
    tmp_path: Path, seed: int
) -> None:
    received: list[tuple[float, str]] = []
    with SimulatedUpstream() as upstream:
        server = RunningServer(tmp_path, CONFIG.format(base_url=upstream.base_url, temperature=0.2))
        server.start()

        def load() -> None:
            bodies = [
                (f"user-{index % 97}", chat("bot", f"question {index}")) for index in range(100_000)
            ]
            try:
                asyncio.run(
                    drive(
                        server.url,
                        bodies,
                        on_answer=lambda answer: received.append((time.monotonic(), answer[1])),
                    )
                )
            except BaseException:
                return

        thread = threading.Thread(target=load, daemon=True)
        thread.start()
        deadline = time.monotonic() + 60.0
        while len(received) < 300 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.0 + 0.37 * seed)
        killed_at = time.monotonic()
        server.kill()
        due = {request_id for at, request_id in received if at <= killed_at - 1.0}
        assert len(due) > 200
        server.start()
        settled(server, len(due))
        time.sleep(0.5)
        server.stop()

    stored = [row[0] for row in rows(server, "select id from inference")]

    assert due - set(stored) == set()
    assert len(stored) == len(set(stored))


@pytest.mark.slow
@pytest.mark.parametrize(
    "requests", [6_000, pytest.param(20_000, marks=pytest.mark.simulation, id="full")]
)
def test_fifty_reloads_during_thousands_of_requests_cost_no_request(
    tmp_path: Path, requests: int
) -> None:
    reloads = 50
    done = threading.Event()
    seen_hashes: set[str] = set()
    with SimulatedUpstream() as upstream:
        server = RunningServer(tmp_path, CONFIG.format(base_url=upstream.base_url, temperature=0.0))

        def reload() -> None:
            for index in range(reloads):
                server.config_path.write_text(
                    CONFIG.format(base_url=upstream.base_url, temperature=round(index / 100, 2))
                )
                time.sleep(0.6)
                seen_hashes.add(httpx.get(f"{server.url}/api/v1/status").json()["config_hash"])
            done.set()

        with server:
            thread = threading.Thread(target=reload)
            thread.start()
            statuses: dict[int, int] = {}
            sent = 0
            while sent < requests or not done.is_set():
                bodies = [
                    (f"user-{index % 997}", chat("bot", f"question {sent + index}"))
                    for index in range(2_000)
                ]
                for status, _, _ in asyncio.run(drive(server.url, bodies)):
                    statuses[status] = statuses.get(status, 0) + 1
                sent += len(bodies)
            thread.join()
            assert settled(server, sent) == sent

    assert statuses == {200: sent}
    assert len(seen_hashes) >= reloads - 5  # a slow machine may skip some, not most


def test_a_broken_new_file_is_refused_and_the_old_one_keeps_serving(tmp_path: Path) -> None:
    with (
        SimulatedUpstream() as upstream,
        RunningServer(
            tmp_path, CONFIG.format(base_url=upstream.base_url, temperature=0.2)
        ) as server,
    ):
        before = httpx.get(f"{server.url}/api/v1/status").json()
        server.config_path.write_text("version: 1\nroutes: {bot: {control: {upstream: nowhere}}}\n")
        deadline = time.monotonic() + 10
        while (status := httpx.get(f"{server.url}/api/v1/status").json())["config_problem"] is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=chat("bot"))

    assert "nowhere" in status["config_problem"]
    assert status["config_hash"] == before["config_hash"]
    assert answer.status_code == 200


def test_a_served_prompt_that_is_edited_is_refused_and_the_old_text_keeps_serving(
    tmp_path: Path,
) -> None:
    prompt = tmp_path / "prompts" / "bot" / "v1.md"
    prompt.parent.mkdir(parents=True)
    prompt.write_text("Be kind.")
    with SimulatedUpstream() as upstream:
        config = CONFIG.format(base_url=upstream.base_url, temperature=0.2)
        config = config.replace("model: good,", "model: good, prompt: bot/v1,")
        with RunningServer(tmp_path, config) as server:
            httpx.post(f"{server.url}/v1/chat/completions", json=chat("bot")).raise_for_status()
            assert settled(server, 1) == 1
            prompt.write_text("Be brief.")
            deadline = time.monotonic() + 10
            while not (status := httpx.get(f"{server.url}/api/v1/status").json())["config_problem"]:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            httpx.post(f"{server.url}/v1/chat/completions", json=chat("bot")).raise_for_status()
            assert settled(server, 2) == 2
        with pytest.raises(AssertionError, match="prompt 'bot/v1' was changed"):
            server.start()
        prompt.write_text("Be kind.")
        with server:
            pass

    assert "prompt 'bot/v1' was changed" in status["config_problem"]
    assert rows(server, "select count(distinct prompt_hash) from inference") == [(1,)]


def test_sigterm_loses_nothing(tmp_path: Path) -> None:
    with SimulatedUpstream() as upstream:
        server = RunningServer(tmp_path, CONFIG.format(base_url=upstream.base_url, temperature=0.2))
        with server:
            answers = asyncio.run(
                drive(server.url, [(f"user-{i}", chat("bot", f"q {i}")) for i in range(500)])
            )

    # At once, without another start.
    assert {row[0] for row in rows(server, "select id from inference")} == {
        answer[1] for answer in answers
    }
