"""What is to be scored and the sums it goes into."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import bindparam, delete, func, tuple_, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col, select

from llm_canary.clock import utc
from llm_canary.metrics.state import (
    MetricState,
    Rollup,
    SliceState,
    Totals,
    UnitState,
    pack,
    unpack,
)
from llm_canary.storage.dialect import is_sqlite
from llm_canary.storage.models.inferences import Inference, Outcome, ScoreTask
from llm_canary.storage.models.rollouts import Rollout
from llm_canary.storage.models.scoring import MetricStat, UnitStat
from llm_canary.telemetry.events import may_join

_READ = (
    "id", "at", "rollout_id", "stage", "share", "assigned", "served", "unit_hash", "session_hash",
    "segments", "reported_model", "response_id", "stream", "terminal", "ttft_ms", "latency_ms",
    "prompt_tokens", "completion_tokens", "cost_nanousd", "uncached_cost_nanousd",
    "schema_expected", "output_valid", "empty", "refusal", "retry_count", "settle_s", "body_hash",
    "key_name",
)  # fmt: skip


class Task(msgspec.Struct, frozen=True):
    """One response that is due to be scored; `what` is "immediate" or the name of an outcome."""

    inference_id: str
    what: str
    rollout_id: str
    due_s: float
    rates: tuple[tuple[str, float], ...] = ()  # by rubric: its chance to be drawn when it came


class Said(NamedTuple):
    """One outcome as scoring needs it."""

    target: str
    metric: str
    received_s: float
    occurred_s: float
    id: str
    value: float | None  # None: revoked
    key_name: str | None
    for_any_key: bool

    def counts_for(self, key_name: str | None) -> bool:
        """Say whether it may count for what the key of that name has asked."""
        return may_join(self.key_name, key_name, for_any_key=self.for_any_key)


class ScoringRepository:
    """Reads and writes on one session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._insert = insert_sqlite if is_sqlite(session.connection()) else insert_postgresql

    def due(self, now_s: float, limit: int) -> list[Task]:
        """Return tasks that are due, oldest first, and keep other scorers from their rollouts."""
        is_due = col(ScoreTask.due_at) <= utc(now_s)
        ids = self.session.exec(select(ScoreTask.rollout_id).where(is_due).distinct()).all()
        if not ids:
            return []
        # Sums are read, changed and written back: two scorers of one rollout would lose one's part.
        mine = select(Rollout.id).where(col(Rollout.id).in_(ids)).order_by(col(Rollout.id))
        self.session.exec(mine.with_for_update()).all()
        columns = ("inference_id", "what", "rollout_id", "due_at", "rates")
        query = select(*[getattr(ScoreTask, name) for name in columns]).where(is_due)
        ordered = query.order_by(col(ScoreTask.due_at), col(ScoreTask.inference_id)).limit(limit)
        return [
            Task(inference_id, what, rollout_id, due_at.timestamp(), tuple((rates or {}).items()))
            for inference_id, what, rollout_id, due_at, rates in self.session.exec(ordered)
        ]

    def oldest_due_s(self, rollout_id: str, now_s: float) -> float | None:
        """Return when the oldest unscored response of the rollout was due; None when none is."""
        oldest: datetime | None = self.session.exec(
            select(func.min(ScoreTask.due_at)).where(
                col(ScoreTask.rollout_id) == rollout_id, col(ScoreTask.due_at) <= utc(now_s)
            )
        ).one()
        return None if oldest is None else float(oldest.timestamp())

    def inferences(self, ids: Collection[str]) -> dict[str, Any]:
        """Return the rows (attributes as in `_READ`, and `has_text`) of the ids that exist."""
        columns = [getattr(Inference, name) for name in _READ]
        request = col(Inference.request_text)
        # A request that was cut is JSON without an end, which neither judge nor people can read.
        is_whole = request.like("%]") | request.like('%"')
        has_text = (
            request.is_not(None) & is_whole & col(Inference.response_text).is_not(None)
        ).label("has_text")
        query = select(*[*columns, has_text]).where(col(Inference.id).in_(ids))
        return {row.id: row for row in self.session.exec(query)}

    def was_retried(self, row: Any, until_s: float) -> bool:  # noqa: ANN401 - a row of `inferences`
        """Say whether a later attempt of the same unit and body arrived by `until_s`."""
        query = select(Inference.id).where(
            col(Inference.unit_hash) == row.unit_hash,
            col(Inference.body_hash) == row.body_hash,
            col(Inference.retry_count) > max(row.retry_count, 0),
            col(Inference.retry_count) > 0,  # as the partial index is written
            col(Inference.at) >= row.at,
            col(Inference.at) <= utc(until_s),
            col(Inference.id) != row.id,
        )
        return self.session.exec(query.limit(1)).first() is not None

    def outcomes(self, kind: str, targets: Collection[str], metrics: Collection[str]) -> list[Said]:
        """Return the outcomes about `targets`, whoever has said them."""
        if not targets:
            return []
        query = select(Outcome).where(
            col(Outcome.target_kind) == kind,
            col(Outcome.target_id).in_(targets),
            col(Outcome.metric).in_(metrics),
        )
        return [_said(row) for row in self.session.exec(query)]

    def outcomes_between(
        self, after: str, until: str, metrics: Collection[str], limit: int
    ) -> list[tuple[str, Said]]:
        """Return outcomes by their time-ordered ids, each with its kind of target."""
        query = select(Outcome).where(
            col(Outcome.id) > after, col(Outcome.id) <= until, col(Outcome.metric).in_(metrics)
        )
        return [
            (row.target_kind, _said(row))
            for row in self.session.exec(query.order_by(col(Outcome.id)).limit(limit))
        ]

    def target_of(self, kind: str, target: str, rollout_id: str) -> Any | None:  # noqa: ANN401
        """Return (at, assigned, key_name) of what an outcome is about, if it is compared."""
        field = {"request": Inference.id, "response": Inference.response_id}.get(kind)
        if field is None:
            return None  # a session has no one window
        query = select(Inference.at, Inference.assigned, Inference.key_name).where(
            col(field) == target, col(Inference.rollout_id) == rollout_id, col(Inference.eligible)
        )
        return self.session.exec(query.limit(1)).first()

    def rollup(self, rollout_id: str) -> Rollup:
        """Return the sums of the rollout."""
        rollup = Rollup()
        query = select(MetricStat.metric, MetricStat.slice, MetricStat.state)
        rows = self.session.exec(query.where(col(MetricStat.rollout_id) == rollout_id))
        for name, slice_, state in rows:
            if not name:
                rollup.totals = unpack(state, Totals)
            elif not slice_:
                rollup.metrics[name] = unpack(state, MetricState)
            else:
                rollup.slices[name, slice_] = unpack(state, SliceState)
        return rollup

    def units(self, rollout_id: str, hashes: Collection[str]) -> dict[str, UnitState]:
        """Return the states of those units that have one."""
        query = select(UnitStat.unit_hash, UnitStat.state).where(
            col(UnitStat.rollout_id) == rollout_id, col(UnitStat.unit_hash).in_(hashes)
        )
        return {unit: unpack(state, UnitState) for unit, state in self.session.exec(query)}

    def save(self, rollout_id: str, rollup: Rollup, units: Mapping[str, UnitState]) -> None:
        """Write sums and units."""
        states: list[tuple[str, str, bytes]] = [("", "", pack(rollup.totals))]
        states += [(name, "", pack(state)) for name, state in rollup.metrics.items()]
        states += [(name, part, pack(state)) for (name, part), state in rollup.slices.items()]
        self._upsert(
            MetricStat,
            ("rollout_id", "metric", "slice"),
            [
                {"rollout_id": rollout_id, "metric": name, "slice": part, "state": state}
                for name, part, state in states
            ],
        )
        self._upsert(
            UnitStat,
            ("rollout_id", "unit_hash"),
            [
                {"rollout_id": rollout_id, "unit_hash": unit, "state": pack(state)}
                for unit, state in units.items()
            ],
        )

    def delete_units(self, rollout_ids: Collection[str], limit: int) -> int:
        """Delete up to `limit` units of the rollouts; return how many there were."""
        key = (col(UnitStat.rollout_id), col(UnitStat.unit_hash))
        some = select(*key).where(key[0].in_(rollout_ids)).limit(limit)
        gone = delete(UnitStat).where(tuple_(*key).in_(some))
        return self.session.connection().execute(gone).rowcount

    def finish(self, tasks: Iterable[Task]) -> None:
        """Delete the tasks."""
        by_what: dict[str, list[str]] = {}
        for task in tasks:
            by_what.setdefault(task.what, []).append(task.inference_id)
        for what, ids in by_what.items():
            self.session.connection().execute(
                delete(ScoreTask).where(
                    col(ScoreTask.what) == what, col(ScoreTask.inference_id).in_(ids)
                )
            )

    def add(self, tasks: Iterable[Task]) -> None:
        """Insert the tasks that are not there yet."""
        rows = [
            {
                "inference_id": task.inference_id,
                "what": task.what,
                "rollout_id": task.rollout_id,
                "due_at": utc(task.due_s),
                "rates": dict(task.rates) or None,
            }
            for task in tasks
        ]
        if rows:
            statement = self._insert(ScoreTask).on_conflict_do_nothing()
            self.session.connection().execute(statement, rows)

    def put_off(self, tasks: Iterable[Task]) -> None:
        """Let the tasks be due at their new times."""
        rows = [{"i": task.inference_id, "w": task.what, "d": utc(task.due_s)} for task in tasks]
        if rows:
            statement = (
                update(ScoreTask)
                .where(
                    col(ScoreTask.inference_id) == bindparam("i"),
                    col(ScoreTask.what) == bindparam("w"),
                )
                .values(due_at=bindparam("d"))
            )
            self.session.connection().execute(statement, rows)

    def recent_controls(self, route: str, since_s: float, limit: int) -> list[Any]:
        """Return the newest inferences of the route outside any rollout, with their variant."""
        columns = [
            getattr(Inference, name) for name in (*_READ, "model", "upstream", "prompt_hash")
        ]
        query = select(*columns).where(
            col(Inference.at) >= utc(since_s),
            col(Inference.route) == route,
            col(Inference.rollout_id).is_(None),
        )
        return list(self.session.exec(query.order_by(col(Inference.at).desc()).limit(limit)))

    def _upsert(
        self, table: type[MetricStat | UnitStat], key: tuple[str, ...], rows: list[dict[str, Any]]
    ) -> None:
        if not rows:
            return
        statement = self._insert(table)
        self.session.connection().execute(
            statement.on_conflict_do_update(
                index_elements=list(key), set_={"state": statement.excluded.state}
            ),
            rows,
        )


def _said(row: Outcome) -> Said:
    return Said(
        row.target_id,
        row.metric,
        row.at.timestamp(),
        row.occurred_at.timestamp(),
        row.id,
        None if row.revoked else row.value_num,
        row.key_name,
        bool(row.for_any_key),
    )
