"""From the spool into the sink: every segment of every writer, of dead processes too.

A segment's cursor says how far it has been stored; it is written after the sink has committed, so a
crash between the two stores a batch again, and the sink ignores ids that it knows.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from llm_canary.errors import DataError, StorageError
from llm_canary.telemetry.events import Event, decode, encode
from llm_canary.telemetry.sink import BatchSink
from llm_canary.telemetry.spool import LOCK_NAME, SEGMENT_SUFFIX, Scan, frame, scan

POISON_NAME = "poison"
_CURSOR_SUFFIX = ".cursor"
_CHUNK_BYTES = 2**21
_BACKOFF_S = (0.5, 30.0)  # first, longest
_POISON_BYTES = 2**26

_logger = logging.getLogger(__name__)


class DrainStats(msgspec.Struct, frozen=True, kw_only=True):
    """How the drain is doing."""

    drained: int
    poisoned: int  # events that can never be stored, moved aside
    damaged_bytes: int  # torn or corrupt parts of segments, skipped
    failures: int  # times the sink could not store
    backlog_bytes: int  # on disk and not stored yet
    last_error: str | None  # None: the last attempt went well


class _Segment(NamedTuple):
    path: Path
    is_final: bool  # nothing will be appended any more


class Drain:
    """Stores what the spools under `spool_root` hold and removes what is stored.

    Several drains may be started on one root: the first one works, the others stand by.
    """

    def __init__(
        self,
        spool_root: Path,
        sink: BatchSink,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = spool_root
        self._sink = sink
        self._monotonic = monotonic
        self._lock_fd = -1
        self._not_before_s = 0.0
        self._backoff_s = 0.0
        self._drained = 0
        self._poisoned = 0
        self._damaged_bytes = 0
        self._failures = 0
        self._last_error: str | None = None

    def drain_once(self, limit: int = 2_000) -> int:
        """Store up to `limit` events and return how many; 0 = nothing there, or not now."""
        if self._monotonic() < self._not_before_s:
            return 0
        try:
            if not self._leads():
                return 0
            count = self._drain(limit)
        except (StorageError, OSError) as error:
            self._back_off(error)
            return 0
        self._backoff_s = 0.0
        self._last_error = None
        return count

    def close(self) -> None:
        """Let another drain take over."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    @property
    def is_leader(self) -> bool:
        """Whether this drain is the one that stores this spool."""
        return self._lock_fd >= 0

    @property
    def stats(self) -> DrainStats:
        """The counters now."""
        return DrainStats(
            drained=self._drained,
            poisoned=self._poisoned,
            damaged_bytes=self._damaged_bytes,
            failures=self._failures,
            backlog_bytes=self._backlog_bytes(),
            last_error=self._last_error,
        )

    def _leads(self) -> bool:
        if self._lock_fd < 0:
            self._root.mkdir(parents=True, exist_ok=True)
            fd = _try_lock(self._root / "drain.lock")
            if fd is None:
                return False
            self._lock_fd = fd
        return True

    def _back_off(self, error: Exception) -> None:
        first_s, longest_s = _BACKOFF_S
        self._backoff_s = min(max(first_s, self._backoff_s * 2), longest_s)
        self._not_before_s = self._monotonic() + self._backoff_s
        self._failures += 1
        self._last_error = str(error)
        _logger.warning("drain: nothing lost, next try in %.1f s: %s", self._backoff_s, error)

    def _drain(self, limit: int) -> int:
        count = 0
        for folder in _writer_folders(self._root):
            lock_fd = _try_lock(folder / LOCK_NAME)
            try:
                count += self._drain_folder(folder, limit - count, is_gone=lock_fd is not None)
            finally:
                if lock_fd is not None:
                    os.close(lock_fd)
            if count >= limit:
                break
        return count

    def _drain_folder(self, folder: Path, limit: int, *, is_gone: bool) -> int:
        paths = _segment_paths(folder)
        count = 0
        for path in paths:
            is_final = is_gone or path != paths[-1]
            count += self._drain_segment(_Segment(path, is_final), limit - count)
            if count >= limit:
                return count
        if is_gone:
            # Nobody writes here and all is stored: an empty segment list, the lock, the folder.
            for rest in folder.iterdir():
                rest.unlink()
            folder.rmdir()
        return count

    def _drain_segment(self, segment: _Segment, limit: int) -> int:
        cursor = segment.path.with_suffix(_CURSOR_SUFFIX)
        position = _read_cursor(cursor)
        count = 0
        with segment.path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            while position < size and count < limit:
                part = _read(file.fileno(), position, limit - count, is_final=segment.is_final)
                if part.consumed == 0:
                    break
                self._store(part.payloads)
                position += part.consumed
                cursor.write_text(str(position))
                count += len(part.payloads)
                self._damaged_bytes += part.damaged
        if segment.is_final and position >= size:
            segment.path.unlink()
            cursor.unlink(missing_ok=True)
        return count

    def _store(self, payloads: Sequence[bytes]) -> None:
        events: list[Event] = []
        poison: list[bytes] = []
        for payload in payloads:
            try:
                events.append(decode(payload))
            except (msgspec.MsgspecError, ValueError, RecursionError):
                poison.append(payload)
        poison += self._write(events)
        for payload in poison:
            self._set_aside(payload)
        self._drained += len(payloads) - len(poison)

    def _write(self, events: Sequence[Event]) -> list[bytes]:
        """Store `events`, by halves when one of them is refused; return the refused ones."""
        if not events:
            return []
        try:
            self._sink.write(events)
        except DataError as error:
            if len(events) == 1:
                _logger.warning("drain: event %s can never be stored: %s", events[0].id, error)
                return [encode(events[0])]
            middle = len(events) // 2
            return self._write(events[:middle]) + self._write(events[middle:])
        return []

    def _set_aside(self, payload: bytes) -> None:
        self._poisoned += 1
        with (self._root / POISON_NAME).open("ab") as file:
            if file.tell() < _POISON_BYTES:
                file.write(frame([payload]))

    def _backlog_bytes(self) -> int:
        total = 0
        for folder in _writer_folders(self._root):
            for path in _segment_paths(folder):
                try:
                    size = path.stat().st_size
                except FileNotFoundError:  # stored and removed meanwhile
                    continue
                total += max(0, size - _read_cursor(path.with_suffix(_CURSOR_SUFFIX)))
        return total


def _writer_folders(root: Path) -> Iterator[Path]:
    """Yield the writers' folders, oldest first (their names are time-ordered)."""
    if root.is_dir():
        for path in sorted(root.iterdir()):
            if not path.name.startswith(".") and (path / LOCK_NAME).is_file():
                yield path


def _segment_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))


def _try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock file `path`, or None when somebody else does."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _read_cursor(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):  # none yet, or torn: storing twice is harmless
        return 0


def _read(fd: int, position: int, limit: int, *, is_final: bool) -> Scan:
    """Return the next records, from a chunk that grows until it holds at least one of them."""
    length = _CHUNK_BYTES
    while True:
        data = os.pread(fd, length, position)
        is_whole = len(data) < length
        part = scan(data, limit, is_final=is_final and is_whole)
        if part.consumed or is_whole:
            return part
        length *= 4
