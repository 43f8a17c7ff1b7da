"""Running a check: repeated and confirming attempts, and what must not be compared."""

from __future__ import annotations

import asyncio
import json

import pytest
from msgspec.structs import replace

from llm_canary.checks.candidate import Answer
from llm_canary.checks.comparison import Limits
from llm_canary.checks.dataset import Dataset
from llm_canary.checks.run import Request, run_check
from llm_canary.checks.verdict import CheckVerdict
from llm_canary.errors import ConfigError
from llm_canary.judging.build import Judges
from llm_canary.judging.replay import ReplayJudge
from llm_canary.rubric.load import parse_rubric

RUBRIC = parse_rubric(
    """\
schema: llm_canary.rubric/v1
id: r
version: 1
criteria: [{id: yes, kind: check, must_pass: true, check: {type: contains, texts: ["yes"]}}]
""".replace("id: yes", "id: said_yes")
)


class Scripted:
    """Answers by item and attempt; beyond the script the last answer is repeated."""

    name, model, is_live = "scripted", None, True

    def __init__(self, **script):
        self.script, self.asked = script, 0

    async def answer(self, item, repeat):
        self.asked += 1
        words = self.script.get(item.id, ["yes"])
        word = words[min(repeat, len(words) - 1)]
        return Answer(failure="down") if word is None else Answer(word)


@pytest.fixture
def request_of(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"id": f"q{n}", "prompt": "?"}) + "\n" for n in range(20)))

    def request_of(candidate, **more):
        return Request(RUBRIC, Dataset(path), candidate, Judges(None), Limits(max_drop=0.2), **more)

    return request_of


def run(request):
    return asyncio.run(run_check(request, 0.0))


@pytest.fixture
def baseline(request_of):
    return run(request_of(Scripted())).run


def test_what_passes_once_more_is_no_lost_must_pass_but_still_counts_as_failed(
    request_of, baseline
):
    report = run(request_of(Scripted(q3=["no", "no", "yes"]), baseline=baseline, confirm=2))

    assert report.finding.regressions == ()
    assert report.finding.lines[0].lost == 1
    assert report.run.outcomes[3].passed is False


def test_what_fails_each_time_is_held_and_named(request_of, baseline):
    candidate = Scripted(q3=["no"])
    report = run(request_of(candidate, baseline=baseline, confirm=3))

    assert report.finding.verdict is CheckVerdict.HOLD
    assert report.finding.regressions == ("q3",)
    assert candidate.asked == 23


def test_no_answer_clears_nothing(request_of, baseline):
    report = run(request_of(Scripted(q3=["no", None]), baseline=baseline, confirm=2))

    assert report.finding.regressions == ("q3",)


def test_of_several_attempts_the_majority_counts(request_of):
    report = run(request_of(Scripted(q1=["no", "no", "yes"], q2=["no", "yes", "yes"]), repeat=3))
    passed = {each.id: each.passed for each in report.run.outcomes}

    assert (passed["q1"], passed["q2"]) == (False, True)
    assert [each.id for each in report.run.outcomes] == [f"q{n}" for n in range(20)]


def test_a_baseline_of_another_judge_is_refused(request_of, baseline):
    judge = ReplayJudge("j", [{"id": "q0", "labels": {}}], RUBRIC)
    judge.version = replace(judge.version, kind="chat")
    request = request_of(Scripted(), baseline=baseline)._replace(judges=Judges(judge))

    with pytest.raises(ConfigError, match="another version of the judge"):
        run(request)
