"""Numbers as people read them."""

from __future__ import annotations

from llm_canary.metrics.spec import MetricSpec, Scale, Unit


def value_text(spec: MetricSpec, value: float | None) -> str:
    """Return a value of the metric, in its own unit and orientation."""
    return "no value" if value is None else _text(spec.unit, value)


def change_text(spec: MetricSpec, change: float | None, *, signed: bool = True) -> str:
    """Return a difference on the scored scale: percentage points for every 0/1 number."""
    if change is None:
        return "unbounded"
    sign = "+" if signed and change >= 0 else ""
    if spec.scale is not Scale.WINSORISED:
        return f"{sign}{change * 100:.{_decimals(change * 100)}f} pp"
    return sign + _text(spec.unit, change)


def duration_text(seconds: float) -> str:
    """Return a duration in its largest fitting unit."""
    for size, name in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if abs(seconds) >= 1.5 * size:
            return f"{seconds / size:.1f} {name}".replace(".0 ", " ")
    return f"{seconds:.0f} s"


def _text(unit: Unit, value: float) -> str:
    if unit is Unit.RATE:
        return f"{value * 100:.{_decimals(value * 100)}f} %"
    if unit is Unit.NANOUSD:
        return f"${value / 1e9:.3g}" if value >= 0 else f"-${-value / 1e9:.3g}"
    if unit is Unit.MILLISECONDS:
        return f"{value:.0f} ms"
    return f"{value:.1f} {unit.value}"


def _decimals(percent: float) -> int:
    return 2 if abs(percent) < 1 else 1
