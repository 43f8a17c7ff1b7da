"""Values made once for an installation and shared by all its processes."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col, select

from llm_canary.storage.dialect import is_sqlite
from llm_canary.storage.models.installation import Installation

# The names of secrets.
KEY_SECRET = "key_secret"  # noqa: S105 - under it API keys are hashed
WEB_SECRET = "web_secret"  # noqa: S105 - it seals what browsers bring back
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


class DatabaseFacts(NamedTuple):
    """Which database it is, and how large."""

    kind: str
    version: str
    size_bytes: int


def database_facts(session: Session) -> DatabaseFacts:
    """Return kind, version and size of the database."""
    if is_sqlite(session.connection()):
        kind, version = "SQLite", "SELECT sqlite_version()"
        size = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    else:
        kind, version = "PostgreSQL", "SELECT current_setting('server_version')"
        size = "SELECT pg_database_size(current_database())"
    connection = session.connection()
    return DatabaseFacts(
        kind,
        str(connection.execute(text(version)).scalar_one()),
        int(connection.execute(text(size)).scalar_one()),
    )


def locked(session: Session, key: str) -> str:
    """Return the stored value of `key`; others who ask so wait for this transaction's end."""
    query = select(Installation.value).where(col(Installation.key) == key)
    return session.exec(query.with_for_update()).one()
