"""The share of passes as people would see it: which correction is used, and that it is right."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from llm_canary.checks.candidate import Recorded
from llm_canary.checks.comparison import Limits
from llm_canary.checks.dataset import Dataset
from llm_canary.checks.run import Request, run_check
from llm_canary.judging.build import Judges
from llm_canary.judging.labels import read_labels
from llm_canary.judging.replay import ReplayJudge, response_hash
from llm_canary.rubric.load import parse_rubric

RUBRIC = parse_rubric("""\
schema: llm_canary.rubric/v1
id: r
version: 1
criteria: [{id: good, kind: binary, requirement: x}]
trust: {min_labels: 50}
""")
ITEMS, TRUE_SHARE = 2000, 0.7


@pytest.fixture
def world(tmp_path):
    """Answers of which 70 % are good; the judge fails a fifth of the good ones and passes a tenth
    of the poor, so that its own share is 0.59."""
    draw = random.Random(5)

    def judged(good: bool) -> bool:
        return draw.random() >= 0.2 if good else draw.random() < 0.1

    rows, verdicts, truth = [], [], {}
    for n in range(ITEMS + 400):
        name, good = f"q{n}", draw.random() < TRUE_SHARE
        response = f"{n}"
        rows.append({"id": name, "prompt": "?", "response": response})
        truth[name] = good
        label = {"good": "met" if judged(good) else "unmet"}
        verdicts.append({"id": name, "response_sha256": response_hash(response), "labels": label})
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:ITEMS]))

    def run(labelled):
        people = [
            rows[n]
            | {"human": [{"rater": "a", "labels": {"good": "met" if truth[f"q{n}"] else "unmet"}}]}
            for n in labelled
        ]
        file = tmp_path / "labels.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in people))
        request = Request(
            RUBRIC,
            Dataset(path),
            Recorded(None),
            Judges(ReplayJudge("j", verdicts, RUBRIC)),
            Limits(),
            read_labels(file, RUBRIC),
        )
        return asyncio.run(run_check(request, 0.0)).finding.lines[0]

    return run


def test_labels_of_the_same_answers_correct_by_ppi(world):
    found = world(range(300))

    assert found.raw.mean == pytest.approx(0.59, abs=0.03)
    assert found.raw.upper < TRUE_SHARE
    assert found.corrected.lower < TRUE_SHARE < found.corrected.upper
    assert found.human.n == 300
    width = found.corrected.upper - found.corrected.lower
    assert width < 0.9 * (found.human.upper - found.human.lower)


def test_labels_of_other_answers_correct_by_sensitivity_and_specificity(world):
    found = world(range(ITEMS, ITEMS + 400))

    assert found.human is None
    assert found.corrected.lower < TRUE_SHARE < found.corrected.upper
    assert found.corrected.upper - found.corrected.lower > found.raw.upper - found.raw.lower


def test_a_few_labels_of_the_same_answers_are_not_enough_for_ppi(world):
    found = world([*range(20), *range(ITEMS, ITEMS + 400)])

    assert found.human.n == 20
    assert found.corrected.lower < TRUE_SHARE < found.corrected.upper


def test_where_people_graded_everything_they_decide(world):
    found = world(range(ITEMS))

    assert found.corrected == found.human
    assert found.corrected.mean == pytest.approx(TRUE_SHARE, abs=0.03)
