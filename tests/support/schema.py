"""Databases that have the current schema: copies of one that the real migrations made, once per process."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy.engine import Engine

from llm_canary.storage import migrate
from llm_canary.storage.engine import make_engine


def write_sqlite(path: Path) -> str:
    """Make the file a database with the current schema and nothing in it; return its URL."""
    path.write_bytes(_migrated())
    return f"sqlite:///{path}"


def sqlite_engine(path: Path) -> Engine:
    """Return an engine on a new database with the current schema."""
    return make_engine(write_sqlite(path))


def upgrade(url: str) -> None:
    """Apply the migrations and leave no connection, so that the database can be a template."""
    engine = make_engine(url)
    migrate.upgrade(engine)
    engine.dispose()


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "migrated.db")
        upgrade(f"sqlite:///{path}")
        # What the last connection has not moved out of it would be missing from the copies.
        assert not path.with_name("migrated.db-wal").exists()
        return path.read_bytes()
