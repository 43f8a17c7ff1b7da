"""Numbers as people read them: the unit beside the value, the digits that the margin needs."""

from __future__ import annotations

from datetime import datetime
from math import floor, log10
from typing import NamedTuple

ABSENT = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
_THIN = "\N{NARROW NO-BREAK SPACE}"


class Unit(NamedTuple):
    """How the values of a metric, and differences between them, are written."""

    scale: float  # shown value = stored value * scale
    value: str  # suffix of a value
    difference: str  # suffix of a difference
    prefix: str = ""


RATE = Unit(100.0, f"{_THIN}%", f"{_THIN}pp")
BARE = Unit(1.0, "", "")
_UNITS = {
    "rate": RATE,
    "points": Unit(1.0, f"{_THIN}points", f"{_THIN}points"),
    "ms": Unit(1.0, f"{_THIN}ms", f"{_THIN}ms"),
    "nanousd": Unit(1e-9, "", "", "$"),
    "tokens": Unit(1.0, f"{_THIN}tokens", f"{_THIN}tokens"),
}


def unit_of(name: str) -> Unit:
    """Return how values in the unit `name` are written; an unknown unit is written bare."""
    return _UNITS.get(name, BARE)


def places_for(margin: float | None, unit: Unit) -> int | None:
    """Return the decimals that resolve a hundredth of the margin, for a row to be written alike."""
    if margin is None or margin <= 0:
        return None
    return min(max(0, 2 - floor(log10(2 * margin * unit.scale))), 9)


def value_text(value: float | None, unit: Unit, places: int | None = None) -> str:
    """Write a value of a metric."""
    if value is None:
        return ABSENT
    return f"{unit.prefix}{_digits(value * unit.scale, places)}{unit.value}"


def difference_text(value: float | None, unit: Unit, places: int | None = None) -> str:
    """Write a difference, its sign always shown."""
    if value is None:
        return ABSENT
    number = _digits(abs(value) * unit.scale, places)
    is_zero = not any(mark in "123456789" for mark in number)
    sign = "" if is_zero else MINUS if value < 0 else "+"
    return f"{sign}{unit.prefix}{number}{unit.difference}"


def interval_text(
    low: float | None, high: float | None, unit: Unit, places: int | None = None
) -> str:
    """Write an interval of a difference; an end that is not known is infinite."""
    if low is None and high is None:
        return ABSENT
    left = f"{MINUS}\N{INFINITY}" if low is None else difference_text(low, unit, places)
    right = "+\N{INFINITY}" if high is None else difference_text(high, unit, places)
    if right.endswith(unit.difference):
        left = left.removesuffix(unit.difference)
    return f"{left} to {right}"


def share_text(share: float) -> str:
    """Write a share of the units."""
    return f"{_plain(share * 100)}{_THIN}%"


def count_text(count: float | None) -> str:
    """Write a count."""
    return ABSENT if count is None else f"{round(count):,}"


def money_text(nanousd: float | None) -> str:
    """Write an amount of money: cents from a dollar on, three digits below."""
    if nanousd is None:
        return ABSENT
    usd = nanousd / 1e9
    return f"{MINUS if usd < 0 else ''}${_digits(abs(usd), 2 if abs(usd) >= 1 else None)}"


def duration_text(seconds: float) -> str:
    """Write a duration by its two largest units; whole minutes from ten minutes on."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}{_THIN}s"
    if whole < 600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}{_THIN}min" + (f" {rest}{_THIN}s" if rest else "")
    days, rest = divmod(whole // 60, 1440)
    hours, minutes = divmod(rest, 60)
    if days >= 3:
        minutes = 0
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join(f"{number}{_THIN}{name}" for number, name in parts if number)


def ago_text(seconds: float) -> str:
    """Write how long ago something was, coarse enough not to change with every look."""
    if seconds < 60:
        return "less than a minute ago"
    step = 60 if seconds < 3600 else 3600
    return f"{duration_text(seconds // step * step)} ago"


def moment_text(moment: datetime) -> str:
    """Write a moment in UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _digits(number: float, places: int | None) -> str:
    size = abs(number)
    if places is None:
        places = 2 if size == 0 else min(max(0, 2 - floor(log10(size))), 9)
    return f"{number:,.{places}f}".replace("-", MINUS)


def _plain(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
