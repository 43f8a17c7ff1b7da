"""Rollouts decided on the quality of live answers, through the running server. The upstream is simulated, the plan compressed; a program grades, so that nobody has to be asked."""

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

RUBRIC = """
schema: llm_canary.rubric/v1
id: whereabouts
version: 1
criteria:
  - id: says_where
    kind: check
    check: {type: contains, must: all, texts: ["on its way"]}
"""

HEAD = """
version: 1
upstreams:
  simulated: {{kind: openai, base_url: "{base_url}", price: {{input_per_million: 0.10, output_per_million: 0.40}}}}
judging: {{window: 1s, samples_per_day: 10000000}}
plans:
  quick: &quick
    full_cycle: 0s
    warmup: 0s
    settle: 1s
    stages:
      - {{name: initial, share: 20%, min: 4s, max: 90s, min_units: 40}}
      - {{name: broad, share: 50%, min: 4s, max: 90s, min_units: 40}}
      - {{name: full, holdback: 1%}}
      - {{name: standby, for: 60s}}
    gates:
      error_rate: {{kind: guardrail, margin: 20pp}}
routes:
"""

# route -> control, canary, gate, the states that arithmetic allows
ROLLOUTS: dict[str, tuple[str, str, str, set[str]]] = {
    # Worse by exactly the margin passes, as promised, once in twenty: see tests/statistics.
    "worse-than-the-margin": (
        "says-95",
        "says-80",
        "rubric: {kind: goal, margin: 0.1}",
        {"rolled_back", "held"},
    ),
    "better": ("says-85", "says-95", "rubric: {kind: goal, margin: 0.1}", {"standby"}),
    "equal": ("says-90", "says-90", "rubric: {kind: goal, margin: 0.1}", {"standby"}),
    # 0.35 points more for 0.012 thousandths of a dollar more an answer: worth it at 0.1, not at 0.01.
    "worth": (
        "says-60",
        "dearsays-95",
        "net_benefit: {kind: goal, value_per_rubric_point_usd: 0.0001, margin_usd: 0.00001}",
        {"standby"},
    ),
    "too-dear": (
        "says-60",
        "dearsays-95",
        "net_benefit: {kind: goal, value_per_rubric_point_usd: 0.00001, margin_usd: 0.000002}",
        {"rolled_back", "held"},
    ),
    "worth-swapped": (
        "dearsays-95",
        "says-60",
        "net_benefit: {kind: goal, value_per_rubric_point_usd: 0.0001, margin_usd: 0.00001}",
        {"rolled_back", "held"},
    ),
    "too-dear-swapped": (
        "dearsays-95",
        "says-60",
        "net_benefit: {kind: goal, value_per_rubric_point_usd: 0.00001, margin_usd: 0.000002}",
        {"standby"},
    ),
}
OVER = {"standby", "finished", "rolled_back", "held"}


def configuration(base_url: str) -> str:
    text = HEAD.format(base_url=base_url)
    for name, (control, _, _, _) in ROLLOUTS.items():
        text += f"""  {name}:
    control: {{upstream: simulated, model: {control}}}
    rubrics: [whereabouts]
    content: {{store: redacted}}
"""
    text += "rollouts:\n"
    for name, (_, canary, gate, _) in ROLLOUTS.items():
        text += f"""  {name}:
    route: {name}
    canary: {{upstream: simulated, model: {canary}}}
    plan: quick
    gates: {{{gate}}}
"""
    return text


def states(server: RunningServer) -> dict[str, dict[str, Any]]:
    found = httpx.get(f"{server.url}/api/v1/rollouts").raise_for_status().json()
    return {each["name"]: each for each in found}


@pytest.mark.slow
def test_rollouts_end_as_the_quality_and_the_cost_of_their_answers_say(tmp_path: Path) -> None:
    (tmp_path / "rubrics").mkdir()
    (tmp_path / "rubrics" / "whereabouts.yaml").write_text(RUBRIC)
    with (
        SimulatedUpstream() as upstream,
        RunningServer(tmp_path, configuration(upstream.base_url)) as server,
    ):
        for name in ROLLOUTS:
            started = server.cli("rollout", "start", name, "--reason", "test")
            assert started.returncode == 0, started.stdout + started.stderr
        deadline, turn, ended = time.monotonic() + 180, 0, {}
        while time.monotonic() < deadline and len(ended) < len(ROLLOUTS):
            bodies = [
                (f"user-{turn}-{i}", chat(route, f"question {turn} {i}"))
                for i in range(30)
                for route in ROLLOUTS
                if route not in ended
            ]
            asyncio.run(drive(server.url, bodies, concurrency=8))
            turn += 1
            found = states(server)
            ended |= {name: each for name, each in found.items() if each["state"] in OVER}
            time.sleep(0.2)
        reasons = {
            name: httpx.get(f"{server.url}/api/v1/rollouts/{name}/decisions").json()[0]["reasons"]
            for name in ROLLOUTS
        }

    assert {name: each["state"] for name, each in ended.items()}.keys() == ROLLOUTS.keys(), found
    for name, (_, _, _, allowed) in ROLLOUTS.items():
        assert ended[name]["state"] in allowed, (name, ended[name])
    for name in ("worse-than-the-margin", "too-dear", "worth-swapped"):
        metric = "rubric:whereabouts" if name.startswith("worse") else "net_benefit"
        assert any(metric in reason for reason in reasons[name]), reasons[name]
