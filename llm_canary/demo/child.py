"""A process that the demonstration starts, waits for, and always ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from llm_canary.errors import LlmCanaryError

_END_S = 15.0
_POLL_S = 0.05
_LOG_LINES = 12


class DemoError(LlmCanaryError):
    """The demonstration cannot go on."""

    code = "demo_failed"


class Child:
    """`python -m MODULE ARGUMENTS` with its output in a log file."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self, *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the process; its standard input stays open for as long as this process lives."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, "-m", *arguments],
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                # Ctrl-C reaches the demonstration alone, which then ends its children in order.
                start_new_session=True,
            )

    def wait_until(self, is_ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `is_ready`; raise DemoError with the end of the log when it never is."""
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            self.require_alive()
            if time.monotonic() > deadline:
                raise DemoError(f"{self.name} is not ready after {timeout_s:.0f} s{self._said()}")
            time.sleep(_POLL_S)

    def require_alive(self) -> None:
        """Raise DemoError when the process has ended by itself."""
        code = self._process.poll() if self._process is not None else None
        if code is not None:
            raise DemoError(f"{self.name} ended with exit code {code}{self._said()}")

    def stop(self) -> None:
        """End the process: by a request first, by force after a while."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _said(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = "\n".join(f"  {line}" for line in lines[-_LOG_LINES:])
        return f"; its log {self.log}{' ends so:' if last else ' is empty'}\n{last}".rstrip()


def answers(url: str) -> bool:
    """Say whether GET `url` on this machine answers 200."""
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
