"""The built wheel, in an empty environment, is the whole product."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.load import chat
from tests.support.server import free_port
from tests.support.upstream import SimulatedUpstream

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_in_an_empty_environment_answers_help_init_serve_and_a_request(
    tmp_path: Path,
) -> None:
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("LLM_CANARY", "PYTHON"))
    }

    def run(*command: str | Path, cwd: Path = tmp_path) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    checkout = tmp_path / "source"
    shutil.copytree(
        ROOT,
        checkout,
        ignore=shutil.ignore_patterns(".*", "__pycache__"),  # where other tests may be at work
    )
    run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        tmp_path / "dist",
        checkout,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run(
        sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"
    )
    python = tmp_path / "venv/bin/python"
    install = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python)
    run(*install, "--require-hashes", "--requirement", checkout / "requirements/runtime.txt")
    run(*install, "--no-deps", wheel)
    shutil.rmtree(checkout)
    command = tmp_path / "venv/bin/llm-canary"
    app = tmp_path / "app"
    app.mkdir()

    assert "serve" in run(command, "--help", cwd=app)
    run(command, "init", cwd=app)
    assert "verdict\tpass" in run(command, "check", "assistant", cwd=app)
    assert "0 findings" in run(command, "rubric", "lint", "helpfulness", cwd=app)
    with SimulatedUpstream() as upstream:
        environment["OPENAI_API_KEY"] = "sk-test"
        file = app / "canary.yaml"
        text = file.read_text()
        file.write_text(text.replace("https://api.openai.com/v1", upstream.base_url))
        port = free_port()
        process = subprocess.Popen(
            [command, "serve", "--port", str(port)], cwd=app, env=environment
        )
        try:
            deadline = time.monotonic() + 60
            while True:
                assert process.poll() is None
                assert time.monotonic() < deadline
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            models = httpx.get(f"http://127.0.0.1:{port}/v1/models").json()["data"]
            answer = httpx.post(
                f"http://127.0.0.1:{port}/v1/chat/completions", json=chat(models[0]["id"])
            )
            page = httpx.get(f"http://127.0.0.1:{port}/")
        finally:
            process.terminate()
            process.wait(30)

    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]
    assert page.status_code == 200
    assert (app / "llm_canary.db").is_file()
