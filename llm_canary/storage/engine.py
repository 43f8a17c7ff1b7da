"""Engines and sessions for SQLite and PostgreSQL: the edge at which transactions are opened."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg.adapt import Buffer
from psycopg.types.string import StrBinaryDumper, StrDumperUnknown
from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlmodel import Session

from llm_canary.errors import StorageError
from llm_canary.storage.dialect import is_sqlite, without_nul

_BUSY_TIMEOUT_MS = 15_000
_BUSY_RETRY_S = 0.01
_IDLE_IN_TRANSACTION_MS = 60_000
_CONNECT_TIMEOUT_S = 5
_IS_READER = "llm_canary_is_reader"


def make_engine(url: str) -> Engine:
    """Return the engine of `sqlite:///FILE` or `postgresql://...`; it connects on first use."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, hide_parameters=True, pool_size=8, max_overflow=24)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = create_engine(
        parsed,
        hide_parameters=True,  # parameters hold prompts and answers; errors are logged
        json_serializer=_json_without_nul,
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=24,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": "llm-canary",
            # A process that freezes inside a transaction must not keep the lease's row for ever.
            "options": f"-c idle_in_transaction_session_timeout={_IDLE_IN_TRANSACTION_MS}",
        },
    )
    event.listen(engine, "connect", _set_up_postgresql)
    return engine


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        # The text is not echoed: it may hold a password.
        raise StorageError(
            "the database URL cannot be read; expected sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST/NAME in LLM_CANARY_DATABASE_URL"
        ) from None
    backend = parsed.drivername.partition("+")[0]
    if backend == "sqlite":
        if parsed.database in {None, "", ":memory:"}:
            raise StorageError(
                "an in-memory SQLite database is not shared between threads; use sqlite:///FILE"
            )
        return parsed.set(drivername="sqlite")
    if backend in {"postgresql", "postgres"}:
        return _without_shown_secrets(parsed).set(drivername="postgresql+psycopg")
    raise StorageError(
        f"database kind {backend!r} is not supported; use sqlite:///FILE or postgresql://..."
    )


def _without_shown_secrets(url: URL) -> URL:
    """Return the URL with the password in its own place: SQLAlchemy shows a query as it is."""
    hidden = {name for name in url.query if "password" in name}
    if not hidden:
        return url
    password = url.query.get("password", url.password)
    if hidden != {"password"} or isinstance(password, tuple):
        raise StorageError(
            f"the database URL has {', '.join(sorted(hidden))} in its query, which messages would "
            "show; write USER:PASSWORD@HOST, and other passwords into a service file of libpq"
        )
    return url.difference_update_query(["password"]).set(password=password)


def _set_up_postgresql(connection: Any, _record: object) -> None:  # noqa: ANN401 - as SQLAlchemy calls it
    for dumper in (_BinaryText, _Text):
        connection.adapters.register_dumper(str, dumper)


class _BinaryText(StrBinaryDumper):
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(without_nul(obj))


class _Text(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(without_nul(obj))


def _json_without_nul(value: object) -> str:
    text = json.dumps(value)
    return json.dumps(without_nul(value)) if "\\u0000" in text else text


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - as SQLAlchemy calls it
    # We begin ourselves: the driver's BEGIN is deferred, and then a reader that turns
    # writer fails at once with "database is locked" instead of waiting its turn.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "page_size=8192",  # taken by a new file only; rows of a kilobyte are stored 15 % faster
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "wal_autocheckpoint=2000",  # 16 MB instead of 4: fewer waits for the disk in a commit
        "cache_size=-16384",
    ):
        connection.execute(f"PRAGMA {pragma}")
    _use_write_ahead_log(connection)


def _use_write_ahead_log(connection: Any) -> None:  # noqa: ANN401 - as SQLAlchemy calls it
    # SQLite does not wait its busy timeout where two connections change a new file's journal
    # mode at once: one of them would wait for the other for ever. So the waiting is ours.
    deadline = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() >= deadline:
                raise
            time.sleep(_BUSY_RETRY_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    is_reader = connection.get_execution_options().get(_IS_READER, False)
    connection.exec_driver_sql(f"PRAGMA query_only={int(is_reader)}")
    connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")


@contextmanager
def write_session(engine: Engine) -> Iterator[Session]:
    """Open a transaction that is committed at the end of the block and rolled back by an exception.

    On SQLite writers queue here. A conflict (`IntegrityError`) is left to the caller, who knows
    what it means.
    """
    with connected(engine), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def read_session(engine: Engine) -> Iterator[Session]:
    """Open a read-only transaction with one consistent view; a write in it is an error."""
    options: dict[str, Any] = {_IS_READER: True}
    if not is_sqlite(engine):
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with connected(engine), Session(engine.execution_options(**options)) as session:
        yield session


@contextmanager
def connected(engine: Engine) -> Iterator[None]:
    """Turn the driver's errors about an unreachable or unusable database into `StorageError`."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise unreachable(engine, error) from error


def unreachable(engine: Engine, error: Exception) -> StorageError:
    """Return the error that names the database without its password."""
    where = engine.url.render_as_string(hide_password=True)
    cause = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
    return StorageError(
        f"database {where} cannot be used: {cause}; check that it is running and that "
        "LLM_CANARY_DATABASE_URL names it"
    )
