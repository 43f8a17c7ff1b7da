"""What people asked to be erased, and how far that has come."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import case, select, update
from sqlmodel import Session, col

from llm_canary.ids import uuid7
from llm_canary.storage.models.erasure import Erasure


class ErasureKind(StrEnum):
    """What an erasure is about."""

    USER = "user"
    REQUEST = "request"
    BEFORE = "before"


class ErasureState(StrEnum):
    """How far an erasure has come."""

    RUNNING = "running"
    SETTLING = "settling"  # it looks again, for facts that waited on the disk of some gateway
    DONE = "done"


class ErasureRecord(NamedTuple):
    """One erasure; `target` is a keyed hash, an id or seconds since the epoch."""

    id: str
    kind: ErasureKind
    target: str
    requested_at: datetime
    requested_by: str
    state: ErasureState
    position: str
    inferences: int
    comments: int
    done_at: datetime | None


def add_erasure(session: Session, kind: ErasureKind, target: str, by: str, at: datetime) -> str:
    """Store a request to erase; return its id."""
    row = Erasure(
        id=uuid7(),
        kind=kind.value,
        target=target,
        requested_at=at,
        requested_by=by,
        state=ErasureState.RUNNING.value,
    )
    session.add(row)
    return row.id


def get_erasure(session: Session, erasure_id: str) -> ErasureRecord | None:
    """Return one erasure."""
    row = session.get(Erasure, erasure_id)
    return None if row is None else _record(row)


def list_erasures(session: Session, limit: int = 100) -> list[ErasureRecord]:
    """Return erasures, the newest first."""
    query = select(Erasure).order_by(col(Erasure.id).desc()).limit(limit)
    return [_record(row) for row in session.execute(query).scalars()]


def next_erasure(session: Session, settled_before: datetime) -> ErasureRecord | None:
    """Return what is to be gone on with: the oldest that runs, else one that has waited enough."""
    waits = (col(Erasure.state) == ErasureState.SETTLING.value) & (
        col(Erasure.requested_at) < settled_before
    )
    query = (
        select(Erasure)
        .where((col(Erasure.state) == ErasureState.RUNNING.value) | waits)
        .order_by(case((waits, 1), else_=0), col(Erasure.id))
        .limit(1)
    )
    row = session.execute(query).scalar_one_or_none()
    return None if row is None else _record(row)


class Progress(NamedTuple):
    """What one batch came to."""

    state: ErasureState
    position: str
    inferences: int = 0
    comments: int = 0
    done_at: datetime | None = None


def note_progress(session: Session, erasure_id: str, progress: Progress) -> None:
    """Add what a batch came to."""
    statement = (
        update(Erasure)
        .where(col(Erasure.id) == erasure_id)
        .values(
            state=progress.state.value,
            position=progress.position,
            inferences=col(Erasure.inferences) + progress.inferences,
            comments=col(Erasure.comments) + progress.comments,
            done_at=progress.done_at,
        )
    )
    session.execute(statement.execution_options(synchronize_session=False))


def _record(row: Erasure) -> ErasureRecord:
    values = row.model_dump() | {"kind": ErasureKind(row.kind), "state": ErasureState(row.state)}
    return ErasureRecord(**values)
