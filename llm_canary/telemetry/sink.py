"""Where the drain puts events, with the in-memory double for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from llm_canary.errors import LlmCanaryError
from llm_canary.telemetry.events import Event


class BatchSink(Protocol):
    """Stores events for good; an event id that is stored already is ignored."""

    def write(self, events: Sequence[Event]) -> None:
        """Store all of `events` or none.

        Raises `StorageError` when storing is impossible now and will be tried again, and
        `DataError` when one of `events` can never be stored.
        """
        ...


class MemoryBatchSink:
    """Keeps events in a dict by id; raises `failure` as long as it is set."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.failure: LlmCanaryError | None = None

    def write(self, events: Sequence[Event]) -> None:
        """Store all of `events` or none."""
        if self.failure is not None:
            raise self.failure
        for event in events:
            self.events.setdefault(event.id, event)
