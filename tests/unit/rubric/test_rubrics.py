"""Rubrics: what loads, what is refused and how, hashes, and the shipped ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from llm_canary.errors import ConfigError
from llm_canary.resources import resource_dir
from llm_canary.rubric.diff import diff
from llm_canary.rubric.lint import family, lint
from llm_canary.rubric.load import find_rubric, load_rubric, parse_rubric, rubric_of
from llm_canary.rubric.reference import renew

MINIMAL = """\
schema: llm_canary.rubric/v1
id: rubric
version: 1
criteria:
  - id: right
    kind: binary
    requirement: "The number is right."
"""
# EVALS' example: every key that a user can touch.
WHOLE = """\
schema: llm_canary.rubric/v1
id: support_answer
version: 3
applies_to: {routes: ["chat"], languages: [en, de]}
inputs: {prompt: required, response: required, reference: optional, context: optional, history_turns: 6}
instructions: |
  Correct but unverifiable extra detail is NOT a failure unless it contradicts the context.
scoring: {aggregate: weighted_mean, pass_threshold: 0.75, normalise: true, cannot_assess: exclude, max_cannot_assess_rate: 0.2}
criteria:
  - id: answers_question
    kind: binary
    requirement: "The response answers what the user actually asked."
    weight: 3
    must_pass: true
    anchors: {met: "Addresses the ask directly.", unmet: "Evades."}
  - id: grounded
    kind: binary
    requirement: "Every factual claim is supported by the context."
    weight: 3
    must_pass: true
    requires: [context]
    evidence: required
  - id: wrong_policy
    kind: binary
    polarity: negative
    requirement: "States a policy that contradicts the context."
    weight: -5
  - id: helpfulness
    kind: ordinal
    levels:
      - {value: 0, label: useless, anchor: "User cannot act on it."}
      - {value: 1, label: partial, anchor: "Key step missing."}
      - {value: 2, label: good, anchor: "Small gaps."}
      - {value: 3, label: complete, anchor: "Nothing needed after it."}
    requirement: "How far does the response get the user to their goal?"
    weight: 2
  - id: tone
    kind: choice
    requirement: "Which tone has it?"
    options:
      - {label: warm, grade: 1, anchor: "Friendly."}
      - {label: cold, grade: 0.3, anchor: "Curt."}
  - id: valid_json
    kind: check
    check: {type: json_schema, path: schemas/answer.json}
    when: {route: extract}
    must_pass: true
examples:
  - {prompt: "...", response: "...", labels: {answers_question: met, helpfulness: 2}}
pairwise: {question: "Which response serves the user better?", ties: true, swap: always}
judges:
  primary: {backend: decision, model: typesafe/jev-1.14.0, framing: one_question_per_criterion}
  escalate: {backend: chat, model: openai/gpt-5-mini-2025-08-07, temperature: 0, when: {confidence_below: 0.7, criteria: {grounded: 0.9}, max_share: 0.25}}
  panel: {min_members: 1, weights: calibrated, distinct_families: true, exclude_family_of: [control, canary]}
trust: {min_labels: 100, min_kappa_low: 0.4, min_relative_kappa: 0.6, max_position_gap: 0.05, max_age_days: 14}
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "rubric") -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return path

    return write


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse_rubric(text)
    return list(refused.value.problems)


def test_every_key_of_the_specification_loads(write, tmp_path):
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "answer.json").write_text('{"type": "object"}')
    loaded = load_rubric(write(WHOLE, "support_answer"))

    assert [each.id for each in loaded.rubric.checked] == ["valid_json"]
    assert len(loaded.rubric.asked) == 5
    assert loaded.schemas == {"valid_json": {"type": "object"}}
    assert loaded.rubric.judges.escalate.when.criteria == {"grounded": 0.9}


@pytest.mark.parametrize(
    "path", sorted(resource_dir("rubrics").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_rubrics_load_without_findings(path):
    loaded = load_rubric(path)

    assert lint(loaded) == []
    assert loaded.rubric.id == path.stem
    assert loaded.rubric.examples or not loaded.rubric.criteria


FAULTS = [
    ("kind: binary", "kind: binry", "rubric.yaml:6: criteria[0].kind", "did you mean 'binary'?"),
    ("    kind: binary\n", "", "rubric.yaml:5: criteria[0].kind", "the key `kind` is missing"),
    ("version: 1", "version: 0", "rubric.yaml:3: version", ">= 1"),
    ("version: 1", "verion: 1", "rubric.yaml:3: verion", "did you mean 'version'?"),
    ("v1\n", "v2\n", "rubric.yaml:1: schema", "llm_canary.rubric/v1"),
    ("    kind: binary\n", "    kind: binary\n    weight: -1\n", "criteria[0]", "polarity: negative"),
    ("    kind: binary\n", "    kind: binary\n    weight: 0\n", "criteria[0]", "other than 0"),
    ("    kind: binary\n", "    kind: binary\n    must_pas: true\n", "must_pas", "must_pass"),
    ("kind: binary", "kind: ordinal", "criteria[0].levels", "the key is missing"),
    ("id: right", "id: Right!", "criteria[0].id", "small letters"),
    ('is right."', 'is right."\n  - {id: right, kind: binary, requirement: x}', "criteria[1].id", "twice"),
    ('is right."', 'is right."\nexamples: [{response: x, labels: {wrong: met}}]', "labels.wrong", "no such criterion"),
    ('is right."', 'is right."\nexamples: [{response: x, labels: {right: 7}}]', "labels.right", "neither met"),
    ('is right."', 'is right."\njudges: {primary: {backend: chat}}', "judges.primary", "`model:`"),
    ('is right."', 'is right."\njudges: {primary: {backend: chat, model: m, api_key: sk-123}}', "api_key", "a reference"),
    ('is right."', 'is right."\nscoring: {pass_threshold: 75}', "scoring.pass_threshold", "<= 1"),
    ('is right."', 'is right."\n    requires: [context]\ninputs: {context: never}', "requires", "never given"),
    ("criteria:", "criterias:", "criteria", "there is nothing to grade"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "place", "words"), FAULTS)
def test_a_fault_is_named_with_its_place_and_a_way_out(old, new, place, words):
    found = problems(MINIMAL.replace(old, new, 1))

    assert any(place in each and words in each for each in found), found


def test_all_faults_are_named_at_once():
    text = MINIMAL.replace("version: 1", "version: x").replace("kind: binary", "kind: no")

    assert len(problems(text)) == 2


def test_a_key_in_plain_text_is_not_repeated():
    judge = '\njudges: {primary: {backend: chat, model: m, api_key: "sk-abc123def456ghi789jkl"}}\n'

    assert "sk-abc" not in "\n".join(problems(MINIMAL + judge))


CHECKS = [
    ("{type: regx, pattern: x}", "check.type", "did you mean 'regex'?"),
    ("{type: regex, pattern: '('}", "check.pattern", "regular expression"),
    ("{type: length}", "check", "`min:`, `max:`"),
    ("{type: json_schema}", "check", "one of `path:` and `schema:`"),
    ("{type: json_schema, schema: {type: nonsense}}", "check.schema", "no JSON schema"),
    ("{type: python, function: nothing}", "check.function", "package.module:function"),
    ("{type: contains, texts: []}", "check.texts", "at least one"),
]


@pytest.mark.parametrize(("check", "place", "words"), CHECKS)
def test_a_fault_in_a_check_is_named(check, place, words):
    found = problems(
        f"schema: llm_canary.rubric/v1\nid: r\nversion: 1\ncriteria: [{{id: c, kind: check, check: {check}}}]\n"
    )

    assert any(place in each and words in each for each in found), found


def test_a_schema_file_that_is_not_there_is_named(write):
    text = MINIMAL + "  - {id: c, kind: check, check: {type: json_schema, path: none.json}}\n"

    with pytest.raises(ConfigError, match=r"'none.json' cannot be read"):
        load_rubric(write(text))


class TestHash:
    def test_it_is_of_the_meaning_not_the_writing(self):
        again = MINIMAL.replace("requirement:", "# a note\n    requirement:").replace('"', "'")

        assert parse_rubric(again).content_hash == parse_rubric(MINIMAL).content_hash

    @pytest.mark.parametrize("addition", ["trust: {min_labels: 50}", "applies_to: {routes: [a]}"])
    def test_who_judges_and_where_is_not_in_it(self, addition):
        assert parse_rubric(MINIMAL + addition).content_hash == parse_rubric(MINIMAL).content_hash

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("is right", "is right, to two digits"),
            ("version: 1\n", "version: 1\ninstructions: x\n"),
        ],
    )
    def test_what_is_graded_is_in_it(self, old, new):
        changed = parse_rubric(MINIMAL.replace(old, new))

        assert changed.content_hash != parse_rubric(MINIMAL).content_hash

    def test_the_text_of_a_schema_file_is_in_it(self, write, tmp_path):
        path = write(
            MINIMAL + "  - {id: c, kind: check, check: {type: json_schema, path: s.json}}\n"
        )
        hashes = set()
        for kind in ("object", "array"):
            (tmp_path / "s.json").write_text(json.dumps({"type": kind}))
            hashes.add(load_rubric(path).content_hash)

        assert len(hashes) == 2


class TestDiff:
    def test_a_changed_question_makes_its_labels_stale(self):
        new = parse_rubric(
            MINIMAL.replace("is right", "is exact").replace("version: 1", "version: 2")
        )
        found = diff(parse_rubric(MINIMAL), new)

        assert found.stale == ("right",)
        assert not found.version_missing
        assert any("is exact" in line for line in found.changes)

    def test_a_changed_weight_does_not(self):
        new = parse_rubric(MINIMAL.replace("kind: binary", "kind: binary\n    weight: 2"))
        found = diff(parse_rubric(MINIMAL), new)

        assert found.stale == ()
        assert found.version_missing

    def test_a_changed_policy_makes_all_stale(self):
        found = diff(parse_rubric(MINIMAL), parse_rubric(MINIMAL + "instructions: Be strict.\n"))

        assert found.stale == ("right",)

    def test_nothing_is_nothing(self):
        found = diff(parse_rubric(MINIMAL), parse_rubric(MINIMAL))

        assert found == ((), (), False)


class TestLint:
    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("is right", "is appropriate", "a matter of taste"),
            ("is right", "is right and short", "two properties"),
            (
                'right."',
                'right."\njudges: {primary: {backend: chat, model: openai/gpt-5}}',
                "tomorrow",
            ),
            (
                'right."',
                'right."\njudges: {primary: {backend: chat, model: x/y-latest}}',
                "tomorrow",
            ),
        ],
    )
    def test_it_finds(self, old, new, words):
        text = MINIMAL.replace(old, new) + "examples: [{response: x, labels: {right: met}}]\n"
        found = lint(parse_rubric(text))

        assert [words in each.text for each in found] == [True]
        assert found[0].line

    def test_a_dated_snapshot_is_fine(self):
        judges = "judges: {primary: {backend: chat, model: openai/gpt-5-mini-2025-08-07}}\n"
        text = MINIMAL + judges + "examples: [{response: x, labels: {right: met}}]\n"

        assert lint(parse_rubric(text)) == []
        assert "own family" in lint(parse_rubric(text), families=["gpt"])[0].text

    def test_eight_criteria_are_too_many(self):
        more = "".join(
            f"  - {{id: c{n}, kind: check, check: {{type: length, max: {n + 1}}}}}\n"
            for n in range(8)
        )

        assert any("9 criteria" in each.text for each in lint(parse_rubric(MINIMAL + more)))

    def test_families(self):
        assert family("openai/gpt-5-mini") == family("azure/gpt-4o") == "gpt"
        assert family("anthropic/claude-opus-4") == "claude"
        assert family("somebody/else") == "somebody"


def test_a_rubric_of_the_project_goes_before_a_shipped_one(tmp_path):
    own = tmp_path / "rubrics" / "helpfulness.yaml"
    own.parent.mkdir()
    own.write_text(MINIMAL.replace("id: rubric", "id: helpfulness"))

    assert find_rubric("helpfulness", tmp_path) == own
    assert rubric_of("safety", tmp_path).rubric.id == "safety"
    with pytest.raises(ConfigError, match="did you mean 'safety'"):
        find_rubric("safty", tmp_path)


def test_the_id_is_the_name_of_the_file(write):
    with pytest.raises(ConfigError, match="'rubric' is not the file's name; expected 'other'"):
        load_rubric(write(MINIMAL, "other"))


PAGE = Path(__file__).parents[3] / "docs" / "rubrics.md"


def test_the_reference_of_the_page_is_up_to_date():
    page = PAGE.read_text()

    assert renew(page) == page, "run: python -m llm_canary.rubric.reference docs/rubrics.md"


def test_the_example_of_the_page_loads_without_findings():
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)

    assert lint(parse_rubric(text)) == []
