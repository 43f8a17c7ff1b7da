"""Many awaits at once, but never more than a few."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def each_bounded(
    work: Callable[[T], Awaitable[U]], inputs: Iterable[T], limit: int
) -> AsyncIterator[U]:
    """Yield what `work` makes of each input as soon as it is there; `inputs` is read lazily."""
    waiting: set[asyncio.Future[U]] = set()
    try:
        for value in inputs:
            waiting.add(asyncio.ensure_future(work(value)))
            if len(waiting) >= limit:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        for future in waiting:
            future.cancel()
