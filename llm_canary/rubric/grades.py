"""Grades, and the one score that a rubric makes of them.

The code computes the score, never the judge. What was not graded is a value of its own, with its
reason; it is never a zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from llm_canary.errors import DataError
from llm_canary.rubric.schema import (
    BinaryCriterion,
    CheckCriterion,
    ChoiceCriterion,
    Criterion,
    Label,
    OrdinalCriterion,
    Rubric,
)


class Why(StrEnum):
    """Why a criterion has no grade."""

    NOT_APPLICABLE = "not_applicable"  # by `when` or `requires`
    CANNOT_ASSESS = "cannot_assess"  # the judge says so
    NO_EVIDENCE = "no_evidence"  # the quote that was asked for is missing or made up
    FAILED = "failed"  # the judge failed, or the check could not run


_UNDECIDED = (Why.CANNOT_ASSESS, Why.NO_EVIDENCE)


class NotGraded(Struct, frozen=True, tag="not_graded"):
    """No grade, and why."""

    why: Why
    detail: str = ""


class Grade(Struct, frozen=True, tag="grade"):
    """A verdict on one criterion: the label, and what it is worth from 0 to 1."""

    label: str
    value: float
    passed: bool
    confidence: float | None = None  # 0 to 1, where the judge gives one
    reasoning: str = ""
    evidence: tuple[str, ...] = ()


Graded = Grade | NotGraded


class Score(NamedTuple):
    """The outcome of one answer under one rubric."""

    value: float | None  # 0 to 1; None: nothing could be graded
    passed: bool | None
    must_pass_failed: tuple[str, ...] = ()
    not_graded: Mapping[str, Why] = {}


def grade(criterion: Criterion, label: Label) -> Grade:
    """Return the grade that `label` means; raise DataError for what is no label of the criterion.

    Labels: `met` or `unmet` (true, false, 1 and 0 too), a level's value or label, an option.
    """
    match criterion:
        case BinaryCriterion():
            met = _truth(label, criterion.id)
            good = met != (criterion.polarity == "negative")
            return Grade("met" if met else "unmet", float(met), good)
        case OrdinalCriterion():
            return _level(criterion, label)
        case ChoiceCriterion():
            options = {option.label: option.grade for option in criterion.options}
            if label not in options:
                raise DataError(f"{criterion.id}: {label!r} is none of {', '.join(options)}")
            worth = options[str(label)]
            return Grade(str(label), worth, worth >= 0.5)
        case CheckCriterion():
            met = _truth(label, criterion.id)
            return Grade("met" if met else "unmet", float(met), met)


def score(rubric: Rubric, grades: Mapping[str, Graded]) -> Score:
    """Return sum of weight x grade over sum of positive weights, and whether the answer passes.

    A fault (weight below 0) subtracts where it is met. An answer passes with a score of at least
    `pass_threshold` and no `must_pass` criterion failed. A must-pass criterion that the judge
    could not assess is not failed, and the score says that it is missing.
    """
    total = possible = 0.0
    failed: list[str] = []
    missing: dict[str, Why] = {}
    for criterion in rubric.criteria:
        given = grades.get(criterion.id, NotGraded(Why.FAILED))
        if isinstance(given, NotGraded):
            missing[criterion.id] = given.why
            if given.why in _UNDECIDED and rubric.scoring.cannot_assess == "fail":
                possible += max(criterion.weight, 0.0)
                if criterion.must_pass:
                    failed.append(criterion.id)
            continue
        total += criterion.weight * given.value
        possible += max(criterion.weight, 0.0)
        if criterion.must_pass and not given.passed:
            failed.append(criterion.id)
    if any(why is Why.FAILED for why in missing.values()):
        return Score(None, None, tuple(failed), missing)
    if possible == 0.0:
        return _only_faults(grades, tuple(failed), missing)
    value = min(max(total / possible, 0.0), 1.0)
    passed = value >= rubric.scoring.pass_threshold and not failed
    return Score(value, passed, tuple(failed), missing)


def _only_faults(
    grades: Mapping[str, Graded], failed: tuple[str, ...], missing: dict[str, Why]
) -> Score:
    """Return the score where nothing but faults could be graded: 1 without any, else 0."""
    given = [each for each in grades.values() if isinstance(each, Grade)]
    if not given:
        return Score(None, None, failed, missing)
    clean = all(each.passed for each in given)
    return Score(float(clean), clean and not failed, failed, missing)


def _truth(label: Label, name: str) -> bool:
    known: dict[object, bool] = {"met": True, "unmet": False, "true": True, "false": False}
    found = known.get(label.lower()) if isinstance(label, str) else None
    if found is None and isinstance(label, bool | int | float) and label in (0, 1):
        found = bool(label)
    if found is None:
        raise DataError(f"{name}: {label!r} is neither met nor unmet")
    return found


def _level(criterion: OrdinalCriterion, label: Label) -> Grade:
    levels = criterion.levels
    by_label = {level.label: level.value for level in levels}
    value = by_label.get(label, label) if isinstance(label, str) else label
    if isinstance(value, str):
        value = int(value) if value.lstrip("-").isdigit() else value
    values = [level.value for level in levels]
    if isinstance(value, bool) or value not in values:
        known = ", ".join(map(str, values))
        raise DataError(f"{criterion.id}: {label!r} is none of the levels {known}")
    low, high = values[0], values[-1]
    assert isinstance(value, int | float)  # noqa: S101 - it is among the values
    needed = criterion.pass_level if criterion.pass_level is not None else (low + high) / 2
    name = next(level.label for level in levels if level.value == value)
    return Grade(name, (value - low) / (high - low), value >= needed)
