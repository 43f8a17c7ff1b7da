"""The code in README and docs runs as printed, against a running server with a simulated upstream."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import orjson
import pytest

from tests.support.server import RunningServer
from tests.support.upstream import SimulatedUpstream

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
PRINTED_URL = "http://127.0.0.1:8484"
CONFIG = """
version: 1
upstreams:
  simulated: {{kind: openai, base_url: "{base_url}"}}
routes:
  support-bot:
    control: {{upstream: simulated, model: good}}
"""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [
        shlex.split(line, comments=True)
        for line in lines
        if line.strip() and not line.startswith("#")
    ]


def test_the_tour_of_the_readme_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On what `init` writes; only the provider is a simulated one."""
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    tour = [line[1:] for line in commands(ROOT / "README.md") if line[0] == "llm-canary"]
    assert [line[0] for line in tour[:3]] == ["init", "config", "serve"]
    made = subprocess.run(
        [sys.executable, "-m", "llm_canary", "init"], cwd=tmp_path, capture_output=True, check=False
    )
    assert made.returncode == 0, made.stderr
    config = (tmp_path / "canary.yaml").read_text()
    with SimulatedUpstream() as upstream:
        config = config.replace("https://api.openai.com/v1", upstream.base_url)
        with RunningServer(tmp_path, config) as server:
            namespace: dict[str, object] = {}
            for block in blocks(ROOT / "README.md", "python"):
                printed = block.replace(PRINTED_URL, server.url)
                exec(compile(printed, "README.md", "exec"), namespace)
            for line in [tour[1], *tour[3:]]:
                if "ID" not in line:
                    done = server.cli(*line)
                    # The second answers are made to fail the check.
                    expected = 1 if "responses/v2.jsonl" in line else 0
                    assert done.returncode == expected, (line, done.stdout, done.stderr)
        answer = namespace["answer"]

    assert answer.choices[0].message.content == "It is on its way."  # type: ignore[attr-defined]


def test_the_feedback_of_the_api_page_is_accepted(tmp_path: Path) -> None:
    (body,) = blocks(ROOT / "docs/api.md", "json")
    with (
        SimulatedUpstream() as upstream,
        RunningServer(tmp_path, CONFIG.format(base_url=upstream.base_url)) as server,
    ):
        answer = httpx.post(f"{server.url}/v1/feedback", json=orjson.loads(body))

    assert answer.status_code == 202, answer.text


def test_the_limits_of_their_page_are_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPPORT_APP_KEY", "the-key-of-the-app")
    (limits,) = blocks(ROOT / "docs/limits.md", "yaml")
    with SimulatedUpstream() as upstream:
        config = CONFIG.format(base_url=upstream.base_url).partition("routes:")[0] + limits
        with RunningServer(tmp_path, config) as server:
            answer = httpx.post(
                f"{server.url}/v1/chat/completions",
                json={"model": "support-bot", "messages": [{"role": "user", "content": "Hi"}]},
                headers={"authorization": "Bearer the-key-of-the-app"},
            )

    assert answer.status_code == 200, answer.text
    assert answer.headers["x-ratelimit-limit-requests"] == "600"
    assert answer.headers["x-ratelimit-limit-tokens"] == "200000"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands(page):
        if command[0] == "make":
            assert command[1] in targets, command
        if command[0] == "llm-canary":
            names = [part for part in command[1:3] if re.fullmatch(r"[a-z]+", part)]
            shown = subprocess.run(
                [sys.executable, "-m", "llm_canary", *names[:1], "--help"],
                capture_output=True,
                text=True,
                check=False,
            )
            assert shown.returncode == 0, (command, shown.stderr)
            if "Commands:" in shown.stdout:
                assert names[1] in shown.stdout, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_of_the_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_the_page_names_exists(page: Path) -> None:
    file = ""
    for path, name in re.findall(r"`(tests/[a-z_/.]*)?(?:::([a-z0-9_]+))?`", page.read_text()):
        file = path or file
        if name:
            source = (ROOT / file).read_text()
            assert re.search(rf"^(?:async )?def {name}\(", source, re.MULTILINE), f"{file}::{name}"
        elif path:
            assert (ROOT / path).exists(), path
