"""Does the interval of a rubric's difference hold what people would say, whatever the judge does?

The rollouts are those of tests/support/graded_rollouts.py: real answers, real labels, a recorded
judge, and the shipped code from the reviews to the interval that the gate decides on.
"""

from __future__ import annotations

from math import sqrt
from statistics import fmean, stdev
from typing import Any

import pytest

from tests.support.graded_rollouts import LAWS, answers, simulated

BAR = 0.935  # of a nominal 95 %
SHORT, FULL = 40, 2_000
LONGER = {"by_arm_untuned": 200}  # where one reply rate of both arms would be seen
LLAMA, BLOOM, OPT = "llama-7b", "bloom-7b", "opt-7b"
GPT, PANDALM = "gpt-3.5-turbo", "pandalm-7b"
CASES = [
    *((law, PANDALM, LLAMA, BLOOM) for law in LAWS),
    *((law, PANDALM, LLAMA, LLAMA) for law in ("steady", "unfair_by_arm")),
    ("steady", GPT, LLAMA, BLOOM),
    ("steady", PANDALM, OPT, LLAMA),
]


@pytest.mark.parametrize(("law", "judge", "control", "canary"), CASES)
def test_the_corrected_difference_covers_what_people_say(
    law: str, judge: str, control: str, canary: str, length: Any, seed: int, record: Any
) -> None:
    known, n = answers(judge), length(LONGER.get(law, SHORT), FULL)
    lived = [simulated(known[control], known[canary], LAWS[law], seed + k) for k in range(n)]
    found = [each for each in lived if each is not None]
    ours, judge_only, every_look, width, scored = (
        fmean(float(getattr(each, name)) for each in found)
        for name in ("holds", "judge_holds", "always", "width", "scored")
    )
    truth = float(known[control].human.mean() - known[canary].human.mean())
    differences = [each.difference for each in found]
    error = fmean(differences) - truth
    record(
        runs=n, waits=n - len(found), ours=ours, judge=judge_only, every_look=every_look,
        width=width, scored=scored, error=error, truth=truth,
    )  # fmt: skip

    slack = 3.0 * sqrt(BAR * (1.0 - BAR) / len(found)) if n < FULL else 0.0  # of few runs
    assert ours >= BAR - slack
    assert every_look >= BAR - slack
    assert abs(error) <= 3.5 * stdev(differences) / sqrt(len(found))
    assert len(found) >= 0.8 * n
    if law in {"unfair", "unfair_by_arm"} and n >= FULL:
        assert judge_only <= 0.7  # which is why people are asked
