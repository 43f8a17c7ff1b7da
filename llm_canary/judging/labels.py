"""Grades that people gave: files of them, in and out.

Pointwise rows: `id, prompt, response`, where they are `context, reference, tags`, and `human:
[{rater, labels: {criterion: label}, at?}]`. Pairwise rows: `id, prompt, responses: {A, B}` with
`human: [{rater, label: A|B|tie, at?}]` or `gold: A|B|tie`; `recorded_judges: [{judge, order,
verdict}]` where verdicts are recorded. A CSV has one label a row: `id, prompt, response, rater,
criterion, label, at`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import orjson

from llm_canary.documents.rows import Row, RowProblems, read_rows
from llm_canary.errors import ConfigError, DataError
from llm_canary.judging.judgement import Preferred
from llm_canary.rubric.checks import Checks
from llm_canary.rubric.grades import Grade, Graded, NotGraded, Why, grade
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.prompt import CANNOT_ASSESS
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import Criterion, Label, OrdinalCriterion, Rubric

_PREFERRED = ("A", "B", "tie")
_GOLD = "gold"


class HumanLabel(NamedTuple):
    """The label that one person gave to one criterion; pairwise: the criterion is ""."""

    rater: str
    criterion: str
    label: Label
    at: str | None = None  # ISO 8601


class Labelled(NamedTuple):
    """One item with its human labels; a pair has two responses."""

    sample: Sample
    labels: tuple[HumanLabel, ...]
    responses: tuple[str, str] | None = None  # A and B
    recorded: tuple[tuple[str, str, str | None], ...] = ()  # judge, order, verdict
    models: Mapping[str, str] = {}  # A and B -> model
    lengths: Mapping[str, int] = {}  # A and B -> characters, where the texts are left out

    @property
    def majority(self) -> Preferred:
        """What most raters prefer of a pair; without a majority a tie."""
        counts = Counter(str(label.label) for label in self.labels).most_common(2)
        (winner, count) = counts[0]
        if count * 2 <= len(self.labels) and len(counts) > 1:
            return "tie"
        return winner  # type: ignore[return-value]  # they were checked when they were read


class LabelSet(NamedTuple):
    """Labelled items with the hash of their labels."""

    items: tuple[Labelled, ...]
    hash: str
    newest_s: float | None  # when the newest was given, seconds since 1970
    blank: int = 0  # rows of the file that nobody has labelled

    @property
    def is_pairwise(self) -> bool:
        """Whether the items are pairs."""
        return bool(self.items) and self.items[0].responses is not None


def read_labels(path: Path, rubric: LoadedRubric) -> LabelSet:
    """Return the labels of a file; raise ConfigError that names each row that is wrong.

    A row without any label is left out and counted: of a sheet to fill in, some stay empty.
    """
    problems = RowProblems(path)
    items: list[Labelled] = []
    blank = 0
    for row in read_rows(path, problems):
        if _is_blank(row.values):
            blank += 1
            continue
        try:
            items.append(_item(row, rubric))
        except DataError as error:
            problems.add(row.line, error.message)
    problems.raise_any()
    if not items:
        raise ConfigError(f"{path.name} holds no labels")
    if len({item.responses is None for item in items}) > 1:
        raise ConfigError(f"{path.name} mixes single answers and pairs; make two files of it")
    return label_set(items)._replace(blank=blank)


def label_set(items: Iterable[Labelled]) -> LabelSet:
    """Return the set of the items, with the labels of one answer put together."""
    merged: dict[tuple[str, str], Labelled] = {}
    newest_s: float | None = None
    for item in items:
        key = (item.sample.id, item.sample.response)
        known = merged.get(key)
        merged[key] = item if known is None else known._replace(labels=known.labels + item.labels)
        for label in item.labels:
            at_s = seconds(label.at)
            newest_s = at_s if newest_s is None else max(newest_s, at_s or newest_s)
    meaning = sorted((*key, sorted(map(str, item.labels))) for key, item in merged.items())
    digest = hashlib.sha256(orjson.dumps(meaning)).hexdigest()
    return LabelSet(tuple(merged.values()), digest, newest_s)


def seconds(at: str | None) -> float | None:
    """Return an ISO 8601 time as seconds since 1970, in UTC where it has no zone."""
    if at is None:
        return None
    try:
        found = datetime.fromisoformat(at)
    except (TypeError, ValueError):
        raise DataError(f"`at` is {at!r}; expected a time such as 2026-11-23T12:00:00Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def people_grades(item: Labelled, rubric: Rubric, checks: Checks) -> dict[str, Graded]:
    """Return what people say about a single answer, and what no person has to decide.

    Checks are run, and what does not apply is not asked of anybody.
    """
    return with_labels(item, rubric, checks.grade(item.sample))


def with_labels(item: Labelled, rubric: Rubric, known: Mapping[str, Graded]) -> dict[str, Graded]:
    """Return the grades that are `known` without people, and what people say of the others.

    The majority of the labels, or the median level; where people are evenly divided there is no
    grade.
    """
    said = {each.id: majority(item, each) for each in rubric.asked if each.id not in known}
    return {**known, **said}


def majority(item: Labelled, criterion: Criterion) -> Graded:
    """Return what most people say about one criterion."""
    labels = [each.label for each in item.labels if each.criterion == criterion.id]
    given = [each for each in labels if each != CANNOT_ASSESS]
    if not labels:
        return NotGraded(Why.FAILED, "nobody graded it")
    if not given:
        return NotGraded(Why.CANNOT_ASSESS)
    return _agreed(criterion, [grade(criterion, each) for each in given])


def label_rows(items: Iterable[Labelled]) -> Iterator[dict[str, Any]]:
    """Yield one row per label, the form of a CSV."""
    for item in items:
        for label in item.labels:
            yield {
                "id": item.sample.id,
                "prompt": item.sample.prompt,
                "response": item.sample.response,
                "context": item.sample.context,
                "reference": item.sample.reference,
                "rater": label.rater,
                "criterion": label.criterion,
                "label": label.label,
                "at": label.at,
            }


def _agreed(criterion: Criterion, grades: list[Grade]) -> Graded:
    if isinstance(criterion, OrdinalCriterion):
        by_value = {each.value: each for each in grades}
        middle = median(sorted(each.value for each in grades))
        return by_value[min(by_value, key=lambda value: (abs(value - middle), value))]
    counts = Counter(each.label for each in grades).most_common(2)
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        return NotGraded(Why.CANNOT_ASSESS, "people are divided")
    return next(each for each in grades if each.label == counts[0][0])


def _item(row: Row, rubric: LoadedRubric) -> Labelled:
    values = row.values
    name = values.get("id")
    if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        raise DataError("`id` is missing")
    sample = Sample(
        id=str(name),
        prompt=_text(values, "prompt") or _text(values, "text") or "",
        response=_text(values, "response") or "",
        reference=_text(values, "reference"),
        context=_text(values, "context"),
        tags=_tags(values.get("tags")),
    )
    if "responses" in values or "chars" in values:
        return _pair(sample, values)
    labels = tuple(_pointwise(values))
    for label in labels:
        seconds(label.at)
    known = {each.id: each for each in rubric.rubric.criteria}
    for label in labels:
        if label.criterion not in known:
            raise DataError(
                f"{label.criterion!r} is no criterion of {rubric.rubric.id} ({', '.join(known)})"
            )
        if label.label != CANNOT_ASSESS:
            grade(known[label.criterion], label.label)
    if not labels:
        raise DataError(
            "the row has no human labels: expected `human:` or `rater`, `criterion`, `label`"
        )
    return Labelled(sample, labels)


def _is_blank(values: Mapping[str, Any]) -> bool:
    if values.keys() & {"responses", "chars", _GOLD} or values.get("label") is not None:
        return False
    human = values.get("human") or []
    return isinstance(human, list) and not any(
        not isinstance(each, dict) or each.get("labels") != {} for each in human
    )


def _pointwise(values: Mapping[str, Any]) -> Iterator[HumanLabel]:
    if "criterion" in values:
        at = values.get("at")
        yield HumanLabel(
            str(values.get("rater", "")), str(values["criterion"]), _plain(values.get("label")), at
        )
        return
    human = values.get("human")
    if not isinstance(human, list):
        return
    for each in human:
        labels = each.get("labels") if isinstance(each, dict) else None
        if not isinstance(labels, dict):
            raise DataError("an entry of `human` has no `labels`")
        for criterion, label in labels.items():
            yield HumanLabel(str(each.get("rater", "")), criterion, _plain(label), each.get("at"))


def _pair(sample: Sample, values: Mapping[str, Any]) -> Labelled:
    responses = values.get("responses") or {"A": "", "B": ""}
    if not isinstance(responses, dict) or not {"A", "B"} <= responses.keys():
        raise DataError("`responses` must hold A and B")
    human = values.get("human") or []
    labels = [
        HumanLabel(str(each.get("rater", "")), "", _plain(each.get("label")), each.get("at"))
        for each in human
        if isinstance(each, dict)
    ]
    if _GOLD in values:
        labels.append(HumanLabel(_GOLD, "", _plain(values[_GOLD])))
    if not labels or any(label.label not in _PREFERRED for label in labels):
        raise DataError("a pair needs `human` or `gold` with labels A, B or tie")
    for label in labels:
        seconds(label.at)
    recorded = tuple(
        (str(each.get("judge")), str(each.get("order")), each.get("verdict"))
        for each in values.get("recorded_judges") or []
    )
    return Labelled(
        sample,
        tuple(labels),
        (str(responses["A"]), str(responses["B"])),
        recorded,
        values.get("models") or {},
        values.get("chars") or {},
    )


def _plain(label: object) -> Label:
    if isinstance(label, str | int | float | bool):
        return label
    raise DataError(f"{label!r} is no label")


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None or isinstance(value, str):
        return value
    raise DataError(f"`{name}` is no text")


def _tags(value: object) -> dict[str, str]:
    if isinstance(value, dict):
        return {str(key): str(each) for key, each in value.items()}
    if isinstance(value, list):  # a plain list of marks
        return {"kind": str(value[-1])} if value else {}
    return {}
