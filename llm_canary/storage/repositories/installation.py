"""Values made once for an installation and shared by all its processes."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col, select

from llm_canary.storage.dialect import is_sqlite
from llm_canary.storage.models.installation import Installation

# The names of secrets.
KEY_SECRET = "key_secret"  # noqa: S105 - under it API keys are hashed
WEB_SECRET = "web_secret"  # noqa: S105 - it seals what browsers bring back


def get_or_set(session: Session, key: str, value: str) -> str:
    """Return the stored value of `key`; store `value` when there is none yet."""
    insert = insert_sqlite if is_sqlite(session.connection()) else insert_postgresql
    session.connection().execute(
        insert(Installation).values(key=key, value=value).on_conflict_do_nothing()
    )
    return session.exec(select(Installation.value).where(col(Installation.key) == key)).one()


def locked(session: Session, key: str) -> str:
    """Return the stored value of `key`; others who ask so wait for this transaction's end."""
    query = select(Installation.value).where(col(Installation.key) == key)
    return session.exec(query.with_for_update()).one()
