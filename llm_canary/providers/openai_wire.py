"""Fast path to OpenAI, Azure OpenAI and Anthropic: bytes go out and come back as they are.

aiohttp's connector (pool, TLS, names) and its response parser do the work; its session is left out,
because building request and response objects costs more than all the rest of an exchange.

No retries here, and no total time limit: an answer may take as long as it keeps coming. The limits
on the first byte and on silence belong to the relay, which also watches the client.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from functools import cached_property
from urllib.parse import quote

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL

from llm_canary.addresses import problem_of_url
from llm_canary.errors import InvalidRequest, UpstreamTimeout, UpstreamUnavailable
from llm_canary.opaque import Opaque
from llm_canary.providers.connections import Connections
from llm_canary.providers.wire import Answer, AnswerCut, HeaderFields, Outbound
from llm_canary.routing.table import Path, Upstream

_JOIN_BYTES = 64 * 1024  # smaller bodies leave in one write with their head
_MAX_HEADS = 256
_JSON = b"application/json"
_ANTHROPIC_VERSION = (b"anthropic-version", b"2023-06-01")
_OUTSIDE_A_HEADER = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_OUTSIDE_A_TARGET = re.compile(r"[^\x21-\x7e]")
# On Azure these belong to the deployment of a model, the others to the whole resource.
_OF_DEPLOYMENT = ("/chat/completions", "/completions", "/embeddings", "/audio/", "/images/")


class _Destination(aiohttp.ClientRequest):
    """What the connector has to know of an upstream; made once instead of once per request."""

    @cached_property
    def connection_key(self) -> ConnectionKey:
        return super().connection_key


class OpenAiWire:
    """One upstream whose requests are relayed as they are."""

    path = Path.PASSTHROUGH

    def __init__(self, upstream: Upstream, api_key: Opaque | None) -> None:
        """Raise ValueError when base_url is no URL of a web server, or no header holds the key."""
        self.upstream = upstream
        if (problem := problem_of_url(upstream.base_url)) is not None:
            raise ValueError(f"it is {problem}")
        self._url = URL(upstream.base_url)
        if api_key is not None and _OUTSIDE_A_TARGET.search(api_key.decode()):
            raise ValueError("the api_key has a space, a line break or a letter beyond ASCII in it")
        self.api_key = api_key
        self._is_anthropic = upstream.kind == "anthropic"
        self._heads: dict[tuple[str, str | None, str, str, bytes], Opaque] = {}
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=upstream.connect_timeout_s, sock_read=None
        )
        self._connector: aiohttp.TCPConnector | None = None
        self._destination: _Destination | None = None

    def use(self, connections: Connections) -> None:
        """Send through `connections` from now on; call it inside the running loop."""
        connector = connections.to(self._url.host or "", self.upstream.network)
        self._destination = _Destination("POST", self._url, loop=connector._loop)  # noqa: SLF001 - the same loop
        self._connector = connector

    async def close(self) -> None:
        """Do nothing: the pool's owner closes it."""

    async def send(self, outbound: Outbound) -> Answer:
        """Return the answer once its headers are here; raise UpstreamUnavailable or its kin."""
        model = outbound.model if self.upstream.azure_api_version is not None else None
        kind = (outbound.path, model, outbound.method, outbound.query, outbound.content_type)
        head = self._heads.get(kind) or self._head(*kind)
        body, headers = outbound.body, outbound.headers
        if self._is_anthropic and all(name != _ANTHROPIC_VERSION[0] for name, _ in headers):
            headers = [*headers, _ANTHROPIC_VERSION]
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
            protocol.set_response_params(read_until_eof=True, auto_decompress=True)
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

    def _head(
        self, path: str, model: str | None, method: str, query: str, content_type: bytes
    ) -> Opaque:
        """Return the part of a request's head that is the same for all of its kind."""
        lines = [
            f"{method} {self._target(path, model, query)} HTTP/1.1",
            f"host: {self._url.host_port_subcomponent}",
            "accept: */*",
            "accept-encoding: identity",
            f"content-type: {_field(content_type).decode('latin-1')}",
            "user-agent: llm-canary",
        ]
        if self.api_key is not None:
            lines.append(self._credentials(self.api_key.decode()))
        head = Opaque("\r\n".join([*lines, "content-length: "]).encode("latin-1"))
        if len(self._heads) < _MAX_HEADS and content_type == _JSON and not query:
            self._heads[path, model, method, query, content_type] = head
        return head

    def _target(self, path: str, model: str | None, query: str) -> str:
        """Return what stands in the request line; raise InvalidRequest where nothing can."""
        queries = [self._url.raw_query_string, query]
        if (version := self.upstream.azure_api_version) is not None:
            if model is not None and path.startswith(_OF_DEPLOYMENT):
                path = f"/deployments/{quote(model, safe='')}{path}"
            path = f"/openai{path}"
            queries.append("" if "api-version=" in query else f"api-version={quote(version)}")
        target = self._url.raw_path.rstrip("/") + path
        whole = "&".join(filter(None, queries))
        target = f"{target}?{whole}" if whole else target
        if _OUTSIDE_A_TARGET.search(target):
            raise InvalidRequest(
                "the path or query has a character that no URL can hold; percent-encode it",
                code="invalid_url",
            )
        return target

    def _credentials(self, api_key: str) -> str:
        if self._is_anthropic:
            return f"x-api-key: {api_key}"
        if self.upstream.azure_api_version is not None:
            return f"api-key: {api_key}"
        return f"authorization: Bearer {api_key}"


def _usable(connection: Connection) -> tuple[ResponseHandler, asyncio.Transport]:
    """Return the two ends of `connection`; raise when the upstream has just closed it."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing():
        raise aiohttp.ServerDisconnectedError
    return protocol, transport


class _HttpAnswer:
    __slots__ = ("_connection", "_headers", "_payload", "sent_params", "status")

    def __init__(
        self,
        status: int,
        headers: tuple[tuple[bytes, bytes], ...],
        payload: aiohttp.StreamReader,
        connection: Connection,
    ) -> None:
        self.status = status
        self.sent_params: tuple[str, ...] | None = None
        self._headers = headers
        self._payload = payload
        self._connection = connection

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        names = {name.lower() for name, _ in self._headers}
        if b"content-encoding" not in names:
            return self._headers
        # The body comes decoded: its length on the wire is no longer true.
        hidden = (b"content-encoding", b"content-length")
        return tuple(field for field in self._headers if field[0].lower() not in hidden)

    async def read_some(self) -> bytes:
        try:
            return await self._payload.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise AnswerCut(_reason(error)) from None

    def at_end(self) -> bool:
        return self._payload.at_eof()

    def abort(self) -> None:
        self._connection.close()


def _whole_head(head: bytes, length: int, headers: HeaderFields) -> bytes:
    fields = b"".join([b"\r\n%b: %b" % (name, _field(value)) for name, value in headers])
    return b"%b%d%b\r\n\r\n" % (head, length, fields)


def _field(value: bytes) -> bytes:
    """Return a header's value; raise InvalidRequest when it would begin another header."""
    if _OUTSIDE_A_HEADER.search(value):
        raise InvalidRequest(
            "a header has a line break or another control character in its value; remove it",
            code="invalid_header",
        )
    return value


def _reason(error: BaseException) -> str:
    """Name the failure without the addresses and certificates that messages of libraries quote."""
    cause = getattr(error, "os_error", None) or error
    return getattr(cause, "strerror", None) or type(cause).__name__
