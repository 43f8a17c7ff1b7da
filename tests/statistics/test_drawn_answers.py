"""Equal arms of which as many answers are drawn, at a small share: no false alarm, no bias."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest

from llm_canary.metrics.freeze import Rule, StageMargin, freeze
from llm_canary.metrics.graded import rubric_metrics
from llm_canary.sampling import EVEN, draw, rates
from llm_canary.stats.mixture import log_e_three
from llm_canary.stats.score import ScoreState, UnitRow, update, variance

ROLLOUTS = 600
UNITS, SHARE, CHANCE = 2_000, 0.05, 0.8
ALPHA = 0.05


def rollout(seed: int, share: float, effect: float = 0.0) -> tuple[float, float, bool]:
    """The difference found, its standardised value, and whether harm was ever alarmed about."""
    rng = np.random.default_rng(seed)
    spec = rubric_metrics("r", 1.0)[0]
    rule = Rule(stages={"broad": StageMargin(0.1, relative=False)}, alpha_harm=ALPHA)
    v0 = freeze(spec, rule, ()).v0_harm
    state, highest, alarmed = ScoreState(), 0.0, False
    by_arm = rates(CHANCE, share)
    for unit in range(UNITS):
        canary = bool(rng.random() < share)
        row, level = UnitRow(), rng.normal(0.0, 0.15)  # users differ, and come again
        for visit in range(int(rng.integers(1, 5))):
            name = f"{seed}/{unit}/{visit}"
            if draw(name, "salt", by_arm[canary]) is None:
                continue
            value = float(np.clip(0.25 + level + rng.normal(0.0, 0.2) + effect * canary, -1.0, 2.0))
            # The centre is wrong: it is the prior, and nobody has corrected it yet.
            update(state, row, canary=canary, share=EVEN, value=value, centre=0.4, binary=False)
        if unit % 50 == 49:
            highest = max(highest, variance(state, 0.0, noninferiority=False, binary=False))
            alarmed |= log_e_three(state.s, highest, v0) >= -log(ALPHA)
    v = variance(state, 0.0, noninferiority=False, binary=False)
    return state.s / state.i, state.s / sqrt(v), alarmed


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_equal_arms_are_not_called_different_however_often_one_looks(share: float) -> None:
    found = [rollout(seed, share) for seed in range(ROLLOUTS // (1 if share < 0.1 else 3))]
    differences, scores, alarms = (np.array(each, dtype=float) for each in zip(*found, strict=True))

    assert abs(differences.mean()) <= 3.5 * differences.std() / sqrt(len(found))
    assert scores.std() <= 1.1
    assert alarms.mean() <= ALPHA + 2.5 * sqrt(ALPHA * (1 - ALPHA) / len(found))


def test_a_real_difference_is_found_in_its_size() -> None:
    found = np.array([rollout(seed, SHARE, effect=0.1)[0] for seed in range(120)])

    assert found.mean() == pytest.approx(0.1, abs=0.012)
