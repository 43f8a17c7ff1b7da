"""Criteria that a program decides."""

from __future__ import annotations

import pytest

from llm_canary.errors import ConfigError
from llm_canary.rubric.checks import Checks
from llm_canary.rubric.grades import Grade, NotGraded, Why
from llm_canary.rubric.load import parse_rubric
from llm_canary.rubric.sample import Sample

SCHEMA = "{type: object, required: [n], properties: {n: {type: integer}}}"


def run(check: str, response: str, more: str = "", **sample):
    rubric = parse_rubric(
        "schema: llm_canary.rubric/v1\nid: r\nversion: 1\n"
        f"criteria: [{{id: c, kind: check, check: {check}{more}}}]\n"
    )
    fields = {"id": "1", "prompt": "What is the weather like in the city today?"} | sample
    return Checks(rubric.rubric, rubric.schemas).grade(Sample(response=response, **fields))["c"]


def longer_than_prompt(sample: Sample) -> bool:
    return len(sample.response) > len(sample.prompt)


def half(sample: Sample) -> float:
    return 0.5


def broken(sample: Sample) -> float:
    raise RuntimeError(sample.response)


GERMAN = "Das Wetter ist heute sehr schön und die Sonne scheint in der ganzen Stadt."
ENGLISH = "The weather is very nice today and the sun is out in the whole of the city."
CALL = [{"name": "refund", "arguments": {"order": 7, "reason": "late"}}]
CASES = [
    (f"{{type: json_schema, schema: {SCHEMA}}}", '{"n": 1}', True),
    (f"{{type: json_schema, schema: {SCHEMA}}}", '```json\n{"n": 1}\n```', True),
    (f"{{type: json_schema, schema: {SCHEMA}}}", '{"n": "1"}', False),
    (f"{{type: json_schema, schema: {SCHEMA}}}", "n = 1", False),
    (f"{{type: json_schema, schema: {SCHEMA}}}", "[" * 100_000, False),
    ("{type: regex, pattern: '^[A-Z]'}", "Yes", True),
    ("{type: regex, pattern: '^[A-Z]'}", "yes", False),
    ("{type: regex, pattern: 'sorry', must: not_match, ignore_case: true}", "Sorry!", False),
    ("{type: contains, texts: [A, b]}", "xaxBx", True),
    ("{type: contains, texts: [A, b], ignore_case: false}", "xaxBx", False),
    ("{type: contains, texts: [a, z], must: any}", "xax", True),
    ("{type: contains, texts: [a, z], must: none}", "xax", False),
    ("{type: length, max: 3}", "one two three", True),
    ("{type: length, max: 3}", "one two three four", False),
    ("{type: length, min: 1}", "", False),
    ("{type: length, unit: characters, min: 2, max: 2}", "äß", True),
    ("{type: language, any_of: [de]}", GERMAN, True),
    ("{type: language}", GERMAN, False),
    ("{type: language}", ENGLISH, True),
    (
        "{type: python, function: 'tests.unit.rubric.test_deterministic_checks:longer_than_prompt'}",
        "x" * 99,
        True,
    ),
    ("{type: python, function: 'tests.unit.rubric.test_deterministic_checks:half'}", "x", False),
    (
        "{type: python, function: 'tests.unit.rubric.test_deterministic_checks:half', min: 0.5}",
        "x",
        True,
    ),
]


@pytest.mark.parametrize(("check", "response", "met"), CASES)
def test_a_check(check, response, met):
    assert run(check, response).passed is met


@pytest.mark.parametrize(
    ("check", "calls", "met"),
    [
        ("{type: tool_call, name: refund}", CALL, True),
        ("{type: tool_call, name: refund, arguments: {order: 7}}", CALL, True),
        ("{type: tool_call, name: refund, arguments: {order: 8}}", CALL, False),
        ("{type: tool_call, name: cancel}", CALL, False),
        ("{type: tool_call}", [], True),
        ("{type: tool_call}", CALL, False),
        ("{type: tool_call, name: refund}", [{"name": "refund", "arguments": None}], False),
    ],
)
def test_a_tool_call(check, calls, met):
    assert run(check, "", tool_calls=calls).passed is met


@pytest.mark.parametrize(
    ("measure", "response", "likeness"),
    [
        ("exact", " Paris ", 1.0),
        ("exact", "paris", 0.0),
        ("token_f1", "It is Paris", 0.5),
        ("ratio", "Pari", 8 / 9),
    ],
)
def test_similarity(measure, response, likeness):
    def passed(low: float) -> bool:
        check = f"{{type: similarity, measure: {measure}, min: {low}}}"
        return run(check, response, reference="Paris").passed

    assert passed(likeness * 0.99) is (likeness > 0 or measure != "exact")
    if likeness < 1.0:
        assert passed(likeness + 0.01) is False


def test_what_does_not_apply_has_no_grade():
    assert run("{type: length, max: 1}", "x", ", when: {route: a}") == NotGraded(
        Why.NOT_APPLICABLE, "route is not a"
    )
    assert isinstance(
        run("{type: length, max: 1}", "x", ", when: {route: a}", tags={"route": "a"}), Grade
    )
    assert run("{type: length, max: 1}", "x", ", requires: [context]").why is Why.NOT_APPLICABLE
    assert run("{type: similarity}", "x").why is Why.NOT_APPLICABLE
    assert run("{type: language, any_of: [de]}", "42").why is Why.CANNOT_ASSESS


def test_code_that_raises_is_a_failure_without_its_text():
    found = run(
        "{type: python, function: 'tests.unit.rubric.test_deterministic_checks:broken'}", "a secret"
    )

    assert found.why is Why.FAILED
    assert "secret" not in found.detail


def test_code_that_is_not_there_is_an_error_of_the_rubric():
    with pytest.raises(ConfigError, match="cannot be imported"):
        run("{type: python, function: 'nowhere.at_all:f'}", "x")
