"""Whole rollouts through the running server: requests in, verdicts out. The upstream is simulated, the plan compressed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

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
    control: {{upstream: simulated, model: good}}
rollouts:
  next:
    route: bot
    canary: {{upstream: simulated, model: {canary}}}
    plan: quick
plans:
  quick:
    full_cycle: 0s
    warmup: 0s
    settle: 1s
    stages:
      - {{name: initial, share: 10%, min: 2s, max: {max}, min_units: 40}}
      - {{name: broad, share: 50%, min: 2s, max: {max}, min_units: 40}}
      - {{name: full, holdback: 1%}}
      - {{name: standby, for: 60s}}
    gates:
      error_rate: {{kind: guardrail, margin: 10pp}}
      cost_per_request: {{kind: goal, margin: 25%}}
"""


def rollout(server: RunningServer) -> dict[str, Any]:
    answer: dict[str, Any] = (
        httpx.get(f"{server.url}/api/v1/rollouts/next").raise_for_status().json()
    )
    return answer


def start(server: RunningServer) -> None:
    started = server.cli("rollout", "start", "next", "--reason", "test")
    assert started.returncode == 0, started.stdout + started.stderr


def drive_until(
    server: RunningServer, states: set[str], *, timeout_s: float, users: int = 4_000
) -> list[str]:
    """Send traffic until the rollout is in one of `states`; return every state and stage seen, in order."""
    seen: list[str] = []
    deadline = time.monotonic() + timeout_s
    turn = 0
    while time.monotonic() < deadline:
        bodies = [
            (f"user-{(turn * 150 + i) % users}", chat("bot", f"question {turn} {i}"))
            for i in range(150)
        ]
        asyncio.run(drive(server.url, bodies, concurrency=8))
        turn += 1
        view = rollout(server)
        now = f"{view['state']}/{view['stage']}"
        if not seen or seen[-1] != now:
            seen.append(now)
        if view["state"] in states:
            return seen
        time.sleep(0.2)
    raise AssertionError(f"still {seen} after {timeout_s} s: {rollout(server)}")


@pytest.mark.slow
def test_identical_arms_are_never_rolled_back_and_get_promoted(tmp_path: Path) -> None:
    with (
        SimulatedUpstream() as upstream,
        RunningServer(
            tmp_path, CONFIG.format(base_url=upstream.base_url, canary="good", max="60s")
        ) as server,
    ):
        start(server)
        seen = drive_until(server, {"standby", "finished", "rolled_back", "held"}, timeout_s=120)

    assert "running/initial" in seen
    assert seen[-1].startswith("standby")


@pytest.mark.slow
def test_a_canary_with_thirty_per_cent_errors_is_rolled_back_and_its_users_return_to_control(
    tmp_path: Path,
) -> None:
    with (
        SimulatedUpstream() as upstream,
        RunningServer(
            tmp_path, CONFIG.format(base_url=upstream.base_url, canary="fail-30", max="60s")
        ) as server,
    ):
        start(server)
        seen = drive_until(server, {"standby", "finished", "rolled_back", "held"}, timeout_s=120)
        time.sleep(2)
        before = upstream.seen.get("fail-30", 0)
        asyncio.run(
            drive(server.url, [(f"user-{i}", chat("bot", f"later {i}")) for i in range(300)])
        )
        decisions = httpx.get(f"{server.url}/api/v1/rollouts/next/decisions").json()

    assert seen[-1].startswith("rolled_back")
    assert upstream.seen["fail-30"] == before
    assert any("error_rate" in str(decision) for decision in decisions)


@pytest.mark.slow
def test_a_canary_that_costs_ten_times_as_much_is_rolled_back(tmp_path: Path) -> None:
    with (
        SimulatedUpstream() as upstream,
        RunningServer(
            tmp_path, CONFIG.format(base_url=upstream.base_url, canary="dear", max="60s")
        ) as server,
    ):
        start(server)
        seen = drive_until(server, {"standby", "finished", "rolled_back", "held"}, timeout_s=120)

    assert seen[-1].startswith("rolled_back")


@pytest.mark.slow
def test_an_idle_endpoint_never_advances_and_asks_a_person_at_the_end_of_the_stage(
    tmp_path: Path,
) -> None:
    with (
        SimulatedUpstream() as upstream,
        RunningServer(
            tmp_path, CONFIG.format(base_url=upstream.base_url, canary="good", max="4s")
        ) as server,
    ):
        start(server)
        deadline = time.monotonic() + 20
        while (view := rollout(server))["state"] == "running" and time.monotonic() < deadline:
            time.sleep(0.3)

    assert (view["state"], view["stage"]) == ("held", "initial")


@pytest.mark.slow
def test_a_persons_rollback_is_live_in_two_seconds_and_survives_a_restart(tmp_path: Path) -> None:
    with SimulatedUpstream() as upstream:
        server = RunningServer(
            tmp_path, CONFIG.format(base_url=upstream.base_url, canary="slow-1", max="60s")
        )
        with server:
            start(server)
            time.sleep(2)
            asyncio.run(
                drive(server.url, [(f"user-{i}", chat("bot", f"q {i}")) for i in range(300)])
            )
            served_before = upstream.seen.get("slow-1", 0)
            begun = time.monotonic()
            rolled = server.cli("rollout", "rollback", "next", "--reason", "looks odd")
            time.sleep(max(0.0, 2.0 - (time.monotonic() - begun)))
            count = upstream.seen.get("slow-1", 0)
            asyncio.run(
                drive(server.url, [(f"user-{i}", chat("bot", f"r {i}")) for i in range(300)])
            )
            served_after = upstream.seen.get("slow-1", 0) - count
        with server:
            state = rollout(server)["state"]
            asyncio.run(
                drive(server.url, [(f"user-{i}", chat("bot", f"s {i}")) for i in range(300)])
            )
            served_after_restart = upstream.seen.get("slow-1", 0) - count

    assert rolled.returncode == 0, rolled.stderr
    assert served_before > 10
    assert (state, served_after, served_after_restart) == ("rolled_back", 0, 0)
