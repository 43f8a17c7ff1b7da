"""What has been paid for once: judgements and candidates' answers, in one SQLite file.

Also what makes an interrupted check go on where it stopped.
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import TypeVar

import msgspec
import orjson

from llm_canary.errors import ConfigError

T = TypeVar("T")


class Cache:
    """Key -> value, kept over runs; without a path it lasts as long as the process."""

    def __init__(self, path: Path | None) -> None:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, value BLOB NOT NULL)"
            )
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"the cache {path} cannot be used ({error}); give another one with --cache, "
                "or remove it"
            ) from None

    def get(self, key: str, kind: type[T]) -> T | None:
        """Return the value, None when there is none or it is of an older form."""
        row = self._db.execute("SELECT value FROM entry WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            return msgspec.msgpack.decode(row[0], type=kind)
        except msgspec.MsgspecError:
            return None

    def put(self, key: str, value: object) -> None:
        """Keep the value; it is on disk when this returns."""
        data = msgspec.msgpack.encode(value)
        self._db.execute("INSERT OR REPLACE INTO entry VALUES (?, ?)", (key, data))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def cache_key(*facts: object) -> str:
    """Return the key of everything that the value depends on."""
    data = orjson.dumps(facts, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(data).hexdigest()
