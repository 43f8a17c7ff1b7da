"""Ends an exchange from outside: the client left, or somebody is silent for too long.

All cancel the task that serves the exchange, and leaving the watch turns the cancellation into an
exception that says why. There is one lazy timer: moving the deadline is an assignment, the timer
looks at it when it fires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from llm_canary.gateway.asgi import ClientLeft, Receive

# Until then a client's leaving goes unnoticed: listening costs a task, and an answer that took no
# longer has already been paid for.
_LISTEN_AFTER_S = 0.02
_LONGEST_DRAIN_S = 300.0
_LONGEST_STALL_S = 120.0  # a client that takes nothing for so long has left without a word


class UpstreamSilent(Exception):  # noqa: N818 - a fact about the upstream, not an error of ours
    """The upstream sent nothing for longer than its limit."""


class Watch:
    """Watches over the exchange that the current task serves; use as a context manager.

    Leaving it raises ClientLeft or UpstreamSilent when that is what happened. Where `goes_on` says
    so when the client leaves, the exchange is not interrupted but drained, for a while.
    """

    __slots__ = (
        "_deadline",
        "_fires_at",
        "_goes_on",
        "_late",
        "_listener",
        "_loop",
        "_reason",
        "_receive",
        "_task",
        "_timer",
        "is_draining",
    )

    def __init__(self, receive: Receive, goes_on: Callable[[], bool] | None = None) -> None:
        self._receive = receive
        self._goes_on = goes_on
        self.is_draining = False  # the client has left, the answer is read to its end
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(self._loop)
        self._deadline: float | None = None
        self._late: type[ClientLeft | UpstreamSilent] = UpstreamSilent
        self._listener: asyncio.Task[None] | None = None
        self._reason: type[ClientLeft | UpstreamSilent] | None = None
        self._fires_at = self._loop.time() + _LISTEN_AFTER_S
        self._timer: asyncio.TimerHandle | None = self._loop.call_at(self._fires_at, self._look)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nothing is kept, as what a cancelled task remembers leads back here: memory would wait for
        # the collector.
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._listener is not None:
            self._listener.cancel()
            self._listener = None
        if self._reason is not None and task is not None and kind is asyncio.CancelledError:
            task.uncancel()
            raise self._reason from None

    def expect_within(self, seconds: float) -> None:
        """Let the upstream be silent for at most `seconds` from now."""
        self._wait(seconds, UpstreamSilent)

    def client_turn(self) -> None:
        """Wait for the client instead, which takes what it is sent as slowly as it likes."""
        self._wait(_LONGEST_STALL_S, ClientLeft)

    def _wait(self, seconds: float, late: type[ClientLeft | UpstreamSilent]) -> None:
        self._late = late
        self._deadline = deadline = self._loop.time() + seconds
        if self._timer is None:
            self._schedule(deadline)
        elif deadline < self._fires_at and self._listener is not None:
            self._timer.cancel()
            self._schedule(deadline)

    def _schedule(self, at: float) -> None:
        self._fires_at = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._listener is None:
            self._listener = self._loop.create_task(self._listen())
        if self._deadline is None:
            return
        if self._loop.time() >= self._deadline:
            self._interrupt(self._late)
        else:
            self._schedule(self._deadline)

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._goes_on is not None and self._goes_on():
            self.is_draining = True
            await asyncio.sleep(_LONGEST_DRAIN_S)
        self._interrupt(ClientLeft)

    def _interrupt(self, reason: type[ClientLeft | UpstreamSilent]) -> None:
        if self._task is not None and self._reason is None:
            self._reason = reason
            self._task.cancel()
