"""Drives a server with many users at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp

Answer = tuple[int, str, dict[str, Any]]  # status, x-request-id, body


async def drive(
    url: str,
    bodies: list[tuple[str, dict[str, Any]]],
    *,
    concurrency: int = 16,
    on_answer: Callable[[Answer], None] | None = None,
) -> list[Answer]:
    """POST each (user, body) once; return the answers in the order of the requests; a broken connection has status 0."""
    answers: list[Answer] = [(0, "", {})] * len(bodies)
    work = iter(enumerate(bodies))

    async def worker(session: aiohttp.ClientSession) -> None:
        for index, (user, body) in work:
            try:
                async with session.post(
                    f"{url}/v1/chat/completions", json=body, headers={"x-canary-user": user}
                ) as response:
                    answers[index] = (
                        response.status,
                        response.headers.get("x-request-id", ""),
                        await response.json(),
                    )
            except aiohttp.ClientError:
                continue
            if on_answer is not None:
                on_answer(answers[index])

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session,
        asyncio.TaskGroup() as tasks,
    ):
        for _ in range(concurrency):
            tasks.create_task(worker(session))
    return answers


def chat(model: str, text: str = "Where is my parcel?", **extra: Any) -> dict[str, Any]:
    """Return a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **extra}
