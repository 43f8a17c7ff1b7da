"""What is stored of the judges that one answer was shown to."""

from __future__ import annotations

import pytest

from llm_canary.judging.grader import Result
from llm_canary.judging.judgement import Judgement, Status
from llm_canary.judging.rows import graded_row
from llm_canary.rubric.grades import Grade, Score
from llm_canary.rubric.sample import Sample
from llm_canary.storage.repositories.reported import joined, parted
from llm_canary.storage.repositories.samples import Claimed

CLAIMED = Claimed("s", "i", "helpful", "t", "token", 1)


def said(judge: str, model: str | None, status: Status = Status.OK) -> Judgement:
    return Judgement("i", judge, status, reported_model=model)


@pytest.mark.parametrize(
    ("judgements", "models"),
    [
        ([said("first", "small-1")], ("small-1", None)),
        ([said("first", "small-1"), said("second", "big-11")], ("small-1", "big-11")),
        (
            [said("first", "small-1"), said("second", "big-11", Status.PARSE_ERROR)],
            ("small-1", "big-11"),
        ),
        ([said("first", None), said("second", "big-11")], (None, "big-11")),
        ([said("first", None)], (None, None)),
        ([said("first", "odd\nname"), said("second", "big-11")], ("odd name", "big-11")),
    ],
)
def test_the_models_of_all_judges_that_were_asked_are_kept(judgements, models):
    sample = Sample("i", "p", "r")
    grades = {"helps": Grade("met", 1.0, True)}
    row = graded_row(CLAIMED, "both", Result(sample, grades, Score(1.0, True), tuple(judgements)))

    assert row.judgement["judge_id"] == "both"
    assert parted(row.judgement["reported_model"]) == models


@pytest.mark.parametrize(
    ("judgements", "failure"),
    [
        ([], None),
        ([said("first", None, Status.TIMEOUT)], Status.TIMEOUT),
        ([said("first", None, Status.TIMEOUT), said("second", None)], None),
        ([said("first", None), said("second", None, Status.REFUSED)], None),
        (
            [said("first", None, Status.TIMEOUT), said("second", None, Status.REFUSED)],
            Status.TIMEOUT,
        ),
    ],
)
def test_the_judges_fail_when_none_of_them_graded(judgements, failure):
    result = Result(Sample("i", "p", "r"), {}, Score(None, None), tuple(judgements))

    assert result.failure is failure


def test_one_model_is_kept_as_ever():
    assert joined("small-1", None) == "small-1"
    assert parted("small-1") == ("small-1", None)
    assert joined(None, None) is None
