"""Numbers as people read them."""

from __future__ import annotations

from math import floor, log10

from llm_canary.metrics.spec import Unit


def value_text(unit: Unit, value: float | None) -> str:
    """Return a value in the unit."""
    return "no value" if value is None else _text(unit, value)


def change_text(unit: Unit, change: float | None, *, signed: bool = True) -> str:
    """Return a difference in the unit; of rates in percentage points."""
    if change is None:
        return "unbounded"
    sign = "+" if signed and change >= 0 else ""
    if unit is Unit.RATE:
        return f"{sign}{change * 100:.{_decimals(change * 100)}f} pp"
    return sign + _text(unit, change)


def duration_text(seconds: float) -> str:
    """Return a duration in its largest fitting unit."""
    for size, name in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if abs(seconds) >= 1.5 * size:
            return f"{seconds / size:.1f} {name}".replace(".0 ", " ")
    return f"{seconds:.0f} s"


def _text(unit: Unit, value: float) -> str:
    if unit is Unit.RATE:
        return f"{value * 100:.{_decimals(value * 100)}f} %"
    if unit is Unit.POINTS:
        return f"{value:.3f} points"
    if unit is Unit.NANOUSD:
        return f"{'-' if value < 0 else ''}${_three_digits(abs(value) / 1e9)}"
    if unit is Unit.MILLISECONDS:
        return f"{value:.0f} ms"
    if unit is Unit.NUMBER:
        return f"{'-' if value < 0 else ''}{_three_digits(abs(value))}"
    return f"{value:.1f} {unit.value}"


def _three_digits(value: float) -> str:
    places = 2 if value == 0 else min(max(0, 2 - floor(log10(value))), 12)
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text


def _decimals(percent: float) -> int:
    return 2 if abs(percent) < 1 else 1
