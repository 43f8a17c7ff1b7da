"""The segments of a rollout as tables: each value with its metrics, flagged ones marked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from llm_canary.decision.slices import SliceComparison
from llm_canary.pages.metric_row import MetricRow, metric_row
from llm_canary.pages.quantity import count_text
from llm_canary.pages.states import Word
from llm_canary.pages.visible import visible
from llm_canary.rollout.detail import RolloutSlices

VALUES_SHOWN = 6  # of a segment, where its page is a link away


@dataclass(frozen=True)
class SliceRow:
    """One metric in one slice."""

    flag: Word
    metric: MetricRow
    anchor: str


@dataclass(frozen=True)
class ValueRows:
    """One value of a segment; its metrics, flagged ones first."""

    value: str
    units: str
    rows: tuple[SliceRow, ...]


@dataclass(frozen=True)
class SegmentTable:
    """One segment."""

    name: str
    anchor: str
    is_protected: bool
    mark: Word
    values: tuple[ValueRows, ...]
    left_out: int  # values that the table has no room for


def segment_tables(found: RolloutSlices, *, only: str | None = None) -> tuple[SegmentTable, ...]:
    """Return a table for each segment, protected ones first; values in the order of `found`."""
    by_segment: dict[str, list[SliceComparison]] = {name: [] for name in found.segments}
    for each in found.slices:
        by_segment.setdefault(each.segment, []).append(each)
    names = sorted(by_segment, key=lambda name: (name not in found.protected, name))
    return tuple(
        _table(name, by_segment[name], found) for name in names if only is None or name == only
    )


def _table(name: str, slices: Sequence[SliceComparison], found: RolloutSlices) -> SegmentTable:
    by_value: dict[str, list[SliceComparison]] = defaultdict(list)
    for each in slices:
        by_value[each.value].append(each)
    return SegmentTable(
        name=name,
        anchor=f"segment-{name}",
        is_protected=name in found.protected,
        mark=_mark(slices),
        values=tuple(_value(own) for own in by_value.values()),
        left_out=found.left_out.get(name, 0),
    )


def _mark(slices: Sequence[SliceComparison]) -> Word:
    flagged = sum(each.is_flagged or each.rolls_back for each in slices)
    if not slices:
        return Word("No data", "quiet")
    if not flagged:
        return Word("Nothing flagged", "good")
    return Word(f"{count_text(flagged)} flagged", "bad")


def _value(own: Sequence[SliceComparison]) -> ValueRows:
    first = max(own, key=lambda each: each.comparison.units_canary).comparison
    ranked = sorted(own, key=lambda each: not (each.is_flagged or each.rolls_back))
    return ValueRows(
        value=visible(own[0].value),
        units=f"{count_text(first.units_control)} / {count_text(first.units_canary)} units",
        rows=tuple(_row(each) for each in ranked),
    )


def _row(each: SliceComparison) -> SliceRow:
    return SliceRow(
        flag=_flag(each),
        metric=metric_row(each.comparison, None),
        anchor=f"slice-{each.segment}-{each.value}-{each.comparison.metric}",
    )


def _flag(each: SliceComparison) -> Word:
    if each.rolls_back:
        return Word("Rings the alarm", "bad")
    if each.is_flagged:
        return Word("Flagged", "bad")
    if each.comparison.log_e_harm is None:
        return Word("No data", "quiet")
    return Word("Few units" if each.comparison.is_rough else "Not flagged", "quiet")
