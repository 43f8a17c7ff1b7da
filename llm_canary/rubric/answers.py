"""A judge's answer as grades, or what is wrong with it.

An answer that cannot be read is a failure of the judge, never a grade: nothing is guessed from
prose, a criterion that is missing or answered twice fails the whole answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from llm_canary.errors import DataError
from llm_canary.rubric.grades import Graded, NotGraded, Why, grade
from llm_canary.rubric.prompt import CANNOT_ASSESS
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import (
    AskedCriterion,
    BinaryCriterion,
    ChoiceCriterion,
    OrdinalCriterion,
)

_FENCE = re.compile(r"\A\s*```(?:json)?\s*(.*?)\s*```\s*\Z", re.DOTALL)
_SPACE = re.compile(r"\s+")
_MAX_REASONING = 2000
_MAX_QUOTES = 20


class Unreadable(Exception):  # noqa: N818 - a fact about an answer
    """The judge's answer is not what was asked for; the text says why, without quoting it."""


class Answered(NamedTuple):
    """A readable answer."""

    grades: dict[str, Graded]
    injection_suspected: bool


def read_answer(text: str, criteria: Sequence[AskedCriterion], sample: Sample) -> Answered:
    """Return the grades in a chat judge's answer; raise Unreadable."""
    value = _object(text)
    entries = value.get("criteria")
    if not isinstance(entries, list):
        raise Unreadable("`criteria` is no list")
    by_id: dict[str, dict[str, Any]] = {}
    for entry in entries:
        name = entry.get("id") if isinstance(entry, dict) else None
        if name in by_id and by_id[name] != entry:
            raise Unreadable(f"{name} is answered twice")
        if isinstance(name, str):
            by_id[name] = entry
    grades: dict[str, Graded] = {}
    for criterion in criteria:
        entry = by_id.get(criterion.id)
        if entry is None:
            raise Unreadable(f"{criterion.id} is not answered")
        grades[criterion.id] = _grade(criterion, entry, sample)
    return Answered(grades, value.get("injection_suspected") is True)


def read_pair(text: str, *, ties: bool) -> tuple[str, str]:
    """Return `first`, `second` or `tie`, and the reasoning; raise Unreadable."""
    value = _object(text)
    verdict = value.get("verdict")
    if verdict not in ("first", "second", *(("tie",) if ties else ())):
        raise Unreadable("`verdict` is none of the choices")
    reasoning = value.get("reasoning")
    return str(verdict), reasoning[:_MAX_REASONING] if isinstance(reasoning, str) else ""


def read_decisions(
    answers: Mapping[str, Mapping[str, Any]], criteria: Sequence[AskedCriterion]
) -> dict[str, Graded]:
    """Return the grades in a decision model's answers; raise Unreadable.

    The confidence of a verdict of probability p among K is max(0, (K p - 1) / (K - 1)): 0 for a
    guess, 1 for certainty.
    """
    grades: dict[str, Graded] = {}
    for criterion in criteria:
        answer = answers.get(criterion.id)
        if answer is None:
            raise Unreadable(f"{criterion.id} is not answered")
        if answer.get("type") == "refusal":
            grades[criterion.id] = NotGraded(Why.CANNOT_ASSESS, "the model refused")
            continue
        shares = _probabilities(criterion, answer)
        label, share = max(shares.items(), key=lambda item: item[1])
        kinds = len(shares)
        confidence = max(0.0, (kinds * share - 1.0) / (kinds - 1))
        grades[criterion.id] = replace(grade(criterion, label), confidence=confidence)
    return grades


def _probabilities(criterion: AskedCriterion, answer: Mapping[str, Any]) -> dict[str, float]:
    """Return label -> probability."""
    if isinstance(criterion, BinaryCriterion):
        share = _share(answer.get("noul"), criterion.id)
        return {"met": share, "unmet": 1.0 - share}
    if isinstance(criterion, OrdinalCriterion):
        labels = {str(k): str(level.value) for k, level in enumerate(criterion.levels)}
    else:
        labels = {option.label: option.label for option in criterion.options}
    given = answer.get("probabilities")
    if not isinstance(given, Mapping) or not given.keys() & labels.keys():
        raise Unreadable(f"{criterion.id} has no probabilities")
    return {label: _share(given.get(key, 0.0), criterion.id) for key, label in labels.items()}


def _share(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise Unreadable(f"{name} has a probability outside of 0 to 1")
    return float(value)


def _object(text: str) -> dict[str, Any]:
    if not text.strip():
        raise Unreadable("the answer is empty")
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        raise Unreadable("the answer is no JSON") from None
    if not isinstance(value, dict):
        raise Unreadable("the answer is no JSON object")
    return value


def _grade(criterion: AskedCriterion, entry: Mapping[str, Any], sample: Sample) -> Graded:
    key = {BinaryCriterion: "verdict", OrdinalCriterion: "level", ChoiceCriterion: "option"}[
        type(criterion)
    ]
    label = entry.get(key)
    reasoning = entry.get("reasoning")
    said = reasoning[:_MAX_REASONING] if isinstance(reasoning, str) else ""
    if label == CANNOT_ASSESS:
        return NotGraded(Why.CANNOT_ASSESS, said)
    if not isinstance(label, str | int | float | bool):
        raise Unreadable(f"{criterion.id} has no `{key}`")
    if isinstance(criterion, BinaryCriterion) and label not in ("met", "unmet"):
        raise Unreadable(f"{criterion.id} is neither met nor unmet")
    try:
        graded = grade(criterion, label)
    except DataError:
        raise Unreadable(f"{criterion.id} has a `{key}` that is none of its scale") from None
    quotes = _quotes(entry.get("evidence"), sample)
    if criterion.evidence == "required" and not quotes:
        return NotGraded(Why.NO_EVIDENCE, said)
    return replace(graded, reasoning=said, evidence=quotes)


def _quotes(given: object, sample: Sample) -> tuple[str, ...]:
    """Return the quotes that really stand in the material."""
    if not isinstance(given, list):
        return ()
    history = " ".join(str(turn.get("content")) for turn in sample.history)
    texts = (sample.response, sample.prompt, sample.context, sample.reference, history)
    material = _flat(" \n ".join(text for text in texts if text))
    quotes = [each for each in given[:_MAX_QUOTES] if isinstance(each, str) and _flat(each)]
    return tuple(each for each in quotes if _flat(each) in material)


def _flat(text: str) -> str:
    return _SPACE.sub(" ", text).strip(" \"'“”„…").casefold()
