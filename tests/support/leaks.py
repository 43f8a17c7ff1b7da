"""Secrets that this process's test servers were given, and the search for them in what they wrote.

A secret is a password, a secret or a key in a server's environment that cannot stand anywhere by
chance, and the text of every key that a server makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
from psycopg import sql

GIVEN: set[str] = set()
SERVED: set[str] = set()  # URLs of their databases
_NAME = re.compile(r"KEY|SECRET|PASSWORD|TOKEN")
_SHORTEST = 8
_MADE = r"lc_[0-9a-f]{8}_[A-Za-z0-9_-]{43}"
_FOLDERS = ("data", ".llm_canary", "spool")
_KINDS = (".log", ".db", ".db-wal", ".spool")


def remember(environment: Mapping[str, str], database_url: str) -> None:
    """Note what a server is given."""
    SERVED.add(database_url)
    GIVEN.update(
        value
        for name, value in environment.items()
        if _NAME.search(name) and len(value) >= _SHORTEST
    )


def in_files(folder: Path) -> Iterator[str]:
    """Yield each log, database and file of a spool below the folder that holds a secret."""
    secret = re.compile(_expression().encode())
    for path in sorted(folder.rglob("*")):
        is_written = path.suffix in _KINDS or not set(_FOLDERS).isdisjoint(path.parts)
        if is_written and path.is_file() and (found := secret.search(path.read_bytes())):
            yield f"{path}: {found[0].decode()}"


def in_database(url: str) -> Iterator[str]:
    """Yield each table of a server's PostgreSQL database that holds a secret."""
    if url not in SERVED:
        return
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (table,) in tables:
            query = sql.SQL("SELECT t::text FROM {} t WHERE t::text ~ %s LIMIT 1").format(
                sql.Identifier(table)
            )
            for (row,) in connection.execute(query, [_expression()]):
                yield f"{table}: {row[:200]}"


def _expression() -> str:
    return "|".join([_MADE, *map(re.escape, sorted(GIVEN))])
