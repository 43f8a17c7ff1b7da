"""Refuses large bodies in our own words; those of the framework would be plain text."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm_canary.errors import PayloadTooLarge

# The longest text that the API takes has 100,000 characters, of 12 bytes where JSON escapes them.
MAX_BODY_BYTES = 2_097_152


class BodyLimit:
    """Reads the body before the application does, and passes it on when it is small enough."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix  # of the paths that are limited here; pages limit their forms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        is_limited = scope["type"] == "http" and scope["path"].startswith(self._prefix)
        if not is_limited or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        body = bytearray()
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
        pending: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)


def _refusal() -> JSONResponse:
    error = PayloadTooLarge(f"the body is larger than {MAX_BODY_BYTES:,} bytes; send less")
    facts = {"message": error.message, "type": error.type, "param": None, "code": error.code}
    return JSONResponse({"error": facts}, error.status, headers={"connection": "close"})
