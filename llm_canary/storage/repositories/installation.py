"""Values made once for an installation and shared by all its processes."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col, select

from llm_canary.storage.dialect import is_sqlite
from llm_canary.storage.models.installation import Installation

UNIT_SECRET = "unit_secret"  # noqa: S105 - the name of the secret that keys stored hashes


def get_value(session: Session, key: str) -> str | None:
    """Return the stored value of `key`, None when there is none yet."""
    query = select(Installation.value).where(col(Installation.key) == key)
    return session.exec(query).one_or_none()


def get_or_set(session: Session, key: str, value: str) -> str:
    """Return the stored value of `key`; store `value` when there is none yet."""
    insert = insert_sqlite if is_sqlite(session.connection()) else insert_postgresql
    session.connection().execute(
        insert(Installation).values(key=key, value=value).on_conflict_do_nothing()
    )
    return session.exec(select(Installation.value).where(col(Installation.key) == key)).one()
