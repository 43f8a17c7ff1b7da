"""The sums of a rollout: what they hold, how they travel (msgpack), how shards of them merge.

They grow with units, segments and stages, never with requests. Shard by unit.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import TypeVar

import msgspec
import numpy as np

from llm_canary.metrics.freeze import Frozen
from llm_canary.stats.score import ScoreState, UnitRow, variance

ALL = "all"
_NAMES = tuple(each.name for each in fields(ScoreState))
_values = attrgetter(*_NAMES)
_NOTHING = _values(ScoreState())
_ZEROS = [0.0] * len(_NAMES)
T = TypeVar("T")


class SliceState(msgspec.Struct, kw_only=True):
    """One metric in one slice: the score, first failures by share, running maxima of V."""

    score: ScoreState = msgspec.field(default_factory=ScoreState)
    first: dict[float, list[int]] = {}  # share -> [canary, both arms] units at their first failure
    harm_v: list[float] = []  # running maxima at d0 = 0 and d0 = tolerance
    margin_v: dict[str, float] = {}  # stage -> running maximum at its margin
    final_v: float = 0.0  # the same at the final margin


class MetricState(msgspec.Struct, kw_only=True):
    """One metric over all units, beside its slices; pairs are [control, canary]."""

    frozen: Frozen | None = None
    baseline: list[float] = []  # control values until frozen, then empty
    denominators: list[float] = []  # theirs, of a ratio
    denominator: list[float] = msgspec.field(default_factory=lambda: [0.0, 0.0])  # scored sums
    applicable: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    observed: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    warming_up: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    calibrating: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    refused: int = 0  # values that are no numbers of this metric
    bins: list[dict[int, int]] = msgspec.field(default_factory=lambda: [{}, {}])
    zeros: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    stages: dict[str, list[float]] = {}  # stage -> [S, I] of its own responses
    centres: list[tuple[int, float]] = []  # (bucket from which it holds, centre)
    bucket: int = -1  # the open one
    bucket_units: int = 0
    bucket_n: int = 0
    bucket_sum: float = 0.0
    snapshots: list[tuple[float, float, float]] = []  # (time, S, running maximum of V at 0)


class Totals(msgspec.Struct, kw_only=True):
    """What concerns the rollout and no single metric; pairs are [control, canary]."""

    new_units: dict[float, list[int]] = {}  # share -> [canary, both arms] of units first seen at it
    units: list[int] = msgspec.field(default_factory=lambda: [0, 0])  # in both when it crossed
    stage_units: dict[str, list[int]] = {}  # stage -> pair
    stage_responses: dict[str, list[int]] = {}
    in_both_arms: int = 0  # units that were in arms which no share explains
    over_cap: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    superseded: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    late: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    outcomes_until: str = ""  # id of the last outcome looked at for being late
    unusable: int = 0  # eligible, but without unit, arm or a share strictly between 0 and 1
    last_at_s: list[float | None] = msgspec.field(default_factory=lambda: [None, None])
    models: list[dict[str, int]] = msgspec.field(default_factory=lambda: [{}, {}])
    known_models: list[list[str]] = msgspec.field(default_factory=lambda: [[], []])
    segment_values: dict[str, list[str]] = {}  # in order of appearance


class UnitMetric(msgspec.Struct):
    """One unit in one metric."""

    row: UnitRow = msgspec.field(default_factory=UnitRow)
    bucket: int = -1
    has_failed: bool = False


class UnitState(msgspec.Struct, kw_only=True):
    """Everything remembered of one unit; kept until the rollout ends."""

    slices: tuple[str, ...] | None = None  # by its first value in each segment; None: not seen yet
    lowest_canary_share: float | None = None
    highest_control_share: float | None = None
    stages: list[str] = []
    days: dict[int, int] = {}  # UTC day -> responses scored
    metrics: dict[str, UnitMetric] = {}


class Rollup(msgspec.Struct):
    """The sums of one rollout; `slices` holds the segments, by (metric, slice).

    Responses are added to `pending`, by (slices of the unit, stage) and metric, so that one costs
    the same however many segments there are; `flush` carries that over to the slices.
    """

    totals: Totals = msgspec.field(default_factory=Totals)
    metrics: dict[str, MetricState] = {}
    slices: dict[tuple[str, str], SliceState] = {}
    pending: dict[tuple[tuple[str, ...], str], dict[str, ScoreState]] = {}

    def metric(self, name: str) -> MetricState:
        """Return the state of the metric `name`, new when it has none."""
        found = self.metrics.get(name)
        if found is None:
            found = self.metrics[name] = MetricState()
        return found

    def slice(self, name: str, slice_: str = ALL) -> SliceState:
        """Return the state of the metric in the slice, new when it has none."""
        found = self.slices.get((name, slice_))
        if found is None:
            found = self.slices[name, slice_] = SliceState()
        return found

    def flush(self) -> None:
        """Add what is pending to the slices and stages."""
        names = list(dict.fromkeys(name for cells in self.pending.values() for name in cells))
        places: dict[str, list[int]] = {}  # slice -> positions of what belongs to it
        numbers = array("d")
        for position, ((slices, stage), cells) in enumerate(self.pending.items()):
            for slice_ in (ALL, *slices):
                places.setdefault(slice_, []).append(position)
            for name in names:
                numbers.extend(_values(cells[name]) if name in cells else _NOTHING)
            for name, score in cells.items():
                sums = self.metric(name).stages.setdefault(stage, [0.0, 0.0])
                sums[0] += score.s
                sums[1] += score.i
        cube = np.frombuffer(numbers).reshape(len(self.pending), len(names), len(_NAMES))
        for slice_, at in places.items():
            for name, row in zip(names, cube[at].sum(axis=0).tolist(), strict=True):
                if row != _ZEROS:
                    _add(self.slice(name, slice_).score, row)
        self.pending.clear()


def pack(state: Totals | MetricState | SliceState | UnitState) -> bytes:
    """Return the state as msgpack; floats keep every bit."""
    return msgspec.msgpack.encode(state)


def unpack(data: bytes, kind: type[T]) -> T:
    """Return the state of `data`."""
    return msgspec.msgpack.decode(data, type=kind)


def add_scores(into: ScoreState, delta: ScoreState) -> None:
    """Add `delta` to `into`."""
    _add(into, _values(delta))


def _add(into: ScoreState, row: Sequence[float]) -> None:
    for name, amount in zip(_NAMES, row, strict=True):
        before = getattr(into, name)
        setattr(into, name, before + type(before)(amount))  # counts stay whole numbers


def raise_maxima(state: SliceState, frozen: Frozen, *, binary: bool) -> None:
    """Let the running maxima of V see the present: call it once before each look."""
    if not state.harm_v:
        state.harm_v = [0.0, 0.0]
    for index, d0 in enumerate((0.0, frozen.tolerance)):
        v = variance(state.score, d0, noninferiority=False, binary=binary)
        state.harm_v[index] = max(state.harm_v[index], v)
    if frozen.final_margin <= 0.0:
        return
    by_margin = {
        margin: variance(state.score, margin, noninferiority=True, binary=binary)
        for margin in {*frozen.margins.values(), frozen.final_margin}
    }
    for stage, margin in frozen.margins.items():
        state.margin_v[stage] = max(state.margin_v.get(stage, 0.0), by_margin[margin])
    state.final_v = max(state.final_v, by_margin[frozen.final_margin])


def merge(one: SliceState, other: SliceState, frozen: Frozen, *, binary: bool) -> SliceState:
    """Return the state of two shards that share no unit."""
    shares = sorted({*one.first, *other.first})
    merged = SliceState(
        score=one.score + other.score,
        first={
            share: [
                a + b
                for a, b in zip(
                    one.first.get(share, [0, 0]), other.first.get(share, [0, 0]), strict=True
                )
            ]
            for share in shares
        },
    )
    raise_maxima(merged, frozen, binary=binary)
    return merged
