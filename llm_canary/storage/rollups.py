"""Sums by time, kept beside the rows that they are made of: what charts read.

Each exchange counts in one bin of each step, in the bin of its own time however late it comes, and
in the arm it was *assigned* to (intention to treat) if it may be compared; all other traffic counts
in the arm "". Exchanges are counted as they happened: a failure that a retry has replaced counts
here, while the sums that gates read leave it out.

The sums are written in the transaction that inserts the rows, and only for rows that were really
inserted, so replays and crashes cannot make the two differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy.engine import Connection

from llm_canary.stats.histogram import LogHistogram
from llm_canary.storage.dialect import is_sqlite
from llm_canary.telemetry.events import InferenceEvent, Terminal

STEPS_S = (60, 600, 3_600, 21_600)
FINE_STEPS_S, COARSE_STEPS_S = STEPS_S[:2], STEPS_S[2:]  # fine ones are kept for some days only
NO_ARM = ""
COUNTS = (
    "requests",
    *(terminal.value for terminal in Terminal),
    *("refusals", "refusals_known", "empty", "empty_known", "invalid", "invalid_known"),
    *("prompt_tokens", "prompt_tokens_known", "completion_tokens", "completion_tokens_known"),
    *("cost_nanousd", "cost_known", "thumbs_up", "thumbs_down"),
)
HISTOGRAMS = ("latency", "ttft", "output_tokens")
_MOST = 2**63 - 1  # what the column holds; a provider may say anything
_MICROS = 60_000_000


class Bin(NamedTuple):
    """One arm in one bin of time: the key of a rollup."""

    rollout_id: str
    step_s: int
    starts_s: int
    arm: str
    route: str


class Sums(msgspec.Struct):
    """What is added up of a bin."""

    counts: Counter[str]
    histograms: tuple[LogHistogram, ...]

    @classmethod
    def none(cls) -> Sums:
        """Return the sums of nothing."""
        return cls(Counter(), tuple(LogHistogram() for _ in HISTOGRAMS))

    def merge(self, other: Sums) -> None:
        """Add `other`."""
        self.counts.update(other.counts)
        for mine, theirs in zip(self.histograms, other.histograms, strict=True):
            mine.merge(theirs)


def fold(events: Iterable[InferenceEvent]) -> dict[Bin, Sums]:
    """Return the sums of `events` by bin."""
    minutes: dict[tuple[str, int, str, str], list[InferenceEvent]] = {}
    for event in events:
        # As SQL keeps the time, so that a rebuild finds the same minute.
        minute = round(event.at_s * 1e6) // _MICROS
        key = (event.rollout_id or "", minute, arm_of(event), event.route or "")
        found = minutes.get(key)
        if found is None:
            minutes[key] = [event]
        else:
            found.append(event)
    folded: dict[Bin, Sums] = {}
    for (rollout_id, minute, arm, route), group in minutes.items():
        sums = _sums(group)
        for bin_ in bins_at(rollout_id, minute * 60, arm, route):
            folded.setdefault(bin_, Sums.none()).merge(sums)
    return folded


def arm_of(event: InferenceEvent) -> str:
    """Return the arm that the event counts in."""
    is_compared = event.eligible and event.rollout_id is not None
    return event.assigned or NO_ARM if is_compared else NO_ARM


def bins_at(rollout_id: str, at_s: float, arm: str, route: str) -> list[Bin]:
    """Return the bins, one of each step, that hold the moment."""
    return [Bin(rollout_id, step, int(at_s // step * step), arm, route) for step in STEPS_S]


def add(connection: Connection, folded: Mapping[Bin, Sums]) -> None:
    """Add the sums to those that are stored; the transaction is the caller's."""
    if not folded:
        return
    bins = sorted(folded)
    stored = _read_sqlite(connection, bins) if is_sqlite(connection) else _lock(connection, bins)
    for bin_, sums in stored.items():
        sums.merge(folded[bin_])
    put(connection, {bin_: stored.get(bin_) or folded[bin_] for bin_ in bins})


def put(connection: Connection, sums: Mapping[Bin, Sums]) -> None:
    """Store the sums in place of those that are there."""
    rows = [(*bin_, *_values(each)) for bin_, each in sums.items()]
    mark = "?" if is_sqlite(connection) else "%s"
    connection.exec_driver_sql(_PUT.replace("?", mark), rows)


def read_bin(row: Sequence[Any]) -> tuple[Bin, Sums]:
    """Return the key and the sums of a row of `COLUMN_NAMES`."""
    key, rest = Bin(*row[: len(Bin._fields)]), row[len(Bin._fields) :]
    counts = Counter(dict(zip(COUNTS, rest, strict=False)))
    return key, Sums(counts, tuple(map(LogHistogram.unpacked, rest[len(COUNTS) :])))


def _sums(events: Sequence[InferenceEvent]) -> Sums:
    completed = [event for event in events if event.terminal == Terminal.COMPLETED]
    counts = Counter(requests=len(events), completed=len(completed))
    if len(completed) < len(events):
        ends = Counter(event.terminal.value for event in events)
        counts.update(ends - Counter(completed=ends["completed"]))
    refusals = [event.refusal for event in completed]
    empty = [event.empty for event in completed]
    valid = [event.output_valid for event in completed]
    counts["refusals"] = refusals.count(True)
    counts["refusals_known"] = len(completed) - refusals.count(None)
    counts["empty"] = empty.count(True)
    counts["empty_known"] = len(completed) - empty.count(None)
    counts["invalid"] = valid.count(False)
    counts["invalid_known"] = len(completed) - valid.count(None)
    output = [event.completion_tokens for event in events]
    for name, values in (
        ("prompt_tokens", [event.prompt_tokens for event in events]),
        ("completion_tokens", output),
        ("cost", [event.cost_nanousd for event in events]),
    ):
        counts[f"{name}_known"] = len(values) - values.count(None)
        counts["cost_nanousd" if name == "cost" else name] = sum(filter(None, values))
    return Sums(
        counts,
        (
            _histogram(event.latency_ms for event in completed),
            _histogram(event.ttft_ms for event in completed),
            _histogram(event.completion_tokens for event in completed),
        ),
    )


def _histogram(values: Iterable[float | None]) -> LogHistogram:
    histogram = LogHistogram()
    histogram.extend([value for value in values if value is not None and 0.0 <= value < _INF])
    return histogram


def _values(sums: Sums) -> list[object]:
    counts = [max(-_MOST, min(sums.counts[name], _MOST)) for name in COUNTS]
    return [*counts, *(histogram.packed() for histogram in sums.histograms)]


def _read_sqlite(connection: Connection, bins: Sequence[Bin]) -> dict[Bin, Sums]:
    # The transaction is a writer's from its begin on: nobody else changes a bin meanwhile.
    found = (connection.exec_driver_sql(_READ_ONE, tuple(bin_)).fetchone() for bin_ in bins)
    return dict(read_bin(row) for row in found if row is not None)


def _lock(connection: Connection, bins: Sequence[Bin]) -> dict[Bin, Sums]:
    """Return the stored sums, locked; all take locks in the order of the keys, none waits in vain.

    Two gateways may meet in a new bin: the empty row makes the second one wait for the first.
    """
    empty = _values(Sums.none())
    connection.exec_driver_sql(_MAKE, [(*bin_, *empty) for bin_ in bins])
    columns = tuple([list(column) for column in zip(*bins, strict=True)])
    return dict(read_bin(row) for row in connection.exec_driver_sql(_READ_LOCKED, columns))


_INF = float("inf")
COLUMN_NAMES = Bin._fields + COUNTS + HISTOGRAMS
COLUMNS = ", ".join(COLUMN_NAMES)
_KEY = ", ".join(Bin._fields)
_MARKS = ", ".join("?" for _ in COLUMN_NAMES)
_PUT = f"""
    INSERT INTO rollup ({COLUMNS}) VALUES ({_MARKS}) ON CONFLICT ({_KEY}) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in COUNTS + HISTOGRAMS)}"""  # noqa: S608 - names of ours
_MAKE = f"INSERT INTO rollup ({COLUMNS}) VALUES ({_MARKS}) ON CONFLICT DO NOTHING".replace(  # noqa: S608 - names of ours
    "?", "%s"
)
_READ_ONE = f"SELECT {COLUMNS} FROM rollup WHERE ({_KEY}) = (?, ?, ?, ?, ?)"  # noqa: S608 - names of ours
_READ_LOCKED = f"""
    SELECT {COLUMNS} FROM rollup WHERE ({_KEY}) IN (
        SELECT * FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::text[], %s::text[]))
    ORDER BY {_KEY} FOR UPDATE"""  # noqa: S608 - names of ours
