"""Refuses large bodies in our own words; those of the framework would be plain text."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm_canary.errors import PayloadTooLarge

MAX_BODY_BYTES = 65_536


class BodyLimit:
    """Reads the body before the application does, and passes it on when it is small enough."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client left
            body += message.get("body", b"")
            if len(body) > MAX_BODY_BYTES:
                await _refusal()(scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)


def _refusal() -> JSONResponse:
    error = PayloadTooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes")
    facts = {"message": error.message, "type": error.type, "param": None, "code": error.code}
    return JSONResponse({"error": facts}, error.status, headers={"connection": "close"})
