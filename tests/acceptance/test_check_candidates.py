"""Checks that ask somebody: a running gateway, a rollout's canary, a judge; and what interrupts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.graded_project import GradedProject
from tests.support.judge_server import JudgeServer
from tests.support.server import RunningServer
from tests.support.upstream import SimulatedUpstream

RUBRIC = """\
schema: llm_canary.rubric/v1
id: shape
version: 1
criteria:
  - {id: way, kind: check, must_pass: true, check: {type: contains, texts: ["on its way"]}}
"""
CONFIG = """\
version: 1
upstreams: {{simulated: {{kind: openai, base_url: "{base_url}"}}}}
routes: {{bot: {{control: {{upstream: simulated, model: good}}}}}}
rollouts:
  broken: {{route: bot, canary: {{upstream: simulated, model: fail-100}}}}
  json: {{route: bot, canary: {{upstream: simulated, model: good, prompt: v2, params: {{response_format: {{type: json_object}}}}}}}}
prompts: prompts/
"""


def command(folder: Path, *words: str, **environment: str) -> dict:
    return {
        "args": [sys.executable, "-m", "llm_canary", *words],
        "cwd": folder,
        "env": os.environ | {"OPENAI_API_KEY": "sk-test"} | environment,
        "text": True,
    }


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    made = command(folder, *words, **environment)
    return subprocess.run(**made, capture_output=True, timeout=120, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shape.yaml").write_text(RUBRIC)
    rows = [
        {"id": f"q{n}", "messages": [{"role": "user", "content": f"Where is parcel {n}?"}]}
        for n in range(30)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "v2.md").write_text("You are brief.")
    return tmp_path


def check(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "check", "--rubric", "shape.yaml", "--dataset", "data.jsonl", *words)


def test_a_running_gateway_is_asked_and_then_the_cache(folder):
    with SimulatedUpstream() as upstream:
        config = CONFIG.format(base_url=upstream.base_url)
        with RunningServer(folder, config) as server:
            words = ("--endpoint", f"{server.url}/v1", "--model", "bot", "--min-pass", "0.8")
            first, second = check(folder, *words), check(folder, *words)
        asked = upstream.seen["good"]

    assert first.returncode == second.returncode == 0, first.stdout + first.stderr
    assert asked == 30


def test_a_rollouts_canary_is_asked_with_its_prompt_and_parameters(folder):
    with SimulatedUpstream() as upstream:
        (folder / "canary.yaml").write_text(CONFIG.format(base_url=upstream.base_url))
        control = check(
            folder, "--candidate", "route:bot", "--baseline", "run:main", "--update-baseline"
        )
        canary = check(
            folder, "--candidate", "json", "--baseline", "run:main", "--max-drop", "0.05"
        )
        again = check(
            folder, "--candidate", "json", "--baseline", "run:main", "--repeat", "2", "--json"
        )

    assert control.returncode == 0, control.stderr
    assert canary.returncode == 1, canary.stdout
    assert "30 items fail a must-pass criterion" in canary.stdout
    report = json.loads(again.stdout)
    assert report["counts"]["graded"] == 30
    # 30 items, the second attempt at each; 90 more confirmed what newly failed, cached by then.
    assert upstream.seen["good"] == 30 + 30 + 90 + 30


def test_a_candidate_in_a_file_of_its_own(folder):
    with SimulatedUpstream() as upstream:
        file = folder / "next.yaml"
        file.write_text(f'base_url: "{upstream.base_url}"\nmodel: good\nprompt: prompts/v2.md\n')
        good = check(folder, "--candidate", "next.yaml", "--min-pass", "0.8")
        file.write_text("base_url: x\nmodle: good\nprompt: none.md\napi_key: sk-plain\n")
        wrong = check(folder, "--candidate", "next.yaml")

    assert good.returncode == 0, good.stdout + good.stderr
    assert wrong.returncode == 2
    for words in ("next.yaml:2: modle: unknown key", "next.yaml:3: prompt: none.md", "a reference"):
        assert words in wrong.stderr
    assert "sk-plain" not in wrong.stderr


def test_a_candidate_that_fails_is_operational_and_ends(folder):
    with SimulatedUpstream() as upstream:
        (folder / "canary.yaml").write_text(CONFIG.format(base_url=upstream.base_url))
        rows = (folder / "data.jsonl").read_text().splitlines()[:2]
        (folder / "data.jsonl").write_text("\n".join(rows) + "\n")
        done = check(folder, "--candidate", "broken")
        unknown = check(folder, "--candidate", "nope")

    assert done.returncode == 5, done.stdout + done.stderr
    assert "2 of 2 items got no answer" in done.stdout
    assert unknown.returncode == 2
    assert "one of broken, json" in unknown.stderr


@pytest.fixture
def judged(tmp_path: Path) -> GradedProject:
    project = GradedProject(tmp_path, "helpfulness", items=60)
    project.build("main", 0.9, seed=1)
    return project


def judge_words(server: JudgeServer, model: str) -> tuple[str, ...]:
    return (
        "check", "--rubric", "helpfulness", "--dataset", "data.jsonl", "--responses", "main.jsonl",
        "--judge", f"chat:openai/{model}", "--judge-url", f"{server.url}/v1", "--concurrency", "2",
    )  # fmt: skip


def test_an_interrupted_check_goes_on_where_it_stopped(judged):
    with JudgeServer() as server:
        words = judge_words(server, "slowly")
        process = subprocess.Popen(
            **command(judged.folder, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while server.seen["slowly"] < 20 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        before = server.seen["slowly"]
        done = run(judged.folder, *words)
        total = server.seen["slowly"]

    assert 20 <= before < 60
    assert done.returncode == 4, done.stdout + done.stderr  # nobody has labelled anything
    # Every item once, but for the two that were in flight.
    assert 60 <= total <= 62


@pytest.mark.parametrize("model", ["prose", "later", "refuses"])
def test_a_judge_that_gives_no_grades_is_operational(judged, model):
    with JudgeServer() as server:
        done = run(judged.folder, *judge_words(server, model))
        asked = server.seen[model]

    assert done.returncode == 5, done.stdout + done.stderr
    assert "60 of 60 items got no grade" in done.stdout
    assert asked <= 120


def test_offline_asks_nobody_and_the_cost_cap_ends_the_asking(judged):
    with JudgeServer() as server:
        words = judge_words(server, "honest")
        offline = run(judged.folder, *words, "--offline")
        asked = server.seen["honest"]
        unpriced = run(judged.folder, *words, "--max-cost-usd", "1")
        decision = ("--judge", "decision:typesafe/jev-1.14.0", "--judge-url", server.url)
        capped = run(
            judged.folder, *words[:7], *decision, "--max-cost-usd", "0.0001", TYPESAFE_API_KEY="k"
        )
        decided = server.seen["jev-1.14.0"]

    assert offline.returncode == 5
    assert asked == 0
    assert "calls have no known price" in unpriced.stderr
    assert capped.returncode == 5, capped.stdout + capped.stderr
    assert "got no grade" in capped.stdout
    assert (
        1 <= decided <= 13
    )  # five fit under the cap; the first eight are asked before any cost is known


def test_planted_instructions_are_found_by_the_probe(tmp_path):
    project = GradedProject(tmp_path, "helpfulness", items=2)
    project.labels(40, seed=1)
    words = ("judge", "probe", "--rubric", "helpfulness", "--labels", "labels.jsonl", "--json")
    found = {}
    with JudgeServer() as server:
        for model in ("gullible", "honest"):
            judge = ("--judge", f"chat:openai/{model}", "--judge-url", f"{server.url}/v1")
            done = run(tmp_path, *words, *judge)
            assert done.returncode == 0, done.stderr
            found[model] = {each["name"]: each for each in json.loads(done.stdout)}

    assert found["gullible"]["injection"]["tendency"] == "shown"
    assert found["honest"]["injection"]["value"] == 0.0
    assert found["honest"]["retest"]["tendency"] == "none"


def test_drift_is_found_between_two_looks(tmp_path):
    project = GradedProject(tmp_path, "helpfulness", items=2)
    project.labels(120, seed=1)
    words = (
        "judge",
        "drift",
        "--rubric",
        "helpfulness",
        "--labels",
        "labels.jsonl",
        "--judge",
        "replay:verdicts.jsonl",
    )
    first, second = run(tmp_path, *words), run(tmp_path, *words)
    rows = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    for row in rows[:60]:
        row["labels"] = dict.fromkeys(row["labels"], "unmet") | {"usefulness": 0}
    (tmp_path / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    third = run(tmp_path, *words, "--json")

    assert (first.returncode, second.returncode, third.returncode) == (0, 0, 4)
    assert "recorded the first look" in first.stdout
    assert "drift\tstable" in second.stdout
    assert json.loads(third.stdout)["drift"] == "system_change"
    assert json.loads(third.stdout)["p_value"] < 0.01
