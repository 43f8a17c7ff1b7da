"""Which prompt versions have been served, and with which text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.engine import Connection
from sqlmodel import Session, select

from llm_canary.storage.models.installation import ServedPrompt


class Served(NamedTuple):
    """The text of a version, and since when it stays."""

    content_hash: str
    first_served_at: datetime


def note_served(connection: Connection, served: Mapping[str, Served]) -> None:
    """Remember the text of each version in `served`; the one that was noted first stays."""
    insert = insert_sqlite if connection.dialect.name == "sqlite" else insert_postgresql
    # Sorted, so that two who store the same versions at once wait for each other in one order.
    rows = [{"name": name, **served[name]._asdict()} for name in sorted(served)]
    connection.execute(insert(ServedPrompt).values(rows).on_conflict_do_nothing())


def served_prompts(session: Session) -> dict[str, Served]:
    """Return all versions that have been served."""
    return {
        row.name: Served(row.content_hash, row.first_served_at)
        for row in session.exec(select(ServedPrompt)).all()
    }
