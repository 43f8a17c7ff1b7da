"""The OpenAI SDK's own tests, directly against a mock of OpenAI's API and through the gateway.

    python -m tests.conformance.openai_sdk [--mode direct --mode relayed --mode rollout] [--json]

The SDK's source distribution has tests of every endpoint, made from OpenAI's API description; the
mock (`@stdy/cli`) checks every request against the same description and answers by it. What passes
directly must pass through the gateway: `relayed` by a default upstream, and `rollout` by routes of
the tests' model names, each with a canary at 50 %. Every request that reached the mock must be a row.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import re
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.conformance.workshop import (
    ROOT,
    WORKSHOP,
    CannotBeMade,
    environment,
    node_with,
    python_with,
    run,
)
from tests.support.server import RunningServer, free_port

SDK = "openai==3.3.1"
SDK_SHA256 = "6f22807de1a976c932cecda620e8172a8c3fdbaeed29c7f21564e0c2410edf56"
MOCK = "@stdy/cli@0.22.2"
REQUIREMENTS = ROOT / "requirements" / "conformance.txt"
DESCRIPTION = ROOT / "tests" / "data" / "openapi" / "openai.json.xz"
TESTS = (
    "chat",
    "responses",
    "test_completions.py",
    "test_embeddings.py",
    "test_models.py",
    "test_responses.py",
)
# The model names of those tests.
MODELS = (
    "gpt-3.5-turbo-instruct",
    "gpt-4o",
    "gpt-5.1",
    "gpt-5.4",
    "gpt-5.6-sol",
    "text-embedding-3-small",
)
MODES = ("direct", "relayed", "rollout")
# One line a request: without the option, the mock writes a summary instead where CI=true.
_LOG_FORMAT = "--log-format=text"
_BRACKETS = [
    f"--validator-{where}-{kind}-format=brackets"
    for where in ("query", "form")
    for kind in ("array", "object")
]
_REQUEST = re.compile(r"^\[[^]]*\] (?:GET|POST|PUT|PATCH|DELETE) ", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """How the SDK's tests went in one mode."""

    mode: str
    passed: int
    failed: int
    failures: tuple[str, ...]
    requests: int  # that reached the mock
    rows: int | None  # that the gateway logged; None: there was no gateway
    arms: dict[str, int]  # rows of the requests that a rollout assigned


def main() -> int:
    """Run the modes that are asked for; exit with 1 unless they all agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mode", action="append", choices=MODES, help="default: all of them")
    parser.add_argument("--json", action="store_true", help="print outcomes as JSON")
    asked = parser.parse_args()
    try:
        outcomes = run_modes(tuple(asked.mode or MODES))
    except CannotBeMade as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    if asked.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    else:
        print(f"{'mode':9} {'passed':>7} {'failed':>7} {'requests':>9} {'rows':>6}  arms")
        for each in outcomes:
            rows = "-" if each.rows is None else str(each.rows)
            arms = ", ".join(f"{arm} {count}" for arm, count in sorted(each.arms.items()))
            print(
                f"{each.mode:9} {each.passed:7} {each.failed:7} {each.requests:9} {rows:>6}  {arms}"
            )
            for failure in each.failures[:20]:
                print(f"  failed: {failure}")
    good = all(not each.failed and each.rows in (None, each.requests) for each in outcomes)
    return 0 if good else 1


def run_modes(modes: tuple[str, ...]) -> list[Outcome]:
    """Run the SDK's tests in each mode; raise CannotBeMade for what is missing."""
    python = python_with("openai-sdk", "--require-hashes", "-r", str(REQUIREMENTS))
    source = _sdk_source(python)
    outcomes = []
    with _mock() as (url, log):
        for mode in modes:
            before = _requests(log)
            with tempfile.TemporaryDirectory() as folder:
                directory = Path(folder)
                if mode == "direct":
                    passed, failures = _run_tests(python, source, url, directory)
                    rows, arms = None, {}
                else:
                    with RunningServer(directory, _config(mode, url)) as server:
                        _start_rollouts(server, mode)
                        passed, failures = _run_tests(python, source, f"{server.url}/v1", directory)
                    rows, arms = _rows(directory / "llm_canary.db")
            requests = _requests(log) - before
            outcomes.append(
                Outcome(mode, passed, len(failures), tuple(failures), requests, rows, arms)
            )
    return outcomes


def _sdk_source(python: Path) -> Path:
    """Return the unpacked source distribution."""
    home = WORKSHOP / "openai-sdk-source"
    name = SDK.replace("==", "-")
    archive, source = home / f"{name}.tar.gz", home / name
    if not archive.exists():
        run(str(python), "-m", "pip", "download", "--quiet", "--no-deps",
            "--no-binary", "openai", "--dest", str(home), SDK)  # fmt: skip
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SDK_SHA256:
        raise CannotBeMade(f"{archive} is not the {SDK} that this was written for")
    if not source.exists():
        with tarfile.open(archive) as packed:
            # Python before 3.11.4 has no filters; the digest says what is in the archive.
            safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            packed.extractall(home, **safe)
    return source


@contextmanager
def _mock() -> Iterator[tuple[str, Path]]:
    """Run the mock; yield its address and its log."""
    home = node_with("openai-mock", MOCK)
    description = home / "openai.json"
    description.write_bytes(lzma.decompress(DESCRIPTION.read_bytes()))
    log, port = home / "mock.log", free_port()
    url = f"http://127.0.0.1:{port}"
    command = ["node", "node_modules/.bin/steady", "--host", "127.0.0.1", "-p", str(port)]
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [*command, _LOG_FORMAT, *_BRACKETS, str(description)],
            cwd=home,
            env=environment(),
            stdout=out,
            stderr=out,
        ) as process,
    ):
        try:
            _wait_for(f"{url}/_x-steady/health", process, log)
            yield url, log
        finally:
            process.terminate()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise CannotBeMade(f"the mock did not start: {log.read_text()[-400:]}")


def _requests(log: Path) -> int:
    return len(_REQUEST.findall(log.read_text()))


def _config(mode: str, url: str) -> str:
    """Return a file of only a default upstream, or with routes and rollouts for the models."""
    lines = [
        "version: 1",
        "upstreams:",
        f'  mock: {{kind: openai, base_url: "{url}"}}',
        "default_upstream: mock",
    ]
    if mode == "relayed":
        return "\n".join(lines)
    lines.append("routes:")
    lines += [f'  "{name}": {{control: {{upstream: mock, model: "{name}"}}}}' for name in MODELS]
    lines.append("rollouts:")
    for number, name in enumerate(MODELS):
        canary = f'{{upstream: mock, model: "{name}"}}'
        lines.append(f'  half-{number}: {{route: "{name}", plan: half, canary: {canary}}}')
    stages = "[{name: broad, share: 50%, min: 24h, max: 72h}, {name: full}]"
    lines += ["plans:", f"  half: {{extends: standard, stages: {stages}}}"]
    return "\n".join(lines)


def _start_rollouts(server: RunningServer, mode: str) -> None:
    if mode != "rollout":
        return
    for number in range(len(MODELS)):
        started = server.cli("rollout", "start", f"half-{number}")
        assert started.returncode == 0, started.stderr
    time.sleep(1)  # until the gateway has the table with the last of them


def _run_tests(python: Path, source: Path, url: str, directory: Path) -> tuple[int, list[str]]:
    """Return how many tests passed, and the names of those that did not."""
    report = directory / "report.xml"
    subprocess.run(
        [
            str(python),
            *("-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"),
            f"--junitxml={report}",
            *(f"tests/api_resources/{name}" for name in TESTS),
        ],
        cwd=source,
        env=environment(TEST_API_BASE_URL=url),
        capture_output=True,
        check=False,
        timeout=600,
    )
    if not report.exists():
        raise CannotBeMade("pytest of the SDK's tests did not come to its end")
    cases = list(ET.parse(report).iter("testcase"))
    skipped = [case for case in cases if case.find("skipped") is not None]
    failures = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return len(cases) - len(failures) - len(skipped), failures


def _rows(database: Path) -> tuple[int, dict[str, int]]:
    """Count what the stopped server has logged, and the arms of what a rollout assigned."""
    connection = sqlite3.connect(database)
    try:
        (rows,) = connection.execute("SELECT count(*) FROM inference").fetchone()
        arms = connection.execute(
            "SELECT assigned, count(*) FROM inference WHERE rollout_id IS NOT NULL GROUP BY 1"
        ).fetchall()
    finally:
        connection.close()
    return rows, dict(arms)


if __name__ == "__main__":
    sys.exit(main())
