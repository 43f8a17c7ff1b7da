"""A chart as the table that it is drawn from: titles, cells, and the main fact in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from math import ceil, exp, log
from typing import NamedTuple

from llm_canary.clock import utc
from llm_canary.pages.quantity import ABSENT, Unit, value_text
from llm_canary.routing.table import Role
from llm_canary.stats.histogram import LogHistogram

_BARS = 24


class Column(NamedTuple):
    """One line of a chart; `weight` tells lines of one arm apart."""

    title: str
    arm: Role
    weight: str = "light"  # light | heavy


class Row(NamedTuple):
    """One point of each line. `at` is a second for charts over time, else a place on the axis."""

    at: float
    label: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Chart:
    """What one figure shows."""

    anchor: str
    title: str
    unit: str
    fact: str  # the text alternative
    kind: str  # time | spread
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    first: str = "Time (UTC)"


Value = Callable[[Role, int], float | None]


class Line(NamedTuple):
    """A column with where its values come from."""

    column: Column
    value: Value


def over_time(
    title: str, unit: str, fact: str, lines: Sequence[Line], times: Iterable[int]
) -> Chart | None:
    """Return the chart, or None when there is nothing to show; a time without values is left out.

    The space between two bins that do not touch is a gap.
    """
    rows = []
    for at in times:
        values = [line.value(line.column.arm, at) for line in lines]
        if any(value is not None for value in values):
            rows.append(Row(at, _minute(at), tuple(map(number, values))))
    if not rows:
        return None
    columns = tuple(line.column for line in lines)
    return Chart(anchor_of(title), title, unit, fact, "time", columns, tuple(rows))


def spread(
    title: str, unit: str, fact: str, histograms: Mapping[Role, LogHistogram]
) -> Chart | None:
    """Return the distributions of both arms, in bars of one ratio, as shares of the arm."""
    counts = {role: histogram.cells() for role, histogram in histograms.items()}
    positive = [middle for cells in counts.values() for middle, _ in cells if middle > 0]
    if not positive:
        return None
    low, high = log(min(positive)), log(max(positive))
    width = max((high - low) / _BARS, log(1.1))
    bars = ceil((high - low) / width) or 1
    shares = {role: [0.0] * bars for role in histograms}
    for role, cells in counts.items():
        whole = histograms[role].count
        for middle, count in cells:
            place = 0 if middle <= 0 else min(int((log(middle) - low) / width), bars - 1)
            shares[role][place] += 100 * count / whole
    edges = [exp(low + place * width) for place in range(bars + 1)]
    labels = [f"{_edge(a)} to {_edge(b)}" for a, b in pairwise(edges)]
    return shares_chart(title, unit, fact, labels, shares)


def shares_chart(
    title: str, unit: str, fact: str, labels: Sequence[str], shares: Mapping[Role, list[float]]
) -> Chart:
    """Return bars of both arms side by side; an arm without values has none."""
    columns = tuple(Column(f"{role.capitalize()}, %", role) for role in shares)
    rows = tuple(
        Row(
            place,
            label,
            tuple(number(each[place] if any(each) else None) for each in shares.values()),
        )
        for place, label in enumerate(labels)
    )
    share = f"{unit}; % of the arm"
    return Chart(anchor_of(title), title, share, fact, "spread", columns, rows, unit.capitalize())


def comparison_text(
    what: str,
    values: Mapping[Role, float | None],
    unit: Unit,
    when: str,
    *,
    places: int | None = None,
) -> str:
    """Say what both arms come to."""
    canary, control = values[Role.CANARY], values[Role.CONTROL]
    if canary is None and control is None:
        return f"{what}: no data {when}."
    shown = [value_text(each, unit, places) for each in (canary, control)]
    if canary is None or control is None:
        only = "control" if canary is None else "canary"
        return f"{what}: {only} {shown[canary is None]} {when}; the other arm has no data."
    return f"{what}: canary {shown[0]} against control {shown[1]} {when}."


def number(value: float | None) -> str:
    """Write a number of a table that a program reads too: four digits that count."""
    if value is None:
        return ABSENT
    if value >= 1_000:
        return f"{value:.0f}"
    text = f"{value:.4g}"
    return text if "e" not in text else f"{value:.10f}".rstrip("0").rstrip(".")


def anchor_of(title: str) -> str:
    """Return an id for the title, its own and without special characters."""
    return f"chart-{blake2b(title.encode(), digest_size=6).hexdigest()}"


@lru_cache(maxsize=2_048)  # all charts of a page share their times
def _minute(at_s: int) -> str:
    return f"{utc(at_s):%Y-%m-%d %H:%M}"


def _edge(value: float) -> str:
    return number(round(value) if value >= 10 else value)
