"""Ends what LiteLLM leaves open."""

from __future__ import annotations

import asyncio
import gc

from aiohttp import ClientSession


async def close_clients() -> None:
    """Close what litellm leaves open when a loop ends: its clients and the worker of its logging."""
    here = asyncio.get_running_loop()
    for session in [it for it in gc.get_objects() if isinstance(it, ClientSession)]:
        if session._loop is here:  # others are of tests that go on, and of no loop but theirs
            await session.close()
    for task in asyncio.all_tasks():
        if "LoggingWorker" in str(task.get_coro()):
            task.cancel()
    await asyncio.sleep(0)
