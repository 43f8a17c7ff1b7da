"""What changed between two versions of a rubric, and which labels the change makes stale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from llm_canary.rubric.load import LoadedRubric

_OVERALL = ("instructions", "inputs")  # what every grade of a judge or a person rests on


class Difference(NamedTuple):
    """The difference from an old to a new version."""

    changes: tuple[str, ...]  # one line each, what was and what is
    stale: tuple[str, ...]  # criteria whose human labels no longer count
    version_missing: bool  # the meaning changed and `version` did not rise


def diff(old: LoadedRubric, new: LoadedRubric) -> Difference:
    """Return what changed from `old` to `new`."""
    before, after = old.rubric.meaning(), new.rubric.meaning()
    changes: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        if key == "criteria":
            changes += _criteria(old, new)
        elif key == "examples" and before[key] != after[key]:
            changes.append(f"examples: {len(before[key])} were, {len(after[key])} are")
        elif before.get(key) != after.get(key):
            changes += _lines(key, before.get(key), after.get(key))
    was, now = _by_id(old), _by_id(new)
    stale = [name for name in now if name not in was or _asks(was[name]) != _asks(now[name])]
    if any(before[key] != after[key] for key in _OVERALL):
        stale = list(now)
    changed = old.content_hash != new.content_hash
    return Difference(
        tuple(changes), tuple(stale), changed and new.rubric.version <= old.rubric.version
    )


def _criteria(old: LoadedRubric, new: LoadedRubric) -> Iterator[str]:
    was, now = _by_id(old), _by_id(new)
    for name in dict.fromkeys([*was, *now]):
        if name not in now or name not in was:
            yield f"criteria.{name}: {'added' if name in now else 'removed'}"
        elif was[name] != now[name]:
            yield from _lines(f"criteria.{name}", was[name], now[name])
        elif old.schemas.get(name) != new.schemas.get(name):
            yield f"criteria.{name}.check: the file of the schema changed"


def _by_id(loaded: LoadedRubric) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in loaded.rubric.meaning()["criteria"]}


def _asks(criterion: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a grade of the criterion answers; weights only matter to the score."""
    return {key: value for key, value in criterion.items() if key not in ("weight", "must_pass")}


def _lines(path: str, old: object, new: object) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
            for line in _lines(f"{path}.{key}", old.get(key), new.get(key))
        ]
    return [f"{path}: {_short(old)} -> {_short(new)}"]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"
