"""Fast path to OpenAI-compatible upstreams: bytes go out and come back, nothing is re-serialised.

No retries here, and no total time limit: an answer may take as long as it keeps coming. The limits
on the first byte and on silence belong to the relay, which also watches the client.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Mapping
from typing import Protocol

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from llm_canary.errors import UpstreamTimeout, UpstreamUnavailable
from llm_canary.routing.table import Upstream

MAX_ANSWER_BYTES = 64 * 1024 * 1024
# aiohttp writes larger bodies piecewise only when it can read them like a file.
_LARGE_BODY_BYTES = 1024 * 1024
_KEEP_ALIVE_S = 30.0


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

    async def send(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return the answer once its headers are here; raise UpstreamUnavailable or its kin."""
        ...


def make_session() -> aiohttp.ClientSession:
    """Return the session that all upstreams share; call it inside the running loop."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, ttl_dns_cache=60, keepalive_timeout=_KEEP_ALIVE_S, happy_eyeballs_delay=0.1
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


class OpenAiWire:
    """One OpenAI-compatible upstream."""

    def __init__(self, upstream: Upstream, api_key: str | None) -> None:
        self.upstream = upstream
        self._base_url = upstream.base_url.rstrip("/")
        self._urls: dict[str, URL] = {}
        self._headers: CIMultiDict[str] = CIMultiDict(
            {
                "accept": "*/*",
                "content-type": "application/json",
                "accept-encoding": "identity",
                "user-agent": "llm-canary",
            }
        )
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=upstream.connect_timeout_s, sock_read=None
        )
        self._session: aiohttp.ClientSession | None = None

    def use(self, session: aiohttp.ClientSession) -> None:
        """Send through `session` from now on."""
        self._session = session

    async def send(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return the answer once its headers are here; raise UpstreamUnavailable or its kin."""
        session = self._session
        if session is None or session.closed:
            raise UpstreamUnavailable(f"upstream {self.upstream.name!r} is closed: shutting down")
        try:
            response = await session.post(
                self._urls.get(path) or self._url(path),
                data=body if len(body) < _LARGE_BODY_BYTES else io.BytesIO(body),
                headers=self._merged(headers) if headers else self._headers,
                timeout=self._timeout,
                allow_redirects=False,
            )
        except aiohttp.ConnectionTimeoutError:
            limit_s = self.upstream.connect_timeout_s
            raise UpstreamTimeout(
                f"upstream {self.upstream.name!r} accepted no connection within {limit_s:g} s; "
                "check its base_url and the network",
                code="upstream_connect_timeout",
            ) from None
        except (aiohttp.ClientError, OSError, ssl.CertificateError) as error:
            raise UpstreamUnavailable(
                f"upstream {self.upstream.name!r} cannot be reached: {_reason(error)}; "
                "check its base_url and that it is running",
                code="upstream_unreachable",
            ) from None
        return _HttpAnswer(response)

    def _url(self, path: str) -> URL:
        url = self._urls[path] = URL(self._base_url + path)
        return url

    def _merged(self, headers: Mapping[str, str]) -> CIMultiDict[str]:
        merged = self._headers.copy()
        merged.update(headers)
        return merged


class _HttpAnswer:
    __slots__ = ("_content", "_response", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content
        self.status = response.status

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return self._response.raw_headers

    async def read_some(self) -> bytes:
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise AnswerCut(_reason(error)) from None

    def at_end(self) -> bool:
        return self._content.at_eof()

    def abort(self) -> None:
        self._response.close()


def _reason(error: BaseException) -> str:
    """Name the failure without the addresses and certificates that messages of libraries quote."""
    cause = getattr(error, "os_error", None) or error
    return getattr(cause, "strerror", None) or type(cause).__name__
