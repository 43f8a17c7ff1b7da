"""The way from the event loop to the spool: a bounded queue and a thread; `put` never blocks."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from llm_canary.telemetry.events import Event, InferenceEvent, encode
from llm_canary.telemetry.spool import MAX_RECORD_BYTES, SpoolWriter

_BATCH = 1_000
_SYNC_S = 1.0
# Python hands the interpreter over only every 5 ms by itself. The event loop must not wait that
# long for a thread that parses answers, so the thread lets go after each slice of work.
_SLICE_S = 0.000_5
_PAUSE_S = 0.000_1

_logger = logging.getLogger(__name__)


class WriterStats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events; accepted = written + dropped_error + queued, once at rest."""

    accepted: int
    written: int
    dropped_full: int  # refused by `put`: the queue was full, or closed
    dropped_error: int  # could not be built, or the spool was full or failed
    queued: int
    last_error: str | None  # without content


class TelemetryWriter:
    """Takes events, or functions that make them, and writes them to the spool in batches.

    An event is safe from a kill of the process about `flush_s` after `put`. Call `put` from one
    thread (the event loop); the counters are not locked.
    """

    def __init__(
        self,
        spool_dir: Path,
        *,
        capacity: int = 100_000,
        flush_s: float = 0.1,
        finish: Callable[[Event], Event] | None = None,
        spool: SpoolWriter | None = None,
    ) -> None:
        self._spool = spool or SpoolWriter(spool_dir)
        self._capacity = capacity
        self._flush_s = flush_s
        self._finish = finish
        self._queue: queue.SimpleQueue[Event | Callable[[], Event]] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry-writer", daemon=True)
        self._accepted = 0
        self._written = 0
        self._dropped_full = 0
        self._dropped_error = 0
        self._last_error: str | None = None
        self._unreported = 0  # lost since the log last said how many
        self._synced_at_s = 0.0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, event: Event | Callable[[], Event]) -> bool:
        """Queue `event`, or a function that makes it in the thread; False = dropped and counted."""
        if self._queue.qsize() >= self._capacity or self._closing.is_set():
            self._dropped_full += 1
            return False
        self._accepted += 1
        self._queue.put(event)
        return True

    def close(self, timeout_s: float = 10.0) -> bool:
        """Refuse further events, write what is queued; False when that took too long."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive() and self._queue.empty()

    @property
    def stats(self) -> WriterStats:
        """The counters now."""
        return WriterStats(
            accepted=self._accepted,
            written=self._written,
            dropped_full=self._dropped_full,
            dropped_error=self._dropped_error,
            queued=self._queue.qsize(),
            last_error=self._last_error,
        )

    def _run(self) -> None:
        while not self._closing.wait(self._flush_s):
            self._flush()
        self._flush()
        try:
            self._spool.close()
        except OSError as error:
            self._count_loss(0, error)
        self._report_losses()

    def _flush(self) -> None:
        remaining = self._queue.qsize()
        while remaining > 0:
            count = min(remaining, _BATCH)
            remaining -= count
            self._write(self._take(count))
        now_s = time.monotonic()
        if now_s - self._synced_at_s >= _SYNC_S:
            self._synced_at_s = now_s
            try:
                self._spool.sync()
            except OSError as error:
                self._count_loss(0, error)

    def _take(self, count: int) -> list[bytes]:
        payloads: list[bytes] = []
        slice_ends_s = time.monotonic() + _SLICE_S
        for _ in range(count):
            item = self._queue.get()
            try:
                event = item() if callable(item) else item
                payloads.append(_wire_form(self._finish(event) if self._finish else event))
            except Exception as error:  # noqa: BLE001 - one bad event must not end telemetry
                self._count_loss(1, error)
            if time.monotonic() >= slice_ends_s and not self._closing.is_set():
                time.sleep(_PAUSE_S)
                slice_ends_s = time.monotonic() + _SLICE_S
        return payloads

    def _write(self, payloads: list[bytes]) -> None:
        if not payloads:
            return
        try:
            self._spool.append(payloads)
        except OSError as error:
            self._count_loss(len(payloads), error)
        else:
            self._written += len(payloads)
            self._report_losses()

    def _count_loss(self, count: int, error: Exception) -> None:
        self._dropped_error += count
        self._unreported += count
        # Only an OSError's text is known to hold no prompt or answer.
        text = (
            f"{type(error).__name__}: {error}"
            if isinstance(error, OSError)
            else type(error).__name__
        )
        if text != self._last_error:
            self._last_error = text
            _logger.error("telemetry: events are lost: %s", text)

    def _report_losses(self) -> None:
        """Say how many were lost, once it is over: each single one would flood the log."""
        if self._unreported:
            _logger.error("telemetry: %d event(s) lost", self._unreported)
            self._unreported = 0


def _wire_form(event: Event) -> bytes:
    payload = encode(event)
    if len(payload) > MAX_RECORD_BYTES and isinstance(event, InferenceEvent):
        # The facts matter more than the texts; `content_hash` still identifies them.
        payload = encode(msgspec.structs.replace(event, request_text=None, response_text=None))
    if len(payload) > MAX_RECORD_BYTES:
        raise OverflowError
    return payload
