"""What the data plane holds: the table in force, upstream connections, the way to telemetry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from llm_canary.clock import Clock, SystemClock
from llm_canary.errors import NotReady
from llm_canary.gateway.breaker import Breakers
from llm_canary.gateway.choose import Kept
from llm_canary.gateway.continuations import Continuations
from llm_canary.gateway.limits import Meters
from llm_canary.gateway.retry_memory import RetryMemory
from llm_canary.gateway.snapshot import Snapshot
from llm_canary.gateway.token_rates import TokenRates
from llm_canary.providers.connections import Connections
from llm_canary.routing.table import RoutingTable
from llm_canary.telemetry.events import Event

# Answers that are read to their end for clients that have left, at one time.
_MAX_DRAINING = 200
# Raw requests and answers that may wait for the telemetry thread at one time.
_MAX_PENDING_BYTES = 256 * 1024 * 1024
_CLOSE_S = 2.0


class EventWriter(Protocol):
    """Where events go; never blocks."""

    def put(self, event: Event | Callable[[], Event]) -> bool:
        """Accept an event, or a callable that makes it in another thread; False = dropped."""
        ...


class GatewayState:
    """Shared by all requests of one process. Changes only by `swap`, on the event loop's thread."""

    def __init__(
        self,
        writer: EventWriter,
        *,
        clock: Clock | None = None,
        continuations: Continuations | None = None,
        processes: int = 1,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.continuations = continuations or Continuations(None)
        self.breakers = Breakers()
        self.retries: RetryMemory[Kept] = RetryMemory()
        self.token_rates = TokenRates()
        self.meters = Meters(parts=processes)
        self.texts_dropped = 0  # not stored: too much was waiting to be redacted
        self._draining = 0
        self.snapshot: Snapshot | None = None
        self._writer = writer
        self._connections: Connections | None = None
        # Each counter has one writing thread, so neither needs a lock.
        self._bytes_handed_over = 0
        self._bytes_done = 0

    @property
    def table(self) -> RoutingTable | None:
        """The routing table in force."""
        return self.snapshot.table if self.snapshot is not None else None

    async def start(self) -> None:
        """Open the pool of upstream connections; needs a running event loop."""
        self.continuations.start()
        self._connections = Connections()
        self._attach(self.snapshot)

    async def close(self) -> None:
        """Close upstream connections; when it is done, all that has ended is recorded."""
        for wire in self.snapshot.wires.values() if self.snapshot is not None else ():
            await wire.close()
        if self._connections is not None:
            await self._connections.close()
        await asyncio.to_thread(self.continuations.close, _CLOSE_S)
        await asyncio.sleep(0)  # the turn in which the last events are made

    def swap(self, table: RoutingTable) -> None:
        """Put `table` in force for all requests that come from now on.

        Requests that are under way finish on the table they began with.
        """
        snapshot = Snapshot(table, self.meters)
        self._attach(snapshot)
        self.snapshot = snapshot

    def in_force(self) -> Snapshot:
        """Return the snapshot in force; raise NotReady before the first."""
        if self.snapshot is None:
            raise NotReady("there is no routing table yet; try again in a moment")
        return self.snapshot

    def begin_drain(self) -> bool:
        """Say whether one more answer may be read to its end without a client, and count it."""
        if self._draining >= _MAX_DRAINING:
            return False
        self._draining += 1
        return True

    def end_drain(self) -> None:
        """Count one such answer less."""
        self._draining -= 1

    def record(
        self,
        event: Event | Callable[[], Event],
        *,
        weight_bytes: int = 0,
        without_text: Callable[[], Event] | None = None,
    ) -> bool:
        """Hand an event to telemetry; False = dropped.

        `weight_bytes` is what a callable keeps in memory until it has run. Over the limit
        `without_text` runs here instead: a text that nobody has time to redact is not stored.
        """
        if not callable(event):
            return self._writer.put(event)
        if self._bytes_handed_over - self._bytes_done > _MAX_PENDING_BYTES:
            if without_text is not None:
                self.texts_dropped += 1
            return self._writer.put((without_text or event)())

        def make() -> Event:
            try:
                return event()
            finally:
                self._bytes_done += weight_bytes

        if self._writer.put(make):
            self._bytes_handed_over += weight_bytes
            return True
        return False

    def _attach(self, snapshot: Snapshot | None) -> None:
        if snapshot is None or self._connections is None:
            return
        for wire in snapshot.wires.values():
            wire.use(self._connections)
