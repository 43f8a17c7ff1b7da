"""A server on loopback in a thread of its own, for what tests simulate."""

from __future__ import annotations

import asyncio
import threading
from typing import Self

from aiohttp import web


class LoopbackServer:
    """Use as a context manager; `origin` is where it answers. A subclass adds its routes."""

    cancels_handlers = False  # when the client leaves

    def __init__(self) -> None:
        self.origin = ""
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def base_url(self) -> str:
        """What a canary.yaml needs."""
        return f"{self.origin}/v1"

    def add_routes(self, router: web.UrlDispatcher) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._serve())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _serve(self) -> web.AppRunner:
        app = web.Application(client_max_size=2**26)
        self.add_routes(app.router)
        runner = web.AppRunner(
            app, shutdown_timeout=0.1, handler_cancellation=self.cancels_handlers
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner
