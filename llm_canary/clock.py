"""The only place that reads the wall clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from; passed in, so that tests and simulations can move it."""

    def now_s(self) -> float:
        """Seconds since the epoch (UTC)."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        """Seconds since the epoch (UTC)."""
        return time.time()  # noqa: TID251 - this is the one place


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start_s: float = 1_800_000_000.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        """Seconds since the epoch (UTC)."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move the clock by `seconds`, which may be negative."""
        self._now_s += seconds


def utc(seconds: float) -> datetime:
    """Return the aware UTC datetime of `seconds` since the epoch."""
    return datetime.fromtimestamp(seconds, tz=UTC)
