"""Does the interval of a rubric's difference hold what people would say, whatever the judge does?

Simulated rollouts whose answers are real: each response of an arm is one of a model's answers to
PandaLM's test set, with the points that people gave it (won 1, tie 1/2, lost 0) and those of a
recorded judge, whose error differs by model.
"""

from __future__ import annotations

import json
from collections import defaultdict
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from llm_canary.sampling import EVEN
from llm_canary.stats.aipw import fit, pseudo_outcome
from llm_canary.stats.cuped import CrossMoments
from llm_canary.stats.score import ScoreState, UnitRow, update, variance

DATA = Path(__file__).parents[1] / "data" / "human-labels" / "pandalm_pairwise.jsonl"
ROLLOUTS = 2_000
JUDGED = 300  # of each arm
REVIEW_RATE, REPLY_RATE = 0.25, 0.8
EARLIER_LABELS = 100
POINTS = {"A": (1.0, 0.0), "B": (0.0, 1.0), "tie": (0.5, 0.5)}


class Graded(NamedTuple):
    """Points of a model's answers: by people and by the judge."""

    human: np.ndarray
    judge: np.ndarray


def answers(judge: str) -> dict[str, Graded]:
    human: dict[str, list[float]] = defaultdict(list)
    judged: dict[str, list[float]] = defaultdict(list)
    for line in DATA.read_text().splitlines():
        row = json.loads(line)
        verdicts = {each["judge"]: each["verdict"] for each in row["recorded_judges"]}
        verdict = verdicts.get(judge)
        if verdict not in POINTS:
            continue
        votes = [POINTS[each["label"]] for each in row["human"]]
        for side, name in enumerate("AB"):
            model = row["models"][name]
            human[model].append(float(np.mean([vote[side] for vote in votes])))
            judged[model].append(POINTS[verdict][side])
    return {model: Graded(np.array(human[model]), np.array(judged[model])) for model in human}


def covers(state: ScoreState, truth: float) -> bool:
    difference = state.s / state.i
    error = sqrt(variance(state, difference, noninferiority=False, binary=False)) / state.i
    return bool(abs(difference - truth) <= 1.96 * error)


def simulated(control: Graded, canary: Graded, seed: int) -> tuple[bool, bool]:
    """Whether the corrected interval, and the judge's own, hold the difference of people's points."""
    rng = np.random.default_rng(seed)
    moments = CrossMoments()
    for arm in (control, canary):
        for k in rng.integers(len(arm.human), size=EARLIER_LABELS // 2):
            moments = moments.plus(float(arm.judge[k]), float(arm.human[k]))
    regression = fit(moments, centre=0.5)
    drawn = [
        (is_canary, float(arm.judge[k]), float(arm.human[k]), asked < REVIEW_RATE, reply)
        for is_canary, arm in ((False, control), (True, canary))
        for k, asked, reply in zip(
            rng.integers(len(arm.human), size=JUDGED),
            rng.random(JUDGED),
            rng.random(JUDGED) < REPLY_RATE,
            strict=True,
        )
    ]
    asked = sum(each[3] for each in drawn)
    reply_rate = sum(each[3] and each[4] for each in drawn) / asked
    ours, judge_only = ScoreState(), ScoreState()
    for is_canary, judge, human, is_asked, replies in drawn:
        score = pseudo_outcome(
            regression,
            judge=judge,
            human=human if is_asked and replies else None,
            probability=REVIEW_RATE * reply_rate,
        )
        for state, value in ((ours, score), (judge_only, judge)):
            update(
                state, UnitRow(), canary=is_canary, share=EVEN, value=1.0 - value, centre=0.5,
                binary=False,
            )  # fmt: skip
    truth = float(control.human.mean() - canary.human.mean())
    return covers(ours, truth), covers(judge_only, truth)


@pytest.mark.parametrize("judge", ["gpt-3.5-turbo", "pandalm-7b"])
@pytest.mark.parametrize(("control", "canary"), [("llama-7b", "bloom-7b"), ("opt-7b", "llama-7b")])
def test_the_corrected_difference_covers_what_people_say(
    judge: str, control: str, canary: str
) -> None:
    known = answers(judge)
    found = [simulated(known[control], known[canary], seed) for seed in range(ROLLOUTS)]
    ours = sum(each[0] for each in found) / ROLLOUTS
    judge_only = sum(each[1] for each in found) / ROLLOUTS
    assert ours >= 0.935
    if judge == "pandalm-7b":
        assert judge_only <= 0.7  # which is why people are asked
