"""The sums of a rollout: what they hold, how they travel (msgpack), how shards of them merge.

They grow with units, segments and stages, never with requests. Shard by unit.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TypeVar

import msgspec
import numpy as np

from llm_canary.metrics.freeze import Frozen
from llm_canary.sampling import Pace, Replies
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
    squares: list[tuple[float, float]] = []  # (PP, XX) at the snapshots


class SampleCounts(msgspec.Struct, kw_only=True):
    """How the answers of one rubric were drawn, by the probability stream; pairs as ever."""

    pace: Pace = msgspec.field(default_factory=Pace)
    odd: Pace = msgspec.field(default_factory=Pace)  # of what the targeted stream may draw
    eligible: list[int] = msgspec.field(default_factory=lambda: [0, 0])  # completed, scored
    without_text: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    drawn: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    replies: list[Replies] = []  # of people, by period; never edited


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
    sampling: dict[str, SampleCounts] = {}  # by rubric


@dataclass(slots=True)
class UnitMetric(UnitRow):
    """One unit in one metric: its part of the score, and what counts once for a unit."""

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


class Rollup:
    """The sums of one rollout; `slices` holds the segments, by (metric, slice).

    A response is scored once, into the scores of those in its stage and its slices together, so
    that it costs the same however many segments there are. They wait there, and go into the sums of
    each slice and stage before anybody reads these.
    """

    def __init__(self) -> None:
        self.totals = Totals()
        self._metrics: dict[str, MetricState] = {}
        self._slices: dict[tuple[str, str], SliceState] = {}
        self._waiting: dict[tuple[tuple[str, ...], str], dict[str, ScoreState]] = {}

    @property
    def metrics(self) -> dict[str, MetricState]:
        """The metrics by name."""
        self._settle()
        return self._metrics

    @property
    def slices(self) -> dict[tuple[str, str], SliceState]:
        """The slices by metric and slice."""
        self._settle()
        return self._slices

    def metric(self, name: str) -> MetricState:
        """Return the state of the metric `name`, new when it has none."""
        self._settle()
        return self.counters(name)

    def slice(self, name: str, slice_: str = ALL) -> SliceState:
        """Return the state of the metric in the slice, new when it has none."""
        self._settle()
        return self._slice(name, slice_)

    def knows(self, name: str) -> bool:
        """Say whether anything was counted of the metric."""
        return name in self._metrics

    def counters(self, name: str) -> MetricState:
        """Return the state of the metric to count in; its stages may lack what still waits."""
        found = self._metrics.get(name)
        if found is None:
            found = self._metrics[name] = MetricState()
        return found

    def waiting(self, slices: tuple[str, ...], stage: str) -> dict[str, ScoreState]:
        """Return the scores by metric that a response in these slices and this stage adds to."""
        found = self._waiting.get((slices, stage))
        if found is None:
            found = self._waiting[slices, stage] = {}
        return found

    def note_first(self, name: str, slices: tuple[str, ...], *, share: float, canary: bool) -> None:
        """Count the first failure of a unit."""
        for slice_ in (ALL, *slices):
            first = self._slice(name, slice_).first.setdefault(share, [0, 0])
            first[0] += canary
            first[1] += 1

    def _slice(self, name: str, slice_: str) -> SliceState:
        found = self._slices.get((name, slice_))
        if found is None:
            found = self._slices[name, slice_] = SliceState()
        return found

    def _settle(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        names = list(dict.fromkeys(name for scores in waiting.values() for name in scores))
        places: dict[str, list[int]] = {}  # slice -> positions of what belongs to it
        numbers = array("d")
        for position, ((slices, stage), scores) in enumerate(waiting.items()):
            for slice_ in (ALL, *slices):
                places.setdefault(slice_, []).append(position)
            for name in names:
                numbers.extend(_values(scores[name]) if name in scores else _NOTHING)
            for name, score in scores.items():
                sums = self.counters(name).stages.setdefault(stage, [0.0, 0.0])
                sums[0] += score.s
                sums[1] += score.i
        cube = np.frombuffer(numbers).reshape(len(waiting), len(names), len(_NAMES))
        for slice_, at in places.items():
            for name, row in zip(names, cube[at].sum(axis=0).tolist(), strict=True):
                if row != _ZEROS:
                    _add(self._slice(name, slice_).score, row)


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
