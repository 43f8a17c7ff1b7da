"""Starts the real server as its user would: `python -m llm_canary serve` in a directory of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.support import leaks


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RunningServer:
    """A server process; use as a context manager, or `start`, `kill` and `start` again on the same data."""

    def __init__(
        self,
        directory: Path,
        config: str,
        *arguments: str,
        database_url: str | None = None,
        ready: str = "/readyz",
        **environment: str,
    ) -> None:
        self.directory = directory
        self.config_path = directory / "canary.yaml"
        self.config_path.write_text(config)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database_url = database_url or f"sqlite:///{directory / 'llm_canary.db'}"
        self._arguments = arguments
        self._ready = ready
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        leaks.remember(environment, self.database_url)

    @property
    def environment(self) -> dict[str, str]:
        return (
            {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
            | {
                "LLM_CANARY_CONFIG": str(self.config_path),
                "LLM_CANARY_DATABASE_URL": self.database_url,
                "LLM_CANARY_DATA_DIR": str(self.directory / "data"),
                "LLM_CANARY_URL": self.url,
            }
            | self._environment
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        return (self.directory / "server.log").read_text()

    def start(self) -> None:
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "llm_canary",
                    "serve",
                    "--port",
                    str(self.port),
                    *self._arguments,
                ],
                cwd=self.directory,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        with httpx.Client(base_url=self.url, timeout=1) as client:  # to make one takes 20 ms
            while time.monotonic() < deadline:
                assert self._process.poll() is None, self.log()
                try:
                    if client.get(self._ready).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
        self.kill()
        raise AssertionError("not ready within 60 s:\n" + self.log())

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def __enter__(self) -> RunningServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def cli(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "llm_canary", *arguments],
            cwd=self.directory,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
