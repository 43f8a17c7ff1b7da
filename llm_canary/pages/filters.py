"""What the query of a list page asks for: read strictly, shown again as a form, kept in links."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from llm_canary.errors import InvalidRequest
from llm_canary.pages.visit import Visit

_LONGEST = 200
_SCORE = re.compile(r"[01](\.\d{1,6})?|0?\.\d{1,6}")


@dataclass(frozen=True)
class FilterField:
    """One field of a filter form; a select where there are options (value, label)."""

    name: str
    label: str
    value: str
    kind: str = "text"
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class FilterForm:
    """A filter form; `is_open` where anything is asked for."""

    action: str
    fields: tuple[FilterField, ...]
    hidden: tuple[tuple[str, str], ...] = ()

    @property
    def is_used(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.hidden) or any(each.value for each in self.fields)


@dataclass(frozen=True)
class Pager:
    """Links to the pages beside this one; empty where there is none."""

    newer: str
    older: str
    text: str


def asked_text(visit: Visit, name: str) -> str | None:
    """Return a text of the query, None when it is absent or empty; raise InvalidRequest."""
    text = visit.query.get(name, "").strip(" ")
    if len(text) > _LONGEST or not text.isprintable():
        raise InvalidRequest(
            f"`{name}` is {text[:40]!r}; expected at most {_LONGEST} printable characters",
            param=name,
        )
    return text or None


def asked_choice(visit: Visit, name: str, options: Sequence[str]) -> str | None:
    """Return a word of the query that is among the options, None when it is absent or empty."""
    return visit.choice(name, ("", *options)) or None


def asked_score(visit: Visit, name: str) -> float | None:
    """Return a number from 0 to 1 of the query, None when it is absent or empty."""
    text = visit.query.get(name, "").strip(" ")
    if not text:
        return None
    if _SCORE.fullmatch(text) is None or float(text) > 1.0:
        raise InvalidRequest(
            f"`{name}` is {text[:40]!r}; expected a number from 0 to 1", param=name
        )
    return float(text)


def asked_moment(visit: Visit, name: str) -> datetime | None:
    """Return a moment in UTC of the query, as browsers send it: 2026-11-28T13:00."""
    text = visit.query.get(name, "").strip(" ")
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"`{name}` is {text[:40]!r}; expected a moment in UTC such as 2026-11-28T13:00",
            param=name,
        ) from None


def with_query(path: str, values: Mapping[str, object]) -> str:
    """Return the path with what is not empty as its query."""
    kept = {name: value for name, value in values.items() if value not in (None, "", False)}
    return f"{path}?{urlencode(kept)}" if kept else path


def select_field(
    name: str, label: str, value: str | None, options: Sequence[str | tuple[str, str]], every: str
) -> FilterField:
    """Return a select; `every` is the word for no choice. What was asked for can be kept."""
    pairs = [each if isinstance(each, tuple) else (each, each) for each in options]
    if value and value not in {each[0] for each in pairs}:
        pairs.append((value, value))
    return FilterField(name, label, value or "", "select", (("", every), *pairs))
