"""The kinds of values a user writes: durations, shares, margins, names and references."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from llm_canary.config import secrets
from llm_canary.decision.plan import Margin, MarginUnit
from llm_canary.documents.entry import expected, pattern
from llm_canary.privacy.custom import MAX_PATTERN_CHARS, problem_of

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|s|m|h|d|w)")
_NUMBER = re.compile(r"(-?\d{1,9}(?:\.\d{1,9})?)(%|pp)?")
_MAX_DURATION_S = 10 * 365 * 86_400.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ROUTE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")
_PROMPT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}(:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")
_SOURCE = re.compile(r"header:[A-Za-z0-9-]{1,64}|body:[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,7}")
_API_VERSION = re.compile(r"20\d\d-[01]\d-[0-3]\d(-preview)?")
_SEGMENT = re.compile(r"header:[A-Za-z0-9-]{1,64}|detect|first_message|derive")
_PATTERN_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def seconds_of(value: object) -> float | None:
    """Return the seconds of a duration such as 24h, None when it is none."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = float(Decimal(match[1])) * _UNITS_S[match[2]] if match else None
    return None if seconds is None or seconds > _MAX_DURATION_S else seconds


def _duration(value: object) -> float:
    seconds = seconds_of(value)
    if seconds is None:
        raise expected(
            "a duration such as 90s, 30m, 24h or 7d", do="write the number with its unit"
        )
    return seconds


def _fraction(value: object) -> tuple[float, str | None] | None:
    """Return the number and its unit as written, '%' and 'pp' already divided by 100."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if match:
        number = Decimal(match[1])
        return float(number / 100 if match[2] else number), match[2]
    return None if isinstance(value, str) else (float(value), None)


def _share(value: object) -> float:
    parsed = _fraction(value)
    if parsed is None or parsed[1] == "pp" or not 0 <= parsed[0] <= 1:
        raise expected("a share such as 5% or 0.05")
    return parsed[0]


def _margin(value: object) -> Margin:
    if isinstance(value, Margin):
        return value
    parsed = _fraction(value)
    if parsed is None:
        raise expected(
            "0.5pp (points of a rate), 10% (of control's value) or 0.03 (the metric's unit)"
        )
    unit = MarginUnit.RELATIVE if parsed[1] == "%" else MarginUnit.ABSOLUTE
    return Margin(value=parsed[0], unit=unit)


def _positive_margin(value: object) -> Margin:
    margin = _margin(value)
    if margin.value <= 0:
        raise expected("a margin above 0", do="no test can show that nothing at all has changed")
    return margin


def _tolerance(value: object) -> Margin:
    tolerance = _margin(value)
    if tolerance.value < 0:
        raise expected("a tolerance of 0 or more")
    return tolerance


def _reference(value: object) -> str:
    if isinstance(value, str) and secrets.is_reference(value):
        return value
    do = "put the secret into the environment or a file and refer to it"
    raise PydanticCustomError("secret", "", {"expected": f"a reference: {secrets.FORMS}", "do": do})


def _pattern(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_PATTERN_CHARS:
        raise expected(f"a pattern of 1 to {MAX_PATTERN_CHARS} characters")
    if (problem := problem_of(value)) is not None:
        raise expected("a pattern in RE2's syntax", do=problem)
    return value


def _margin_text(margin: Margin) -> str:
    return f"{margin.value!r} {margin.unit}"


def _documented(kind: str) -> WithJsonSchema:
    """Name the kind in the reference table of docs/configuration.md."""
    return WithJsonSchema({"type": "string", "format": kind})


Duration = Annotated[float, BeforeValidator(_duration), _documented("duration")]  # seconds
Share = Annotated[float, BeforeValidator(_share), _documented("share")]  # 0-1
_margin_as_text = PlainSerializer(_margin_text)
PositiveMargin = Annotated[
    Margin, PlainValidator(_positive_margin), _margin_as_text, _documented("margin")
]
Tolerance = Annotated[Margin, PlainValidator(_tolerance), _margin_as_text, _documented("margin")]
SecretReference = Annotated[str, BeforeValidator(_reference), _documented("reference")]
Name = Annotated[
    str, pattern(_NAME, "letters, digits, '.', '_' and '-', at most 64, the first no sign")
]
RouteName = Annotated[
    str, pattern(_ROUTE_NAME, "letters, digits and ._:/@-, at most 128, the first no sign")
]
PromptName = Annotated[
    str, pattern(_PROMPT_NAME, "a name such as support/v12, which is the file support/v12.md")
]
MetricName = Annotated[str, pattern(_METRIC_NAME, "a metric such as error_rate or rubric:helpful")]
PatternName = Annotated[
    str, pattern(_PATTERN_NAME, "lower-case letters, digits and '_', at most 32, first a letter")
]
PatternText = Annotated[str, BeforeValidator(_pattern), _documented("pattern")]
ApiVersion = Annotated[
    str, pattern(_API_VERSION, "a version of Azure's API such as '2024-10-21', with its quotes")
]
UnitSource = Annotated[str, pattern(_SOURCE, "header:NAME or body:field.field")]
SegmentSource = Annotated[str, pattern(_SEGMENT, "header:NAME, detect, first_message or derive")]
