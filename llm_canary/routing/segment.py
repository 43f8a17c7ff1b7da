"""Segments: properties of a request that no variant can influence, and the rules over them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from llm_canary.language import detect_language
from llm_canary.routing.assign import header_text

HEADER_PREFIX = "x-canary-segment-"
MAX_VALUE_CHARS = 64
_HOUR_S = 3600
_DAY_S = 86_400
_WEEKDAYS = ("thu", "fri", "sat", "sun", "mon", "tue", "wed")  # the epoch began on a Thursday
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


class SegmentSource:
    """How the value of one segment is found."""

    __slots__ = ("_header", "_kind", "name")

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        kind, _, header = source.partition(":")
        self._kind = kind
        self._header = header.lower().encode() if kind == "header" else b""

    def value(
        self, headers: Mapping[bytes, bytes], at_s: float, first_message: Callable[[], str]
    ) -> str | None:
        """Return the segment's value, or None when the request does not tell it."""
        if self._kind == "header":
            raw = headers.get(self._header)
            return clean(header_text(raw)) if raw else None
        if self._kind == "derive":
            return derived(self.name, at_s)
        if self._kind == "first_message":
            return length_class(len(first_message()))
        if self._kind == "detect":
            return detect_language(first_message())
        return None


def default_source(name: str) -> SegmentSource:
    """Return the source of a segment that the route does not declare: its own header."""
    return SegmentSource(name, f"header:{HEADER_PREFIX}{name.replace('_', '-')}")


def clean(value: str) -> str | None:
    """Return `value` fit for a label: short, no control characters; None when nothing is left."""
    return _CONTROL_CHARACTERS.sub("", value)[:MAX_VALUE_CHARS].strip() or None


def derived(name: str, at_s: float) -> str | None:
    """Return the UTC hour ("00".."23") or weekday ("mon".."sun"); other names have no value."""
    if name == "hour":
        return f"{int(at_s) % _DAY_S // _HOUR_S:02d}"
    if name == "weekday":
        return _WEEKDAYS[int(at_s) // _DAY_S % 7]
    return None


def length_class(characters: int) -> str:
    """Return the class of an input of that many characters."""
    for limit, label in ((200, "short"), (1_000, "medium"), (4_000, "long")):
        if characters < limit:
            return label
    return "very_long"


def is_eligible(rules: Mapping[str, Any], values: Mapping[str, str | None]) -> bool:
    """Say whether every rule holds; a segment without a value fails its rule."""
    return all(_holds(rule, values.get(name)) for name, rule in rules.items())


def _holds(rule: object, value: str | None) -> bool:
    if value is None:
        return False
    if isinstance(rule, Mapping):
        try:
            number = float(value)
        except ValueError:
            return False
        low, high = rule.get("min"), rule.get("max")
        # Written so that a NaN sent as a header fails.
        return (low is None or number >= low) and (high is None or number <= high)
    allowed = rule if isinstance(rule, list | tuple | set | frozenset) else (rule,)
    return value in {_text(item) for item in allowed}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
