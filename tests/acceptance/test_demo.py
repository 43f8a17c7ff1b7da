"""The demonstration against a simulated model: its own gateway, its own users, real decisions."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from aiohttp import web

from tests.support.judge_server import JudgeServer, honest
from tests.support.upstream import SimulatedUpstream

# On one worker, so that what is told once is told once.
pytestmark = pytest.mark.xdist_group("demo")
ORDERS, SUPPORT, FACTS = "orders-v2", "support-v13", "facts-v2"


class SimulatedModel(SimulatedUpstream):
    """Gives an order as JSON exactly when asked to, says the facts that its prompt has, and counts tokens by the length of the prompt."""

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body: dict[str, Any] = await request.json()
        await asyncio.sleep(0.03)
        text = '{"quantity": 4}' if "response_format" in body else "Ana orders 4 mugs."
        if "Parcel Point" in body["messages"][0]["content"]:
            knows = "takes 3 days" in body["messages"][0]["content"]
            text = "The delivery takes 3 days." if knows else "We are happy to help you."
        words = sum(len(message["content"].split()) for message in body["messages"])
        usage = {"prompt_tokens": words, "completion_tokens": 10, "total_tokens": words + 10}
        message = {"role": "assistant", "content": text}
        return web.json_response(
            {
                "id": f"chatcmpl-{body['seed']}",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": usage,
            }
        )


class FactsJudge(JudgeServer):
    """Finds out whether the response says how long it takes."""

    def _said(self, model: str, body: dict[str, Any]) -> tuple[str | None, str, str | None]:
        del model
        return honest(body, "takes 3 days" in str(body["messages"][1])), "stop", None


def command(url: str, *arguments: str) -> list[str]:
    where = ("--upstream", url, "--model", "tiny", "--json")
    return [sys.executable, "-m", "llm_canary", "demo", *where, *arguments]


def environment(directory: Path) -> dict[str, str]:
    # A key of the person at the keyboard must not be needed, nor sent to a server of their own.
    kept = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    return kept | {"TMPDIR": str(directory)}


def run(
    directory: Path, *arguments: str, **variables: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    with SimulatedModel() as upstream:
        done = subprocess.run(
            command(upstream.base_url, *arguments),
            env=environment(directory) | variables,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.stdout, done.stderr
    return done, json.loads(done.stdout)


def verdicts(document: dict[str, Any], rollout: str) -> list[str]:
    return [each["verdict"] for each in document["decisions"] if each["rollout"] == rollout]


class Told(NamedTuple):
    """What a demonstration has said, and its page while it served on."""

    code: int
    stderr: str
    document: dict[str, Any]
    url: str
    page: httpx.Response


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The demonstration, told once, with a judge and `--keep`, in a shell's background."""
    folder = tmp_path_factory.mktemp("demo")
    out, errors = folder / "out.json", folder / "told.txt"
    with (
        SimulatedModel() as upstream,
        FactsJudge() as judge,
        out.open("w") as stdout,
        errors.open("w") as stderr,
    ):
        asked = ("--judge", "openai/honest", "--judge-url", f"{judge.url}/v1")
        process = subprocess.Popen(
            [*BACKGROUND, *command(upstream.base_url, "--seed", "5", "--keep", *asked)],
            env=environment(folder) | {"OPENAI_API_KEY": "sk-local"},
            stdout=stdout,
            stderr=stderr,
        )
        try:
            url = wait_for(lambda: page_of(errors.read_text()), 240)
            page = httpx.get(url)
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
        finally:
            process.kill()  # nothing, when it has ended
            process.wait()
    assert out.read_text(), errors.read_text()
    return Told(code, errors.read_text(), json.loads(out.read_text()), url, page)


@pytest.mark.slow
def test_the_worse_canary_is_rolled_back_and_the_cheaper_one_promoted_without_a_person(
    told: Told,
) -> None:
    document = told.document

    assert (told.code, document["ok"]) == (0, True), told.stderr
    assert {act["rollout"]: act["state"] for act in document["acts"]} == {
        ORDERS: "rolled_back",
        SUPPORT: "finished",
        FACTS: "rolled_back",
    }
    assert verdicts(document, ORDERS) == ["rollback"]
    assert verdicts(document, FACTS) == ["rollback"]
    assert set(verdicts(document, SUPPORT)) == {"promote"}
    left = [each["stage"] for each in document["decisions"] if each["rollout"] == SUPPORT]
    assert left == ["initial", "expanded", "broad", "full", "standby"]
    rollbacks = {
        each["rollout"]: each["evidence"]
        for each in document["decisions"]
        if each["verdict"] == "rollback"
    }
    assert rollbacks == {
        ORDERS: ["invalid_output 0.00 % -> 100.0 %"],
        FACTS: ["rubric:facts 1.000 points -> 0.250 points"],
    }
    # The judge has seen both arms and says the same; without people's labels it decides nothing.
    assert document["judge"]["points"] == [1.0, 0.0]
    assert min(document["judge"]["judged"]) >= 5
    assert document["judge"]["failed"] == 0
    for said in (
        "judge on facts_judged: control 1.00 of 1",
        "scripted votes",
        "compressed plan",
        "30, 40, 40 canary users instead of 200",
        "decision show",
    ):
        assert said in told.stderr


@pytest.mark.slow
def test_keep_serves_on_until_it_is_told_to_end_and_then_leaves_nothing_running(told: Told) -> None:
    assert told.page.status_code == 200
    assert SUPPORT in told.page.text
    assert told.code == 0, told.stderr
    with pytest.raises(httpx.ConnectError):
        httpx.get(told.url)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--judge", "openai/honest"), "set OPENAI_API_KEY"),
        (("--judge-url", "http://127.0.0.1:9/v1"), "name the judge as well"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_refused_before_anything_starts(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = subprocess.run(
        command("http://127.0.0.1:9/v1", *arguments),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.slow
def test_everything_that_happened_is_in_the_database_afterwards(
    told: Told,
) -> None:
    document = told.document

    with closing(sqlite3.connect(document["database"])) as database:
        inferences, users = database.execute(
            "SELECT COUNT(*), COUNT(DISTINCT unit_hash) FROM inference"
        ).fetchone()
        votes, up = database.execute("SELECT COUNT(*), AVG(value_num) FROM outcome").fetchone()
        decisions = {row[0] for row in database.execute("SELECT id FROM decision")}
    warm_up = 9
    assert inferences == users == document["answered"] + document["failed"] + warm_up
    assert users > 300
    assert votes == document["answered"]
    assert up == pytest.approx(0.9, abs=0.05)
    assert {each["decision_id"] for each in document["decisions"]} <= decisions


@pytest.mark.slow
def test_swap_reverses_both_verdicts(tmp_path: Path) -> None:
    done, document = run(tmp_path, "--swap")

    assert done.returncode == 0, done.stderr
    assert {act["rollout"]: act["state"] for act in document["acts"]} == {
        ORDERS: "finished",
        SUPPORT: "rolled_back",
        FACTS: "finished",
    }
    rollback = next(each for each in document["decisions"] if each["verdict"] == "rollback")
    assert rollback["evidence"][0].startswith("cost_per_request")


@pytest.mark.slow
def test_identical_arms_are_never_rolled_back(tmp_path: Path) -> None:
    done, document = run(tmp_path, "--identical")

    assert done.returncode == 0, done.stderr
    assert {act["state"] for act in document["acts"]} == {"finished"}
    assert {each["verdict"] for each in document["decisions"]} == {"promote"}


def test_a_server_that_cannot_be_reached_is_reported_and_nothing_keeps_running(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        command("http://127.0.0.1:9/v1"),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "the model does not answer 'order-extractor'" in done.stderr
    assert "Traceback" not in done.stderr


# A shell's background job: Ctrl-C is not for it.
BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")


def page_of(text: str) -> str | None:
    lines = [line for line in text.splitlines() if line.startswith("still running until Ctrl-C: ")]
    return lines[0].split()[4] if lines else None


def wait_for(found: Any, timeout_s: float) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.2)
    raise AssertionError("not within the time")
