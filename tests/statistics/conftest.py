"""Short simulations in every test run; full ones (marker `simulation`) on request.

`LLM_CANARY_SIMULATION_SEED` replaces the seed, `LLM_CANARY_SIMULATION_PART` takes that fraction of
the full runs, `LLM_CANARY_SIMULATION_FIGURES` names a file to which each test appends what it
measured as one line of JSON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


@pytest.fixture(
    params=[
        "short",
        pytest.param("full", marks=[pytest.mark.simulation, pytest.mark.timeout(7200)]),
    ]
)
def length(request):
    """Choose the number of runs: `length(short, full)`."""
    part = float(os.environ.get("LLM_CANARY_SIMULATION_PART", "1"))
    is_short = request.param == "short"
    return lambda short, full=10_000: short if is_short else max(round(full * part), short)


@pytest.fixture
def seed():
    """Return the seed of all simulations."""
    return int(os.environ.get("LLM_CANARY_SIMULATION_SEED", "20261123"))


@pytest.fixture
def record(request, seed):
    """Write the measured figures down."""

    def write(**figures):
        path = os.environ.get("LLM_CANARY_SIMULATION_FIGURES")
        if path:
            line = {
                "test": request.node.name,
                "file": request.node.path.name,
                "seed": seed,
                **figures,
            }
            with Path(path).open("a", encoding="utf-8") as out:
                out.write(json.dumps(line, default=float) + "\n")

    return write
