"""Events into rows, in one transaction and without the ORM, whose objects would cost 100 us each.

An inference that is new, is eligible and belongs to a rollout also gets its score task. A task is
deleted once scored, so an event that comes a second time must not make another one. What is new is
also added to the rollups; a thumb is, a moment later, by `storage.thumbs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, cast

import msgspec
import psycopg
import sqlalchemy.exc
from psycopg.adapt import PyFormat
from sqlalchemy.engine import Connection, Engine

from llm_canary.clock import utc
from llm_canary.errors import DataError, LlmCanaryError
from llm_canary.storage import rollups, spending, thumbs
from llm_canary.storage.dialect import is_sqlite, sqlite_time, without_nul
from llm_canary.storage.engine import unreachable
from llm_canary.storage.models.inferences import MAX_TIER_CHARS
from llm_canary.storage.repositories.keys import note_uses
from llm_canary.storage.repositories.prompts import Served, note_served
from llm_canary.telemetry.events import Event, InferenceEvent, KeyUseEvent, OutcomeEvent

IMMEDIATE = "immediate"

_to_json = msgspec.json.Encoder().encode
_FIELDS = InferenceEvent.__struct_fields__
_AT = _FIELDS.index("at_s")
_SEGMENTS = _FIELDS.index("segments")
_SENT_PARAMS = _FIELDS.index("sent_params")
_ABSORBED = _FIELDS.index("absorbed")
_SERVICE_TIER = _FIELDS.index("service_tier")
_INFERENCE = tuple("at" if name == "at_s" else name for name in _FIELDS)
_OUTCOME = (
    "at",
    "occurred_at",
    "value_num",
    "value_text",
    "revoked",
    "id",
    "target_kind",
    "target_id",
    "metric",
    "comment",
    "idempotency_key",
    "key_name",
    "for_any_key",
    "format",
)
_outcome_values = attrgetter(*_OUTCOME[5:])
_DRIVERS_TEXT = psycopg.adapters.get_dumper(str, PyFormat.TEXT)
_TASK = ("inference_id", "what", "rollout_id", "due_at")
_STAGING = "staging_inference"

_REFUSED = (
    sqlalchemy.exc.DataError,
    sqlalchemy.exc.IntegrityError,
    psycopg.DataError,
    psycopg.IntegrityError,
    OverflowError,
    ValueError,
)

Row = tuple[Any, ...]
Time = Callable[[float], object]


class SqlBatchSink:
    """Stores batches of events; what is there already is left as it is."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_sqlite = is_sqlite(engine)
        self._served: set[str] = set()  # prompt versions known to be noted

    def write(self, events: Sequence[Event]) -> None:
        """Store all of `events` or none; see `BatchSink` for the errors."""
        try:
            self._write(events)
        except DataError:
            # PostgreSQL has no text with NUL: the rare batch that has one is cleaned.
            self._write([_without_nul(event) for event in events])

    def _write(self, events: Sequence[Event]) -> None:
        inferences = [event for event in events if isinstance(event, InferenceEvent)]
        outcomes = [event for event in events if isinstance(event, OutcomeEvent)]
        uses = [event for event in events if isinstance(event, KeyUseEvent)]
        served = self._newly_served(inferences)
        try:
            with self._engine.begin() as connection:
                if served:
                    note_served(connection, served)
                write = _write_sqlite if self._is_sqlite else _write_postgresql
                new = write(connection, inferences, outcomes)
                thumbs.mark(connection, outcomes)
                if uses:
                    note_uses(connection, {each.key_id: each.at_s for each in uses})
                spending.add(connection, spending.fold(new))
                # Last: on PostgreSQL others wait for these rows until the transaction ends.
                rollups.add(connection, rollups.fold(new))
        except (sqlalchemy.exc.DBAPIError, psycopg.Error, OverflowError, ValueError) as error:
            raise self._translated(error) from error
        self._served.update(served)

    def _newly_served(self, inferences: list[InferenceEvent]) -> dict[str, Served]:
        served: dict[str, Served] = {}
        for event in inferences:
            if event.prompt is None or event.prompt_hash is None or event.prompt in self._served:
                continue
            served.setdefault(event.prompt, Served(event.prompt_hash, utc(event.at_s)))
        return served

    def _translated(self, error: Exception) -> LlmCanaryError:
        if isinstance(error, _REFUSED):
            # The driver's message quotes the value, which may be a prompt.
            return DataError(f"the database refuses a value of an event: {type(error).__name__}")
        return unreachable(self._engine, error)


def _write_sqlite(
    connection: Connection, inferences: list[InferenceEvent], outcomes: list[OutcomeEvent]
) -> list[InferenceEvent]:
    """Insert, and return the inferences that were not there."""
    # Nobody else writes between this look and the insert: the transaction began as a writer's.
    known = set(
        connection.exec_driver_sql(
            "SELECT id FROM inference WHERE id IN (SELECT value FROM json_each(?))",
            (_to_json([event.id for event in inferences]).decode(),),
        ).scalars()
    )
    new: list[InferenceEvent] = []
    rows: list[Row] = []
    tasks: list[Row] = []
    for event in inferences:
        if event.id in known:
            continue
        known.add(event.id)
        new.append(event)
        rows.append(_inference_row(event, sqlite_time))
        if (due_s := _due_s(event)) is not None:
            tasks.append((event.id, IMMEDIATE, event.rollout_id, sqlite_time(due_s)))
    for table, columns, values in (
        ("inference", _INFERENCE, rows),
        ("outcome", _OUTCOME, [_outcome_row(event, sqlite_time) for event in outcomes]),
        ("score_task", _TASK, tasks),
    ):
        if values:
            connection.exec_driver_sql(_insert(table, columns, "?"), values)
    return new


def _write_postgresql(
    connection: Connection, inferences: list[InferenceEvent], outcomes: list[OutcomeEvent]
) -> list[InferenceEvent]:
    """Insert, and return the inferences that were not there."""
    new: list[InferenceEvent] = []
    if inferences:
        driver: psycopg.Connection = cast("Any", connection.connection.driver_connection)
        with driver.cursor() as cursor:
            # Kept for the life of the connection: a new one each time would bloat the catalogue.
            cursor.execute(_CREATE_STAGING)
            # The driver's own, in C: ours would double the time that a row takes.
            cursor.adapters.register_dumper(str, _DRIVERS_TEXT)
            with cursor.copy(_COPY) as copy:
                for event in inferences:
                    due_s = _due_s(event)
                    due_at = None if due_s is None else utc(due_s)
                    copy.write_row((due_at, *_inference_row(event, utc)))
            inserted = {name for (name,) in cursor.execute(_MERGE)}
        # Of an id that comes twice, the first one was inserted.
        first = {event.id: event for event in reversed(inferences)}
        new = [event for name, event in first.items() if name in inserted]
    if outcomes:
        rows = [_outcome_row(event, utc) for event in outcomes]
        connection.exec_driver_sql(_insert("outcome", _OUTCOME, "%s"), rows)
    return new


def _inference_row(event: InferenceEvent, time: Time) -> Row:
    row = list(msgspec.structs.astuple(event))
    row[_AT] = time(event.at_s)
    row[_SEGMENTS] = _to_json(event.segments).decode()
    row[_ABSORBED] = _to_json(event.absorbed).decode()
    if event.sent_params is not None:
        row[_SENT_PARAMS] = _to_json(event.sent_params).decode()
    if event.service_tier is not None:
        row[_SERVICE_TIER] = event.service_tier[:MAX_TIER_CHARS]  # PostgreSQL would refuse more
    return tuple(row)


def _outcome_row(event: OutcomeEvent, time: Time) -> Row:
    value = event.value
    return (
        time(event.at_s),
        time(event.occurred_at_s),
        None if isinstance(value, str) or value is None else float(value),
        value if isinstance(value, str) else None,
        value is None,
        *_outcome_values(event),
    )


def _due_s(event: InferenceEvent) -> float | None:
    """Return when the event is to be scored; None = never.

    Every response waits until an SDK's retry would have come: if only failures waited, an arm that
    fails more would look better for as long.
    """
    if not event.eligible or event.rollout_id is None:
        return None
    return event.at_s + event.latency_ms / 1_000 + event.settle_s


def _without_nul(event: Event) -> Event:
    return msgspec.convert(without_nul(msgspec.to_builtins(event)), type(event))


def _insert(table: str, columns: Iterable[str], mark: str) -> str:
    names = tuple(columns)
    marks = ", ".join([mark] * len(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608 - names of ours


_CREATE_STAGING = f"""
    CREATE TEMPORARY TABLE IF NOT EXISTS {_STAGING} (due_at timestamptz, LIKE inference)
    ON COMMIT DELETE ROWS"""
_COPY = f"COPY {_STAGING} (due_at, {', '.join(_INFERENCE)}) FROM STDIN"
_MERGE = f"""
    WITH new AS (
        INSERT INTO inference ({", ".join(_INFERENCE)})
        SELECT {", ".join(_INFERENCE)} FROM {_STAGING}
        ON CONFLICT DO NOTHING RETURNING id),
    task AS (
        INSERT INTO score_task (inference_id, what, rollout_id, due_at)
        SELECT DISTINCT ON (id) id, '{IMMEDIATE}', rollout_id, due_at
        FROM new JOIN {_STAGING} USING (id) WHERE due_at IS NOT NULL
        ON CONFLICT DO NOTHING)
    SELECT id FROM new"""  # noqa: S608 - names of ours
