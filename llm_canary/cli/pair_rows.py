"""The rows of a file of pairs: two answers to the same prompt, and which arm each is of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_canary.documents.rows import Row, RowProblems, read_rows
from llm_canary.errors import ConfigError, DataError
from llm_canary.review.pairs import PairEntry
from llm_canary.rubric.item import item_of

_ARMS = {"control", "canary"}
_OWN = {"a", "b", "arm_a", "arm_b"}


def read_pairs(path: Path) -> list[PairEntry]:
    """Return the pairs of a file; raise ConfigError that names each row that is wrong."""
    problems = RowProblems(path)
    found: list[PairEntry] = []
    for row in read_rows(path, problems):
        try:
            found.append(_entry(row))
        except DataError as error:
            problems.add(row.line, error.message)
    problems.raise_any()
    if not found:
        raise ConfigError(f"{path.name} holds no pairs")
    return found


def _entry(row: Row) -> PairEntry:
    values = row.values
    item = item_of(Row(row.line, {name: each for name, each in values.items() if name not in _OWN}))
    a, b = (_text(values, name) for name in ("a", "b"))
    arms = [values.get(name) for name in ("arm_a", "arm_b")]
    if arms != [None, None] and set(arms) != _ARMS:
        raise DataError("`arm_a` and `arm_b` are control and canary, or both absent")
    messages = [dict(each) for each in item.history]
    messages.append({"role": "user", "content": item.prompt})
    return PairEntry(item.id, messages, a, b, arms[0], arms[1])


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise DataError(f"`{name}` is no text; a pair has the answers `a` and `b`")
    if "\0" in value:
        raise DataError(f"`{name}` has a NUL character, which no database keeps")
    return value
