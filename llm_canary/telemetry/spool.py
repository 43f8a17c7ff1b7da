"""The spool: append-only checksummed segments between the data plane and the database.

::

    <root>/<writer uuid>/lock            flock, held while the writer lives; a kill gives it up
    <root>/<writer uuid>/00000001.seg    records: u32 length, u32 crc32 (big-endian), payload

A record is safe from a crash of the process once `append` returns (it is in the page cache), and
from a crash of the machine after the next `sync`. A payload is JSON, which has no zero byte, and a
length below 2**24 starts with one: so the reader finds the next record behind a damaged one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llm_canary.ids import uuid7

MAX_RECORD_BYTES = 2**24 - 1
SEGMENT_SUFFIX = ".seg"
LOCK_NAME = "lock"
_HEADER = struct.Struct(">II")
_HEADER_START = re.compile(rb"\0(?!\0\0\0)")  # not within zeros, which a lost page leaves


class SpoolFullError(OSError):
    """The spool has reached its size limit: the drain does not keep up, or has stopped."""


class SpoolWriter:
    """Appends records to the segments of one writer.

    Nothing is opened before the first `append`, and an error leaves the spool usable: a full disk
    must not keep the gateway from starting or serving, only from remembering.
    """

    def __init__(
        self, root: Path, *, segment_bytes: int = 2**24, max_total_bytes: int = 2**30
    ) -> None:
        self._root = root
        self._segment_bytes = segment_bytes
        self._max_total_bytes = max_total_bytes
        self._folder: Path | None = None
        self._lock_fd = -1
        self._fd = -1
        self._number = 0
        self._size = 0  # of the open segment: everything before it is whole records
        self._others_bytes = 0  # all other segments under the root, when last counted
        self._is_dirty = False

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write all of `payloads` or none; raise OSError when the disk or the spool is full."""
        data = frame(payloads)
        if self._fd < 0 or self._size >= self._segment_bytes:
            self._open_segment()
        if self._others_bytes + self._size + len(data) > self._max_total_bytes:
            self._others_bytes = self._count_others()  # the drain may have made room
            if self._others_bytes + self._size + len(data) > self._max_total_bytes:
                raise SpoolFullError(
                    f"spool {self._root} is at its limit of {self._max_total_bytes} bytes"
                )
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            self._cut_off()
            raise
        self._size += len(data)
        self._is_dirty = True

    def sync(self) -> None:
        """Bring what was appended to the disk itself."""
        if self._is_dirty:
            os.fdatasync(self._fd)
            self._is_dirty = False

    def close(self) -> None:
        """Sync, and let the drain finish and remove this writer's folder."""
        try:
            self.sync()
        finally:
            self._close_segment()
            if self._lock_fd >= 0:
                os.close(self._lock_fd)
                self._lock_fd = -1
                self._folder = None

    def _open_segment(self) -> None:
        self.sync()
        self._close_segment()
        folder = self._folder or self._make_folder()
        path = folder / f"{self._number + 1:08d}{SEGMENT_SUFFIX}"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._number += 1
        self._size = 0
        self._others_bytes = self._count_others()

    def _make_folder(self) -> Path:
        name = uuid7()
        # The drain ignores hidden folders, and removes visible ones that nobody holds: so the
        # lock is taken before the folder appears under its name.
        hidden = self._root / f".{name}"
        hidden.mkdir(parents=True, mode=0o700)
        lock_fd = -1
        try:
            lock_fd = os.open(hidden / LOCK_NAME, os.O_WRONLY | os.O_CREAT, 0o600)
            fcntl.flock(lock_fd, fcntl.LOCK_EX)
            self._folder = hidden.rename(self._root / name)
        except OSError:
            # A full disk is met again at every flush; nothing may stay behind each time.
            if lock_fd >= 0:
                os.close(lock_fd)
            shutil.rmtree(hidden, ignore_errors=True)
            raise
        self._lock_fd = lock_fd
        self._number = 0
        return self._folder

    def _cut_off(self) -> None:
        """Remove what a failed write left, and go on in another segment.

        The drain may already have stored records of the failed batch: were the same bytes of the
        file written again, its cursor would point into the middle of another record.
        """
        path = (self._folder or self._root) / f"{self._number:08d}{SEGMENT_SUFFIX}"
        with contextlib.suppress(OSError):
            if self._size:
                os.ftruncate(self._fd, self._size)
            else:
                path.unlink()
        self._close_segment()

    def _close_segment(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._is_dirty = False

    def _count_others(self) -> int:
        own = (self._folder or self._root) / f"{self._number:08d}{SEGMENT_SUFFIX}"
        total = 0
        for path in self._root.glob(f"*/*{SEGMENT_SUFFIX}"):
            if path != own:
                try:
                    total += path.stat().st_size
                except FileNotFoundError:  # the drain removed it meanwhile
                    continue
        return total


def frame(payloads: Sequence[bytes]) -> bytes:
    """Return `payloads` as the records of a segment."""
    return b"".join(
        part
        for payload in payloads
        for part in (_HEADER.pack(len(payload), zlib.crc32(payload)), payload)
    )


class Scan(NamedTuple):
    """What a look at the bytes of a segment gave."""

    payloads: list[bytes]
    consumed: int  # bytes that need not be read again
    damaged: int  # of them, bytes that belong to no whole record


def scan(data: bytes, limit: int, *, is_final: bool) -> Scan:
    """Return up to `limit` payloads from the start of `data`.

    When `is_final` is false more bytes may follow, so it stops at the first record that is not
    whole; else it skips what is damaged or torn, up to the next record with a right checksum.
    """
    payloads: list[bytes] = []
    position = damaged = 0
    while position < len(data) and len(payloads) < limit:
        end = _record_end(data, position)
        if end is not None:
            payloads.append(data[position + _HEADER.size : end])
            position = end
        elif is_final:
            following = _next_record(data, position + 1)
            damaged += following - position
            position = following
        else:
            break
    return Scan(payloads, position, damaged)


def _record_end(data: bytes, position: int) -> int | None:
    """Return where the record at `position` ends; None when there is no whole record."""
    start = position + _HEADER.size
    if start > len(data):
        return None
    length, checksum = _HEADER.unpack_from(data, position)
    end: int = start + length
    # An empty payload is never written, but eight zero bytes would be one with a right checksum.
    if not 0 < length <= MAX_RECORD_BYTES or end > len(data):
        return None
    return end if zlib.crc32(memoryview(data)[start:end]) == checksum else None


def _next_record(data: bytes, position: int) -> int:
    """Return where the next whole record starts at or behind `position`, or the end of `data`."""
    for match in _HEADER_START.finditer(data, position):
        if _record_end(data, match.start()) is not None:
            return match.start()
    return len(data)
