"""Guards a server without keys: only this machine may call it, and no web page from elsewhere.

A page on the internet can make a browser send requests to 127.0.0.1. Its Origin header tells; and
when the page's name was rebound to 127.0.0.1, its Host header does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from llm_canary.errors import Forbidden
from llm_canary.gateway.asgi import Scope, header_map

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_LOCAL_HOST = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_MAX_SHOWN = 100
_WAY_OUT = "make one by `llm-canary keys create`, or add `keys:` to canary.yaml"


def check_host_origin(scope: Scope) -> None:
    """Raise Forbidden unless the connection, its Host and its Origin are this machine's own."""
    check_local(scope, header_map(scope))


def check_local(scope: Scope, headers: Mapping[bytes, bytes]) -> None:
    """Do the same with header fields that are at hand."""
    client = scope.get("client")
    if client is not None and not _is_loopback(client[0]):
        raise Forbidden(
            f"no API key is configured, so only this machine may call; {_WAY_OUT}",
            code="loopback_only",
        )
    if b"x-forwarded-for" in headers or b"forwarded" in headers:
        raise Forbidden(
            f"no API key is configured, so no proxy may call; {_WAY_OUT}",
            code="loopback_only",
        )
    host = headers.get(b"host", b"")
    if _LOCAL_HOST.fullmatch(host) is None:
        raise Forbidden(
            f"Host {_shown(host)} is not this machine; without API keys use localhost or 127.0.0.1",
            code="foreign_host",
        )
    origin = headers.get(b"origin")
    if origin is not None and not _is_local_origin(origin):
        raise Forbidden(
            f"Origin {_shown(origin)} is not this machine; web pages need a gateway with API keys",
            code="foreign_origin",
        )


def _is_loopback(address: str) -> bool:
    return address.startswith(("127.", "::ffff:127.")) or address == "::1"


def _is_local_origin(origin: bytes) -> bool:
    try:
        parts = urlsplit(origin.decode("ascii"))
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.hostname in _LOCAL_NAMES


def _shown(value: bytes) -> str:
    return repr(value.decode("latin-1")[:_MAX_SHOWN])
