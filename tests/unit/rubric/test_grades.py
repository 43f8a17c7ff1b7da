"""Grades and scores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.errors import DataError
from llm_canary.rubric.grades import Grade, NotGraded, Why, grade, score
from llm_canary.rubric.load import parse_rubric

RUBRIC = parse_rubric("""\
schema: llm_canary.rubric/v1
id: r
version: 1
scoring: {pass_threshold: 0.7}
criteria:
  - {id: must, kind: binary, requirement: x, weight: 3, must_pass: true}
  - {id: fault, kind: binary, requirement: x, weight: -2, polarity: negative}
  - id: level
    kind: ordinal
    requirement: x
    weight: 2
    levels:
      - {value: 0, label: low, anchor: a}
      - {value: 1, label: mid, anchor: a}
      - {value: 4, label: high, anchor: a}
  - id: tone
    kind: choice
    requirement: x
    options: [{label: warm, grade: 1, anchor: a}, {label: cold, grade: 0.25, anchor: a}]
""").rubric
BY_ID = {each.id: each for each in RUBRIC.criteria}


def graded(**labels):
    return {
        name: label if isinstance(label, NotGraded) else grade(BY_ID[name], label)
        for name, label in labels.items()
    }


BEST = {"must": "met", "fault": "unmet", "level": 4, "tone": "warm"}


@pytest.mark.parametrize(
    ("name", "label", "value", "passed"),
    [
        ("must", "met", 1.0, True),
        ("must", False, 0.0, False),
        ("must", 1, 1.0, True),
        ("fault", "met", 1.0, False),
        ("fault", "unmet", 0.0, True),
        ("level", 1, 0.25, False),
        ("level", "high", 1.0, True),
        ("level", "4", 1.0, True),
        ("tone", "cold", 0.25, False),
    ],
)
def test_a_label_is_worth(name, label, value, passed):
    found = grade(BY_ID[name], label)

    assert (found.value, found.passed) == (value, passed)


@pytest.mark.parametrize(
    ("name", "label"),
    [("must", "maybe"), ("must", 2), ("must", "yes"), ("level", 3), ("level", True), ("level", "top"), ("tone", "hot")],
)  # fmt: skip
def test_what_is_no_label_is_refused(name, label):
    with pytest.raises(DataError):
        grade(BY_ID[name], label)


@pytest.mark.parametrize(
    ("labels", "value", "passed"),
    [
        (BEST, 1.0, True),
        (BEST | {"fault": "met"}, (6 - 2) / 6, False),
        (BEST | {"level": 0}, 4 / 6, False),
        (BEST | {"tone": "cold"}, 5.25 / 6, True),
        (BEST | {"must": "unmet"}, 3 / 6, False),
        ({"must": "unmet", "fault": "met", "level": 0, "tone": "cold"}, 0.0, False),
    ],
)
def test_the_score_is_the_weighted_mean(labels, value, passed):
    found = score(RUBRIC, graded(**labels))

    assert found.value == pytest.approx(value)
    assert found.passed is passed


def test_a_failed_must_fails_whatever_the_score():
    light = RUBRIC.model_copy(
        update={"scoring": RUBRIC.scoring.model_copy(update={"pass_threshold": 0.1})}
    )
    found = score(light, graded(**(BEST | {"must": "unmet"})))

    assert found.value >= 0.1
    assert found.passed is False
    assert found.must_pass_failed == ("must",)


@pytest.mark.parametrize("why", [Why.NOT_APPLICABLE, Why.CANNOT_ASSESS, Why.NO_EVIDENCE])
def test_what_has_no_grade_is_left_out_not_zero(why):
    found = score(RUBRIC, graded(**(BEST | {"level": NotGraded(why)})))

    assert found.value == 1.0
    assert found.not_graded == {"level": why}


def test_cannot_assess_can_be_asked_to_fail():
    strict = RUBRIC.model_copy(
        update={"scoring": RUBRIC.scoring.model_copy(update={"cannot_assess": "fail"})}
    )
    found = score(strict, graded(**(BEST | {"must": NotGraded(Why.CANNOT_ASSESS)})))

    assert found.value == pytest.approx(0.5)
    assert found.must_pass_failed == ("must",)


def test_a_failure_of_the_judge_is_no_score():
    assert score(RUBRIC, graded(**(BEST | {"level": NotGraded(Why.FAILED)}))).value is None
    assert score(RUBRIC, {}).passed is None


def test_where_only_faults_apply_none_of_them_is_best():
    nothing = {name: NotGraded(Why.NOT_APPLICABLE) for name in ("must", "level", "tone")}

    assert score(RUBRIC, nothing | graded(fault="unmet")).value == 1.0
    assert score(RUBRIC, nothing | graded(fault="met")).value == 0.0


@given(
    must=st.booleans(),
    fault=st.booleans(),
    level=st.sampled_from([0, 1, 4]),
    tone=st.sampled_from(["warm", "cold"]),
)
def test_scores_lie_between_0_and_1_and_rise_with_each_grade(must, fault, level, tone):
    labels = {"must": must, "fault": fault, "level": level, "tone": tone}
    found = score(RUBRIC, graded(**labels))
    better = score(RUBRIC, graded(**(labels | {"fault": False, "level": 4})))

    assert 0.0 <= found.value <= better.value <= 1.0
    assert isinstance(grade(BY_ID["must"], must), Grade)
