"""Fast path to OpenAI-compatible upstreams: bytes go out and come back, nothing is re-serialised.

aiohttp's connector (pool, TLS, names) and its response parser do the work; its session is left out,
because building request and response objects costs more than all the rest of an exchange.

No retries here, and no total time limit: an answer may take as long as it keeps coming. The limits
on the first byte and on silence belong to the relay, which also watches the client.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL

from llm_canary.errors import UpstreamTimeout, UpstreamUnavailable
from llm_canary.routing.table import Upstream

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_KEEP_ALIVE_S = 30.0
_JOIN_BYTES = 64 * 1024  # smaller bodies leave in one write with their head

HeaderFields = Sequence[tuple[bytes, bytes]]


class AnswerCut(Exception):  # noqa: N818 - a fact about the answer, not an error of ours
    """The upstream's answer broke off before its framing said it was over."""


class Answer(Protocol):
    """An upstream's answer, whose body is still to be read."""

    status: int

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return the header fields as they came."""
        ...

    async def read_some(self) -> bytes:
        """Return what has arrived, waiting for something; b"" at the end; raise AnswerCut."""
        ...

    def at_end(self) -> bool:
        """Whether the whole answer was read."""
        ...

    def abort(self) -> None:
        """Close the connection, so that the upstream stops working."""
        ...


class Wire(Protocol):
    """How requests reach one upstream."""

    async def send(self, path: str, body: bytes, headers: HeaderFields) -> Answer:
        """Return the answer once its headers are here; raise UpstreamUnavailable or its kin."""
        ...


def make_connector() -> aiohttp.TCPConnector:
    """Return the pool that all upstreams share; call it inside the running loop."""
    return aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, keepalive_timeout=_KEEP_ALIVE_S)


class _Destination(aiohttp.ClientRequest):
    """What the connector has to know of an upstream; made once instead of once per request."""

    @cached_property
    def connection_key(self) -> ConnectionKey:
        return super().connection_key


class OpenAiWire:
    """One OpenAI-compatible upstream."""

    def __init__(self, upstream: Upstream, api_key: str | None) -> None:
        """Raise ValueError when the upstream's base_url is no URL of a web server."""
        self.upstream = upstream
        self._url = URL(upstream.base_url)
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ValueError("expected http://host/path or https://host/path")
        self._api_key = api_key
        self._heads: dict[str, bytes] = {}
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=upstream.connect_timeout_s, sock_read=None
        )
        self._connector: aiohttp.TCPConnector | None = None
        self._destination: _Destination | None = None

    def use(self, connector: aiohttp.TCPConnector) -> None:
        """Send through `connector` from now on; call it inside the running loop."""
        self._destination = _Destination("POST", self._url, loop=connector._loop)  # noqa: SLF001 - the same loop
        self._connector = connector

    async def send(self, path: str, body: bytes, headers: HeaderFields) -> Answer:
        """Return the answer once its headers are here; raise UpstreamUnavailable or its kin."""
        head = self._heads.get(path) or self._head(path)
        try:
            return await self._exchange(_whole_head(head, len(body), headers), body)
        except TimeoutError:
            limit_s = self.upstream.connect_timeout_s
            raise UpstreamTimeout(
                f"upstream {self.upstream.name!r} accepted no connection within {limit_s:g} s; "
                "check its base_url and the network",
                code="upstream_connect_timeout",
            ) from None
        except HttpProcessingError:
            raise UpstreamUnavailable(
                f"upstream {self.upstream.name!r} does not answer in HTTP; check its base_url",
                code="upstream_invalid_answer",
            ) from None
        except (aiohttp.ClientError, OSError, ssl.CertificateError) as error:
            raise UpstreamUnavailable(
                f"upstream {self.upstream.name!r} cannot be reached: {_reason(error)}; "
                "check its base_url and that it is running",
                code="upstream_unreachable",
            ) from None

    async def _exchange(self, head: bytes, body: bytes) -> Answer:
        if self._connector is None or self._destination is None or self._connector.closed:
            raise aiohttp.ClientConnectionError("the gateway is shutting down")
        connection = await self._connector.connect(self._destination, [], self._timeout)
        try:
            protocol, transport = _usable(connection)
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            if len(body) < _JOIN_BYTES:
                transport.write(head + body)
            else:
                transport.write(head)
                transport.write(body)
            message, payload = await protocol.read()
            while 100 <= message.code < 200:
                message, payload = await protocol.read()
        except BaseException:
            connection.close()
            raise
        payload.on_eof(connection.release)
        return _HttpAnswer(message.code, message.raw_headers, payload, connection)

    def _head(self, path: str) -> bytes:
        """Return the part of a request's head that is always the same."""
        url = self._url
        target = url.raw_path.rstrip("/") + path
        if url.raw_query_string:
            target += f"?{url.raw_query_string}"
        lines = [
            f"POST {target} HTTP/1.1",
            f"host: {url.host_port_subcomponent}",
            "accept: */*",
            "accept-encoding: identity",
            "content-type: application/json",
            "user-agent: llm-canary",
        ]
        if self._api_key is not None:
            lines.append(f"authorization: Bearer {self._api_key}")
        head = self._heads[path] = "\r\n".join([*lines, "content-length: "]).encode("ascii")
        return head


def _usable(connection: Connection) -> tuple[ResponseHandler, asyncio.Transport]:
    """Return the two ends of `connection`; raise when the upstream has just closed it."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing():
        raise aiohttp.ServerDisconnectedError
    return protocol, transport


class _HttpAnswer:
    __slots__ = ("_connection", "_headers", "_payload", "status")

    def __init__(
        self,
        status: int,
        headers: tuple[tuple[bytes, bytes], ...],
        payload: aiohttp.StreamReader,
        connection: Connection,
    ) -> None:
        self.status = status
        self._headers = headers
        self._payload = payload
        self._connection = connection

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return self._headers

    async def read_some(self) -> bytes:
        try:
            return await self._payload.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise AnswerCut(_reason(error)) from None

    def at_end(self) -> bool:
        return self._payload.at_eof()

    def abort(self) -> None:
        self._connection.close()


def _whole_head(head: bytes, length: int, headers: HeaderFields) -> bytes:
    fields = b"".join([b"\r\n%b: %b" % field for field in headers]) if headers else b""
    return b"%b%d%b\r\n\r\n" % (head, length, fields)


def _reason(error: BaseException) -> str:
    """Name the failure without the addresses and certificates that messages of libraries quote."""
    cause = getattr(error, "os_error", None) or error
    return getattr(cause, "strerror", None) or type(cause).__name__
