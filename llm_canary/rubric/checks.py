"""Criteria that a program decides: free, exact, and run before any judge."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from functools import cache
from importlib import import_module
from typing import Any

from jsonschema import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from llm_canary.errors import ConfigError
from llm_canary.language import detect_language
from llm_canary.rubric.check_entries import (
    CheckRule,
    ContainsRule,
    JsonSchemaRule,
    LanguageRule,
    LengthRule,
    PythonRule,
    RegexRule,
    SimilarityRule,
    ToolCallRule,
)
from llm_canary.rubric.grades import Grade, Graded, NotGraded, Why
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import CheckCriterion, Criterion, Rubric

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?```\s*\Z", re.DOTALL)
_WORD = re.compile(r"\w+")


def not_applicable(criterion: Criterion, sample: Sample) -> NotGraded | None:
    """Return why the criterion does not apply to the sample, or None when it does."""
    for tag, value in criterion.when.items():
        if sample.tags.get(tag) != value:
            return NotGraded(Why.NOT_APPLICABLE, f"{tag} is not {value}")
    for name in criterion.requires:
        if sample.material(name) is None:
            return NotGraded(Why.NOT_APPLICABLE, f"there is no {name}")
    return None


class Checks:
    """The deterministic criteria of one rubric, made ready once."""

    def __init__(self, rubric: Rubric, schemas: Mapping[str, Mapping[str, Any]]) -> None:
        self._rubric = rubric
        self._validators = {name: _validator(schema) for name, schema in schemas.items()}

    def grade(self, sample: Sample) -> dict[str, Graded]:
        """Return what no judge and no person has to decide.

        A grade for each deterministic criterion, or why there is none; of the others why they do
        not apply, and nothing where they do.
        """
        grades = {each.id: self._one(each, sample) for each in self._rubric.checked}
        for criterion in self._rubric.asked:
            if (absent := not_applicable(criterion, sample)) is not None:
                grades[criterion.id] = absent
        return grades

    def _one(self, criterion: CheckCriterion, sample: Sample) -> Graded:
        if (absent := not_applicable(criterion, sample)) is not None:
            return absent
        found = _run(criterion.check, sample, self._validators.get(criterion.id))
        if isinstance(found, NotGraded):
            return found
        met, reason = found
        return Grade("met" if met else "unmet", float(met), met, 1.0, reason)


def _run(
    rule: CheckRule, sample: Sample, validator: Validator | None
) -> tuple[bool, str] | NotGraded:
    text = sample.response
    match rule:
        case JsonSchemaRule():
            return _json(text, validator)
        case RegexRule():
            flags = re.IGNORECASE if rule.ignore_case else 0
            found = re.search(rule.pattern, text, flags) is not None
            return found == (rule.must == "match"), "found" if found else "not found"
        case ContainsRule():
            return _contains(rule, text)
        case LengthRule():
            count = len(text) if rule.unit == "characters" else len(text.split())
            right = count >= rule.min and (rule.max is None or count <= rule.max)
            return right, f"{count} {rule.unit}"
        case LanguageRule():
            return _language(rule, sample)
        case ToolCallRule():
            return _tool_call(rule, sample)
        case SimilarityRule():
            return _similarity(rule, sample)
        case PythonRule():
            return _python(rule, sample)


def _json(text: str, validator: Validator | None) -> tuple[bool, str]:
    if validator is None:
        raise ConfigError("the file of the JSON schema was not read; load the rubric from its file")
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return False, "it is no JSON"
    try:
        validator.validate(value)
    except ValidationError as error:
        place = ".".join(map(str, error.absolute_path)) or "the whole"
        return False, f"{place} breaks the rule `{error.validator}`"
    return True, "it fits the schema"


def _contains(rule: ContainsRule, text: str) -> tuple[bool, str]:
    inside = text.casefold() if rule.ignore_case else text
    wanted = [each.casefold() if rule.ignore_case else each for each in rule.texts]
    found = sum(each in inside for each in wanted)
    right = {"all": found == len(wanted), "any": found > 0, "none": found == 0}[rule.must]
    return right, f"{found} of {len(wanted)} found"


def _language(rule: LanguageRule, sample: Sample) -> tuple[bool, str] | NotGraded:
    asked = detect_language(sample.prompt)
    wanted = rule.any_of or ([asked] if asked is not None else [])
    spoken = detect_language(sample.response)
    if spoken is None or not wanted:
        return NotGraded(Why.CANNOT_ASSESS, "too little text to tell its language")
    return spoken in wanted, spoken


def _tool_call(rule: ToolCallRule, sample: Sample) -> tuple[bool, str]:
    called = [str(call.get("name")) for call in sample.tool_calls]
    if rule.name is None:
        return not called, f"called {', '.join(called)}" if called else "called nothing"
    for call in sample.tool_calls:
        arguments = call.get("arguments")
        if call.get("name") != rule.name or not isinstance(arguments, Mapping):
            continue
        if all(arguments.get(key) == value for key, value in rule.arguments.items()):
            return True, f"called {rule.name}"
    return False, f"called {', '.join(called)}" if called else "called nothing"


def _similarity(rule: SimilarityRule, sample: Sample) -> tuple[bool, str] | NotGraded:
    if sample.reference is None:
        return NotGraded(Why.NOT_APPLICABLE, "there is no reference")
    a, b = sample.reference.strip(), sample.response.strip()
    if rule.measure == "exact":
        return a == b, "equal" if a == b else "different"
    if rule.measure == "ratio":
        likeness = SequenceMatcher(None, a, b, autojunk=False).ratio()
    else:
        likeness = _token_f1(a, b)
    return likeness >= rule.min, f"{rule.measure} {likeness:.3f}"


def _token_f1(reference: str, response: str) -> float:
    """Return the F1 of the words of both texts (Rajpurkar et al. 2016, section 6.1)."""
    a, b = Counter(_WORD.findall(reference.casefold())), Counter(_WORD.findall(response.casefold()))
    shared = (a & b).total()
    return 2.0 * shared / (a.total() + b.total()) if shared else float(a == b)


def _python(rule: PythonRule, sample: Sample) -> tuple[bool, str] | NotGraded:
    try:
        found = _function(rule.function)(sample)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        return NotGraded(Why.FAILED, f"{rule.function} raised {type(error).__name__}")
    if not isinstance(found, bool | int | float) or not math.isfinite(found):
        return NotGraded(Why.FAILED, f"{rule.function} returned no number")
    return float(found) >= rule.min, f"{float(found):g}"


@cache
def _function(name: str) -> Callable[[Sample], object]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"check function {name!r} cannot be imported: {error}") from None
    if not callable(found):
        raise ConfigError(f"check function {name!r} is not callable")
    return found  # type: ignore[no-any-return]


def _validator(schema: Mapping[str, Any]) -> Validator:
    made: Validator = validator_for(schema)(schema)
    return made
