"""The one ASGI application: data-plane paths go to the gateway, the rest to the control plane."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from llm_canary.errors import RequestError
from llm_canary.gateway.app import GatewayApp
from llm_canary.gateway.errors import send_error
from llm_canary.gateway.guard import check_host_origin

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)
_HEALTH = ("/healthz", "/readyz")


class Part(Protocol):
    """Something with a life as long as the server's."""

    async def start(self) -> None:
        """Begin; raising refuses the start of the server."""
        ...

    async def close(self) -> None:
        """End, and keep what was accepted."""
        ...


class App:
    """Dispatches by path; starts its parts in order and stops them in reverse."""

    def __init__(
        self,
        gateway: GatewayApp | None,
        control: AsgiApp | None,
        parts: list[Part],
        *,
        keyless: Callable[[], bool],
    ) -> None:
        self._gateway = gateway
        self._control = control
        self._parts = parts
        self._keyless = keyless

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        path = scope["path"]
        if self._gateway is not None and (path.startswith("/v1/") or path in _HEALTH):
            await self._gateway(scope, receive, send)
            return
        if self._control is None:
            await send_error(
                send, 404, f"there is nothing at {path} in this process", code="not_found"
            )
            return
        if self._keyless():
            try:
                check_host_origin(scope)
            except RequestError as refused:
                await send_error(send, refused.status, refused.message, code=refused.code)
                return
        await self._control(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        started: list[Part] = []
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    for part in self._parts:
                        await part.start()
                        started.append(part)
                except Exception as error:  # noqa: BLE001 - the edge: uvicorn prints the message and exits
                    _log.debug("start failed", exc_info=True)
                    await self._close(started)
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._close(started)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _close(self, parts: list[Part]) -> None:
        for part in reversed(parts):
            try:
                await part.close()
            except Exception:  # noqa: BLE001 - one part that cannot stop must not keep the others from flushing
                _log.warning("a part did not stop cleanly", exc_info=True)
