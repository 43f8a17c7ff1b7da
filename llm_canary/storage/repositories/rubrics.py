"""The texts of rubrics that rollouts were started with."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col

from llm_canary.storage.models.grading import RubricText


def keep_rubric(  # noqa: PLR0913 - the columns
    session: Session,
    *,
    text_id: str,
    rubric_id: str,
    version: int,
    content_hash: str,
    text: str,
    at: datetime,
) -> None:
    """Store the text of a rubric unless it is there."""
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    row = {
        "id": text_id,
        "rubric_id": rubric_id,
        "version": version,
        "content_hash": content_hash,
        "text": text,
        "stored_at": at,
    }
    session.execute(insert(RubricText).values(row).on_conflict_do_nothing())


def rubric_text(session: Session, text_id: str) -> str | None:
    """Return the text that was stored under the id."""
    query = select(col(RubricText.text)).where(col(RubricText.id) == text_id)
    return session.execute(query).scalar_one_or_none()
