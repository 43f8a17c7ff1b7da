"""What the data plane needs of ASGI: types, reading a bounded body, sending a JSON answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import orjson

from llm_canary.errors import InvalidRequest, PayloadTooLarge, RequestError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")
# Of every answer that is the gateway's own: no browser shows it as a page, and nobody keeps it.
OWN_ANSWER = (
    JSON_TYPE,
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_BODY_TIMEOUT_S = 60.0
_ONLY_OPTIONS = (b"keep-alive", b"close", b"Keep-Alive", b"Close", b"")


class ClientLeft(Exception):  # noqa: N818 - a fact, not an error of ours
    """The client went away before its request was complete."""


class BodyTimeout(RequestError):  # noqa: N818 - named like its siblings in errors.py
    """The client did not send its body in time."""

    status = 408
    code = "request_timeout"


def header_map(scope: Scope) -> dict[bytes, bytes]:
    """Return the header fields by lower-case name; of repeated fields the last."""
    return dict(scope["headers"])


def hop_by_hop(connection: bytes) -> frozenset[bytes]:
    """Return the field names in a Connection header: those fields are for the next hop alone."""
    if connection in _ONLY_OPTIONS:  # quickly, as nearly all clients send one of these
        return frozenset()
    return frozenset(name.strip().lower() for name in connection.split(b","))


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """Return the request's body.

    Raises PayloadTooLarge over `limit` bytes, BodyTimeout, and ClientLeft.
    """
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    message = await _part(receive)
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                body = await _read_rest(receive, body, limit)
        except TimeoutError:
            raise BodyTimeout(
                f"the request body was not complete after {_BODY_TIMEOUT_S:g} s; send it again"
            ) from None
    if len(body) > limit:
        raise _too_large(len(body), limit)
    return body


async def _read_rest(receive: Receive, first: bytes, limit: int) -> bytes:
    parts, size = [first], len(first)
    while True:
        message = await _part(receive)
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > limit:
            raise _too_large(size, limit)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _part(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    return message


def _too_large(size: int, limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the request body has {size} bytes or more, the limit is {limit}; "
        "send less, or raise limits.max_body_bytes"
    )


def parse_json(body: bytes) -> Any:  # noqa: ANN401 - JSON can be anything
    """Return the JSON value of `body`; raise InvalidRequest saying where it stops being JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"the request body is not JSON: {error.msg} at byte {error.pos}", code="invalid_json"
        ) from None


async def send_bytes(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send one complete answer."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_json(
    send: Send, status: int, value: object, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send `value` as JSON."""
    await send_bytes(send, status, orjson.dumps(value), [*OWN_ANSWER, *headers])
