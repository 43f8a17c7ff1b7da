"""The shipped plan, and evidence on which it promotes."""

from __future__ import annotations

import numpy as np
import pytest

from llm_canary.config.load import load
from tests.support.evidence import gather, respond
from tests.support.rollout_world import QUICK

DAY_S = 86_400.0


@pytest.fixture(scope="session")
def standard(tmp_path_factory):
    """The plan `standard`, as a rollout gets it from a file."""
    path = tmp_path_factory.mktemp("standard") / "canary.yaml"
    path.write_text(QUICK.replace("PLAN", "standard"))
    return load(path).rollouts["next"].plan


@pytest.fixture(scope="session")
def healthy(standard):
    """Evidence of its last measured stage on the third day: identical arms, all gates proven."""
    rng = np.random.default_rng(1)
    rows = []
    for k in range(4_500):
        for canary in (False, True):
            cost = int(400_000 * rng.lognormal(0.0, 0.3))
            facts = respond(
                bad=k % 1_000 == 0,
                rated=None if k % 2 else k % 10 > 0,
                latency_ms=float(800.0 * rng.lognormal(0.0, 0.5)),
                cost_nanousd=cost,
                uncached_cost_nanousd=cost,
                refusal=False,
            )
            rows.append((f"{canary}-{k}", canary, facts, {"tier": "free" if k % 3 else "paid"}))
    return gather(standard, rows, stage="broad", age_s=3.0 * DAY_S, segments=("tier",))
