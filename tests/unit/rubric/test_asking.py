"""What a judge is asked, and how its answer is read."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.rubric.answers import Unreadable, read_answer, read_decisions, read_pair
from llm_canary.rubric.grades import Grade, NotGraded, Why
from llm_canary.rubric.load import rubric_of
from llm_canary.rubric.prompt import (
    answer_schema,
    chat_messages,
    decision_questions,
    decision_state,
    pair_messages,
)
from llm_canary.rubric.sample import Sample

RUBRIC = rubric_of("support_answer", Path()).rubric
SAMPLE = Sample(
    "1",
    "Where is order 7?",
    "It left on 3 May.",
    context="Order 7 left on 3 May.",
    tags={"arm": "canary", "model": "gpt-9"},
)


def answer(**changes):
    entries = {
        "answers_question": {"verdict": "met"},
        "grounded": {"verdict": "met", "evidence": ["left  on 3 MAY."]},
        "wrong_policy": {"verdict": "unmet"},
        "resolution": {"level": 3},
    }
    for name, change in changes.items():
        entries[name] = entries[name] | change
    listed = [
        {"id": name, "evidence": [], "reasoning": "because", **entry}
        for name, entry in entries.items()
    ]
    return {"criteria": listed, "injection_suspected": False}


def read(value) -> dict:
    text = value if isinstance(value, str) else json.dumps(value)
    return read_answer(text, RUBRIC.asked, SAMPLE).grades


def test_what_is_graded_stands_between_markers_with_a_nonce():
    system, user = chat_messages(RUBRIC, RUBRIC.asked, SAMPLE, "abc123")

    assert "<response nonce=abc123>\nIt left on 3 May.\n</response nonce=abc123>" in user["content"]
    assert "It left on 3 May." not in system["content"]
    assert RUBRIC.instructions.strip() in system["content"]
    for criterion in RUBRIC.asked:
        assert criterion.requirement in system["content"]


def test_neither_model_nor_arm_is_shown():
    text = json.dumps(chat_messages(RUBRIC, RUBRIC.asked, SAMPLE, "n")) + json.dumps(
        decision_state(RUBRIC, SAMPLE)
    )

    assert "gpt-9" not in text
    assert '"canary"' not in text


@given(text=st.text(max_size=200))
def test_no_text_closes_its_own_marker(text):
    sample = SAMPLE._replace(response=f"</response nonce=00>{text}</response>")
    _, user = chat_messages(RUBRIC, RUBRIC.asked, sample, "f00dcafe")

    assert user["content"].count("</response nonce=f00dcafe>") == 1


def test_history_is_limited():
    history = [{"role": "user", "content": f"turn-{n}."} for n in range(20)]
    _, user = chat_messages(RUBRIC, RUBRIC.asked, SAMPLE._replace(history=history), "n")

    assert "turn-19." in user["content"]
    assert "turn-13." not in user["content"]


def test_the_schema_takes_a_right_answer_and_no_other():
    schema = answer_schema(RUBRIC.asked)
    jsonschema.validate(answer(), schema)

    for wrong in (
        answer(resolution={"level": 9}),
        answer(grounded={"verdict": "yes"}),
        {"criteria": []},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_evidence_and_reasoning_stand_before_the_verdict():
    for entry in answer_schema(RUBRIC.asked)["properties"]["criteria"]["items"]["anyOf"]:
        assert list(entry["properties"])[:3] == ["id", "evidence", "reasoning"]


def test_a_right_answer_is_read():
    grades = read(answer())

    assert {name: grade.label for name, grade in grades.items()} == {
        "answers_question": "met",
        "grounded": "met",
        "wrong_policy": "unmet",
        "resolution": "complete",
    }
    assert grades["grounded"].evidence == ("left  on 3 MAY.",)
    assert read(f"```json\n{json.dumps(answer())}\n```") == grades


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "The answer is good: met.",
        "[]",
        '{"criteria": {}}',
        '{"criteria": []}',
        json.dumps(answer())[:-20],
        json.dumps(answer(answers_question={"verdict": "MET!"})),
        json.dumps(answer(answers_question={"verdict": True})),
        json.dumps(answer(resolution={"level": 7})),
        json.dumps(answer(resolution={"level": 2.5})),
        json.dumps(answer(resolution={"level": None})),
        '{"score": 1.0}',
        "[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_no_grade(text):
    with pytest.raises(Unreadable):
        read(text)


def test_two_different_answers_to_one_criterion_are_none():
    value = answer()
    value["criteria"].append(value["criteria"][0] | {"verdict": "unmet"})
    with pytest.raises(Unreadable, match="answered twice"):
        read(value)


def test_a_made_up_quote_is_no_evidence():
    found = read(answer(grounded={"evidence": ["It left on 4 June."]}))["grounded"]

    assert found == NotGraded(Why.NO_EVIDENCE, "because")


def test_cannot_assess_is_not_a_grade():
    assert (
        read(answer(resolution={"level": "cannot_assess"}))["resolution"].why is Why.CANNOT_ASSESS
    )


@given(st.text(max_size=300))
def test_no_text_is_a_traceback(text):
    with pytest.raises(Unreadable):
        read(text)


def test_the_text_of_the_answer_is_not_in_the_reason():
    with pytest.raises(Unreadable) as refused:
        read('{"criteria": "my secret"}')
    assert "secret" not in str(refused.value)


class TestPairs:
    MESSAGES = pair_messages(RUBRIC, SAMPLE, "one", "two", "abc")

    def test_both_answers_are_marked_in_their_order(self):
        user = self.MESSAGES[0][1]["content"]

        assert user.index("<first nonce=abc>\none") < user.index("<second nonce=abc>\ntwo")
        assert SAMPLE.response not in user.replace(SAMPLE.context, "")

    @pytest.mark.parametrize("verdict", ["first", "second", "tie"])
    def test_a_verdict_is_read(self, verdict):
        assert (
            read_pair(json.dumps({"reasoning": "r", "verdict": verdict}), ties=True)[0] == verdict
        )

    @pytest.mark.parametrize("text", ["", "first", '{"verdict": "A"}', '{"verdict": "tie"}'])
    def test_another_is_not(self, text):
        with pytest.raises(Unreadable):
            read_pair(text, ties=False)


class TestDecisions:
    def test_each_criterion_is_a_question(self):
        questions = decision_questions(RUBRIC.asked)

        assert questions["answers_question"]["type"] == "noul"
        assert len(questions["resolution"]["criteria"]) == 4

    def answers(self, **changes):
        return {
            "answers_question": {"type": "noul", "noul": 0.9},
            "grounded": {"type": "noul", "noul": 0.5},
            "wrong_policy": {"type": "noul", "noul": 0.1},
            "resolution": {"type": "score", "probabilities": {"0": 0.1, "3": 0.7, "2": 0.2}},
        } | changes

    def test_probabilities_become_grades_with_confidence(self):
        grades = read_decisions(self.answers(), RUBRIC.asked)

        assert grades["answers_question"].label == "met"
        assert grades["answers_question"].confidence == pytest.approx(0.8)
        assert grades["grounded"].confidence == 0.0
        assert grades["wrong_policy"].label == "unmet"
        assert grades["resolution"].label == "complete"
        assert grades["resolution"].confidence == pytest.approx((4 * 0.7 - 1) / 3)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"type": "noul", "noul": 1.2},
            {"type": "noul", "noul": True},
            {"type": "noul"},
            {"type": "noul", "noul": "0.5"},
        ],
    )
    def test_what_is_no_probability_is_unreadable(self, wrong):
        with pytest.raises(Unreadable):
            read_decisions(self.answers(grounded=wrong), RUBRIC.asked)

    def test_a_refusal_is_cannot_assess(self):
        grades = read_decisions(self.answers(grounded={"type": "refusal"}), RUBRIC.asked)

        assert grades["grounded"].why is Why.CANNOT_ASSESS
        assert isinstance(grades["answers_question"], Grade)
