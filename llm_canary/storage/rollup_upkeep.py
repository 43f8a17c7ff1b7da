"""Upkeep of the rollups: fine bins are dropped when they are old, all can be made anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import delete, func, insert, literal, select
from sqlalchemy.engine import Connection, Engine
from sqlmodel import col

from llm_canary.metrics.builtin import THUMBS
from llm_canary.storage import rollups, thumbs
from llm_canary.storage.dialect import is_sqlite
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.models.inferences import Inference, Outcome
from llm_canary.storage.models.rollups import RollupBin, Thumb
from llm_canary.telemetry.events import InferenceEvent, Terminal

LIMIT = 1_000
DAY_S = 86_400.0
_CHUNK = 10_000
_READ = (
    *("id", "at", "route", "rollout_id", "assigned", "eligible", "terminal", "refusal", "empty"),
    *(
        "output_valid",
        "prompt_tokens",
        "completion_tokens",
        "cost_nanousd",
        "latency_ms",
        "ttft_ms",
    ),
)


def count_thumbs(engine: Engine, now_s: float, limit: int = LIMIT) -> int:
    """Bring thumbs that have come into the rollups; return how many targets were looked at."""
    with read_session(engine) as session:
        if not thumbs.are_due(session.connection(), now_s):
            return 0  # as nearly always: no writer's turn is taken for it
    with write_session(engine) as session:
        return thumbs.count(session.connection(), now_s, limit)


def prune(engine: Engine, now_s: float, days: float) -> int:
    """Drop the fine bins that are older than `days`; the coarse ones hold the same facts."""
    is_old = col(RollupBin.starts_s) < cut_s(now_s, days)
    is_fine = col(RollupBin.step_s).in_(rollups.FINE_STEPS_S)
    with write_session(engine) as session:
        return session.connection().execute(delete(RollupBin).where(is_fine, is_old)).rowcount


def cut_s(now_s: float, days: float) -> float:
    """Return the time before which there are no fine bins."""
    return now_s - days * DAY_S


def rebuild(engine: Engine, now_s: float) -> int:
    """Make the rollups anew from the stored rows; return from how many inferences.

    Nothing is stored meanwhile: gateways keep their facts on disk. A bin of which some rows are
    gone by now (it begins before the oldest one) stays as it is where it knows of more.
    """
    count = 0
    with write_session(engine) as session:
        connection = session.connection()
        if not is_sqlite(connection):
            connection.exec_driver_sql("LOCK TABLE rollup, thumb IN EXCLUSIVE MODE")
        oldest = connection.execute(select(func.min(Inference.at))).scalar()
        if oldest is None:
            return 0
        kept = _before(connection, oldest.timestamp())
        ends_s = col(RollupBin.starts_s) + col(RollupBin.step_s)
        connection.execute(delete(RollupBin).where(ends_s > oldest.timestamp()))
        for events in _chunks(connection):
            count += len(events)
            rollups.add(connection, rollups.fold(events))
        _thumbs_anew(connection, now_s)
        again = _before(connection, oldest.timestamp())
        lost = {
            bin_: sums
            for bin_, sums in kept.items()
            if bin_ not in again or again[bin_].counts["requests"] < sums.counts["requests"]
        }
        if lost:
            rollups.put(connection, lost)
    return count


def _before(connection: Connection, at_s: float) -> dict[rollups.Bin, rollups.Sums]:
    """Return the stored bins that hold the moment, and thus begin before it."""
    mark = "?" if is_sqlite(connection) else "%s"
    query = f"SELECT {rollups.COLUMNS} FROM rollup WHERE starts_s < {mark} AND starts_s + step_s > {mark}"  # noqa: E501, S608 - names of ours
    return dict(rollups.read_bin(row) for row in connection.exec_driver_sql(query, (at_s, at_s)))


def _chunks(connection: Connection) -> Iterator[list[InferenceEvent]]:
    last = ""
    columns = [getattr(Inference, name) for name in _READ]
    while True:
        query = select(*columns).where(col(Inference.id) > last).order_by(col(Inference.id))
        rows = connection.execute(query.limit(_CHUNK)).all()
        if not rows:
            return
        last = rows[-1].id
        yield [_event(row._asdict()) for row in rows]


def _event(row: dict[str, Any]) -> InferenceEvent:
    at, terminal = row.pop("at"), Terminal(row.pop("terminal"))
    return InferenceEvent(at_s=at.timestamp(), endpoint="", terminal=terminal, **row)


def _thumbs_anew(connection: Connection, now_s: float) -> None:
    connection.execute(delete(Thumb))
    columns: tuple[Any, ...] = (col(Outcome.target_kind), col(Outcome.target_id))
    given = select(*columns, literal(now_s), literal(now_s)).where(
        col(Outcome.metric) == THUMBS, col(Outcome.target_kind).in_(thumbs.KINDS)
    )
    names = ["target_kind", "target_id", "marked_s", "due_s"]
    connection.execute(insert(Thumb).from_select(names, given.distinct()))
    while thumbs.count(connection, now_s, _CHUNK):
        pass
