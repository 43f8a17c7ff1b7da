"""Reads rubrics, or says everything that is wrong with one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for

from llm_canary.documents.document import Document, Hints, parse_document, read_document
from llm_canary.documents.problems import KeyPath, Problems, did_you_mean, one_of, shown
from llm_canary.documents.validate import Form, validate
from llm_canary.errors import ConfigError, DataError
from llm_canary.resources import resource_dir
from llm_canary.rubric.check_entries import JsonSchemaRule
from llm_canary.rubric.grades import grade
from llm_canary.rubric.schema import JudgesEntry, Rubric

FORM = Form(
    Rubric,
    stand_ins={
        "schema": "llm_canary.rubric/v1",
        "id": "unknown",
        "version": 1,
        "requirement": "-",
        "response": "-",
        "question": "-",
        "model": "-",
    },
)
_HINTS = Hints(begins="schema: llm_canary.rubric/v1")


@dataclass(frozen=True)
class LoadedRubric:
    """A rubric that is right in itself."""

    rubric: Rubric
    path: Path | None
    content_hash: str  # SHA-256 of what grades depend on
    lines: Document
    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # criterion -> schema


def load_rubric(path: Path) -> LoadedRubric:
    """Return the rubric of the file `path`; raise ConfigError with every problem at once."""
    problems = Problems(path.name)
    return _loaded(read_document(path, problems, _HINTS), problems, path)


def parse_rubric(text: str, *, name: str = "rubric.yaml") -> LoadedRubric:
    """Return the rubric that `text` holds; files that it refers to are not read."""
    problems = Problems(name)
    return _loaded(parse_document(text, problems, _HINTS), problems, None)


def find_rubric(name: str, folder: Path) -> Path:
    """Return `folder`/rubrics/NAME.yaml, or the shipped one; raise ConfigError for neither."""
    places = [folder / "rubrics", resource_dir("rubrics")]
    for place in places:
        if (place / f"{name}.yaml").is_file():
            return place / f"{name}.yaml"
    known = {path.stem for place in places for path in place.glob("*.yaml")}
    do = did_you_mean(name, known)
    raise ConfigError(
        f"there is no rubric {shown(name)}; expected the file rubrics/{name}.yaml, or "
        f"{one_of(known)}{'; ' if do else ''}{do}"
    )


def rubric_of(word: str, folder: Path) -> LoadedRubric:
    """Return the rubric that a user names: by the path of its file, or by its name."""
    path = Path(word)
    return load_rubric(path if path.suffix in (".yaml", ".yml") else find_rubric(word, folder))


def _loaded(document: Document, problems: Problems, path: Path | None) -> LoadedRubric:
    problems.line_of = document.line_of
    rubric = validate(document, problems, FORM)
    if path is not None and rubric.id != path.stem and not problems:
        problems.add(("id",), f"{rubric.id!r} is not the file's name", expected=repr(path.stem))
    _check_criteria(rubric, problems)
    _check_examples(rubric, problems)
    _check_judges(rubric.judges, [each.id for each in rubric.criteria], problems)
    schemas = _schemas(rubric, path, problems)
    if problems:
        raise problems.error()
    meaning = rubric.meaning() | {"schemas": schemas}
    canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return LoadedRubric(rubric, path, digest, document, schemas)


def _check_criteria(rubric: Rubric, problems: Problems) -> None:
    if not rubric.criteria and rubric.pairwise is None:
        problems.add(
            ("criteria",),
            "there is nothing to grade",
            expected="`criteria:`, `pairwise:` or both",
            do="add one criterion",
        )
    seen: set[str] = set()
    for index, criterion in enumerate(rubric.criteria):
        if criterion.id in seen:
            problems.add(
                ("criteria", index, "id"), f"{criterion.id!r} stands twice", expected="each id once"
            )
        seen.add(criterion.id)
        for name in criterion.requires:
            if getattr(rubric.inputs, name) == "never":
                wrong = f"{name!r} is required here and never given"
                problems.add(("criteria", index, "requires"), wrong, expected=f"inputs.{name}")
    # Faults alone can only lower: without a merit, every answer would have the best score.
    if rubric.criteria and all(each.weight < 0 for each in rubric.criteria):
        problems.add(
            ("criteria",),
            "every weight is below 0",
            expected="a merit",
            do="add a criterion that a good answer meets",
        )


def _check_examples(rubric: Rubric, problems: Problems) -> None:
    known = {each.id: each for each in rubric.criteria}
    if not known and rubric.examples:
        problems.add(("criteria",), "the examples have no criteria", expected="`criteria:`")
        return
    for index, example in enumerate(rubric.examples):
        for name, label in example.labels.items():
            path: KeyPath = ("examples", index, "labels", name)
            if name not in known:
                do = did_you_mean(name, known)
                problems.add(path, "no such criterion", expected=one_of(known), do=do)
                continue
            try:
                grade(known[name], label)
            except DataError as error:
                problems.add(path, error.message)


def _check_judges(judges: JudgesEntry | None, known: list[str], problems: Problems) -> None:
    if judges is None:
        return
    if judges.primary.when is not None:
        wrong = "`when` says when the second judge is asked"
        problems.add(
            ("judges", "primary", "when"), wrong, expected="it under `escalate:`", do="move it"
        )
    if judges.escalate is None or judges.escalate.when is None:
        return
    for name in judges.escalate.when.criteria:
        if name not in known:
            do = did_you_mean(name, known)
            path = ("judges", "escalate", "when", "criteria", name)
            problems.add(path, "no such criterion", expected=one_of(known), do=do)


def _schemas(rubric: Rubric, path: Path | None, problems: Problems) -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each criterion that has one."""
    found: dict[str, dict[str, Any]] = {}
    for index, criterion in enumerate(rubric.criteria):
        rule = getattr(criterion, "check", None)
        if not isinstance(rule, JsonSchemaRule):
            continue
        at: KeyPath = ("criteria", index, "check", "schema" if rule.schema_ else "path")
        schema = rule.schema_ or _schema_file(rule.path or "", path, at, problems)
        if schema is None:
            continue
        try:
            validator_for(schema).check_schema(schema)
        except SchemaError as error:
            problems.add(at, f"it is no JSON schema ({error.message[:200]})")
            continue
        found[criterion.id] = schema
    return found


def _schema_file(
    name: str, path: Path | None, at: KeyPath, problems: Problems
) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        schema = json.loads((path.parent / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        problems.add(at, f"{shown(name)} cannot be read: {reason}", expected="a file of JSON")
        return None
    if not isinstance(schema, dict):
        problems.add(at, f"{shown(name)} holds no object", expected="a JSON schema")
        return None
    return schema
