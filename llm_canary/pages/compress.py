"""Compresses pages and static files with gzip; nothing of the API or the data plane.

A compressed page tells by its length whether a guess that it repeats is also somewhere else in it
(BREACH), and every page carries a CSRF token and texts of users. The attack needs the browser to
send many guesses from a page of another site. Browsers say in `Sec-Fetch-Site` where a request
comes from, so a page is compressed only for a visitor who came from one of ours or typed the
address; static files hold no secret and always are.
"""

from __future__ import annotations

import gzip

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SMALLEST_BYTES = 1_000  # below, it saves no packet
_LEVEL = 6
_STATIC = "/static/"
_TEXTS = ("text/html", "text/css", "text/javascript", "image/svg+xml")
_OWN_SITES = ("same-origin", "none")  # `none`: typed, or a bookmark


class Compression:
    """Compresses what may be; a static file once, and from then on out of memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._static: dict[str, bytes] = {}  # by ETag: what lies in web/static is little

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http" or not _may(Headers(scope=scope), scope):
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, self._static)
        await self._app(scope, receive, answer.take)


class _Answer:
    """One answer on its way: held back until it is whole where it is to be compressed."""

    def __init__(self, send: Send, known: dict[str, bytes]) -> None:
        self._send = send
        self._known = known
        self._start: Message | None = None
        self._body = bytearray()

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if headers.get("content-type", "").startswith(_TEXTS):
                headers.add_vary_header("accept-encoding")
                if message["status"] == 200 and "content-encoding" not in headers:
                    self._start = message
                    return
        elif self._start is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if message.get("more_body", False):
                return
            await self._finish(self._start)
            return
        await self._send(message)

    async def _finish(self, start: Message) -> None:
        body = bytes(self._body)
        if len(body) >= SMALLEST_BYTES:
            headers = MutableHeaders(scope=start)
            tag = headers.get("etag", "")
            body = await self._compressed(body, tag, headers["content-type"])
            headers["content-encoding"] = "gzip"
            headers["content-length"] = str(len(body))
            if tag and not tag.startswith("W/"):
                headers["etag"] = f"W/{tag}"  # other bytes under a strong tag would be a lie
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    async def _compressed(self, body: bytes, tag: str, kind: str) -> bytes:
        is_page = kind.startswith("text/html")
        if not is_page and tag in self._known:
            return self._known[tag]
        # In a thread: zlib lets go of the interpreter, and requests of the gateway go on.
        made = await run_in_threadpool(gzip.compress, body, _LEVEL, mtime=0)
        if not is_page and tag:
            self._known[tag] = made
        return made


def _may(headers: Headers, scope: Scope) -> bool:
    if scope["method"] != "GET" or "gzip" not in headers.get("accept-encoding", ""):
        return False
    if "range" in headers:
        return False
    is_own = headers.get("sec-fetch-site") in _OWN_SITES
    return is_own or str(scope["path"]).startswith(_STATIC)
