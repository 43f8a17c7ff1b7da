"""`llm-canary simulate --gateway`: the rehearsal through a gateway of its own. The upstream is simulated."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def simulate(*arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "llm_canary", "simulate", "--gateway", "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_a_worse_canary_is_rolled_back_after_few_users() -> None:
    found = simulate("--worse", "error_rate=+30pp")

    assert found["end"] == "rolled_back"
    assert 0 < found["canary_users"] < 300


@pytest.mark.slow
def test_an_identical_canary_is_promoted() -> None:
    assert simulate()["end"] == "promoted"
