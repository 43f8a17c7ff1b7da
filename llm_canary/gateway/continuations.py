"""Which upstream and arm made a stored answer, so that what builds on it goes there again.

A provider keeps answers on its side: a request with `previous_response_id`, or for a stored answer
by its id, can only be served where that answer was made. All processes that share a data directory
share one file. When the file fails, each process knows what it has served itself: nothing here ever
fails a request.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread
from typing import NamedTuple

from llm_canary.clock import Clock, SystemClock

_log = logging.getLogger(__name__)
_MAX_KEPT = 100_000
_MAX_WAITING = 10_000
_BATCH = 500
_PRUNE_EVERY = 1_000  # inserts
_BUSY_MS = 2_000  # of the writing thread
_TABLE = """
CREATE TABLE IF NOT EXISTS served (
    id BLOB PRIMARY KEY, upstream TEXT NOT NULL, route TEXT, rollout_id TEXT,
    role TEXT NOT NULL, at_s REAL NOT NULL, key TEXT
) WITHOUT ROWID
"""
_COLUMNS = "SELECT name FROM pragma_table_info('served')"
_ADD_KEY = "ALTER TABLE served ADD COLUMN key TEXT"  # a file of an earlier release has none
_INDEX = "CREATE INDEX IF NOT EXISTS served_at ON served (at_s)"
_INSERT = """
INSERT OR REPLACE INTO served (id, upstream, route, rollout_id, role, key, at_s)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_SELECT = "SELECT upstream, route, rollout_id, role, key FROM served WHERE id = ?"
_PRUNE = """
DELETE FROM served WHERE at_s <= (SELECT at_s FROM served ORDER BY at_s DESC LIMIT 1 OFFSET ?)
"""


class Served(NamedTuple):
    """Where an answer was made."""

    upstream: str
    route: str | None
    rollout_id: str | None
    role: str
    key: str | None = None  # of whoever asked for it; None: there were no keys


class Continuations:
    """What is known of stored answers, by the hash of their ids; the newest 100,000.

    `put` and `get` are for the event loop's thread; another thread writes the file.
    """

    def __init__(self, path: Path | None, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._known: dict[bytes, Served] = {}
        self._waiting: Queue[tuple[bytes, Served, float] | None] = Queue(_MAX_WAITING)
        self._reader: sqlite3.Connection | None = None
        self._writer: Thread | None = None
        self.dropped = 0  # known to this process alone, because the file was too slow

    def start(self) -> None:
        """Open the file."""
        if self._path is None or self._writer is not None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=0.0, isolation_level=None)
            self._reader = connection
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_TABLE)
            _add_key(connection)
            connection.execute(_INDEX)
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA query_only = ON")
        except (OSError, sqlite3.Error) as error:
            _warn(error)
            self._close_reader()
            return
        self._writer = Thread(target=self._write, name="continuations", daemon=True)
        self._writer.start()

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most `timeout_s`."""
        if self._writer is not None:
            try:
                self._waiting.put(None, timeout=timeout_s)
            except Full:
                return
            self._writer.join(timeout_s)
            self._writer = None

    def put(self, response_id: str, served: Served) -> None:
        """Remember where the answer with this id was made."""
        key = _key(response_id)
        self._known.pop(key, None)
        if len(self._known) >= _MAX_KEPT:
            del self._known[next(iter(self._known))]
        self._known[key] = served
        if self._writer is None:
            return
        try:
            self._waiting.put_nowait((key, served, self._clock.now_s()))
        except Full:
            self.dropped += 1

    def get(self, response_id: str) -> Served | None:
        """Return where the answer with this id was made, None when it is not known."""
        key = _key(response_id)
        known = self._known.get(key)
        if known is not None or self._reader is None:
            return known
        try:
            row = self._reader.execute(_SELECT, (key,)).fetchone()
        except sqlite3.Error as error:
            _warn(error)
            return None
        return Served(*row) if row is not None else None

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _write(self) -> None:
        written, goes_on = 0, True
        while goes_on:
            batch = list(self._take())
            goes_on = None not in batch
            rows = [(key, *served, at_s) for key, served, at_s in filter(None, batch)]
            try:
                self._insert(rows, prunes=written + len(rows) >= _PRUNE_EVERY)
            except (OSError, sqlite3.Error) as error:
                _warn(error)
            written = (written + len(rows)) % _PRUNE_EVERY

    def _take(self) -> Iterable[tuple[bytes, Served, float] | None]:
        """Yield the next that waits, and what waits behind it."""
        yield self._waiting.get()
        for _ in range(_BATCH):
            try:
                yield self._waiting.get_nowait()
            except Empty:
                return

    def _insert(self, rows: Sequence[tuple[object, ...]], *, prunes: bool) -> None:
        if not rows or self._path is None:
            return
        connection = sqlite3.connect(self._path, timeout=_BUSY_MS / 1000)
        try:
            with connection:
                connection.execute("PRAGMA synchronous = OFF")
                connection.executemany(_INSERT, rows)
                if prunes:
                    connection.execute(_PRUNE, (_MAX_KEPT,))
        finally:
            connection.close()


def _key(response_id: str) -> bytes:
    return blake2b(response_id.encode(errors="surrogatepass"), digest_size=16).digest()


def _add_key(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")  # another process may be about to do the same
    if ("key",) not in connection.execute(_COLUMNS).fetchall():
        connection.execute(_ADD_KEY)
    connection.execute("COMMIT")


def _warn(error: Exception) -> None:
    _log.warning(
        "the file of stored answers cannot be used (%s); each process knows its own only",
        type(error).__name__,
    )
