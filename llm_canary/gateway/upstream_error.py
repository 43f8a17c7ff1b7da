"""What of an upstream's header fields and errors reaches the client."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from llm_canary.gateway.asgi import Headers, hop_by_hop
from llm_canary.gateway.errors import error_type

_CONTENT_TYPE = b"content-type"
_REQUEST_ID = b"x-request-id"
_CONNECTION = b"connection"
# Names that tell clients when to come back. Others stay behind: cookies, and names of the
# operator's organisation at the provider.
_FORWARDED = frozenset(
    {b"retry-after", b"retry-after-ms", b"x-should-retry", b"openai-processing-ms"}
)
_FORWARDED_PREFIX = b"x-ratelimit-"
_BOM = b"\xef\xbb\xbf"
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")  # it is recorded; anything else may quote a prompt
_MAX_TEXT_CHARS = 300


def forwarded_headers(
    fields: tuple[tuple[bytes, bytes], ...],
) -> tuple[bytes, bytes | None, Headers]:
    """Return content type, the upstream's request id, and the fields that the client gets."""
    kind, request_id, forwarded = b"", None, []
    named: frozenset[bytes] = frozenset()
    for name, value in fields:
        lower = name.lower()
        if lower == _CONTENT_TYPE:
            kind = value
        elif lower == _REQUEST_ID:
            request_id = value
        elif lower in _FORWARDED or lower.startswith(_FORWARDED_PREFIX):
            forwarded.append((lower, value))
        elif lower == _CONNECTION and (own := hop_by_hop(value)):
            named |= own
    if named:
        forwarded = [field for field in forwarded if field[0] not in named]
    return kind, request_id, forwarded


def is_credentials_failure(status: int) -> bool:
    """Say whether the upstream refused the gateway's own key, which is not the caller's fault."""
    return status in (401, 403)


def shaped_error(
    body: bytes, status: int, upstream: str, shape: Callable[..., bytes]
) -> tuple[str, bytes]:
    """Return the code and the body of an upstream's error.

    A body in OpenAI's shape stays byte for byte; `shape` puts anything else into it.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if isinstance(value, dict) and isinstance(value.get("error"), dict):
        return _code(value["error"], status), body
    detail = readable_error(value)
    message = f"upstream {upstream!r} answered {status}{': ' + detail if detail else ''}"
    code = f"upstream_{status}"
    return code, shape(message, type_=error_type(status), code=code)


def stream_error(data: bytes, upstream: str, shape: Callable[..., bytes]) -> tuple[int, str, bytes]:
    """Return status, code and body of the error that a stream began with.

    Its code may be an HTTP status; without one it is a bad gateway's.
    """
    payload, value = _first_error(data)
    if isinstance(error := value.get("error"), dict):
        status = _status(error)
        return status, _code(error, status), payload
    return 502, *shaped_error(payload, 502, upstream, shape)


def has_whole_error(data: bytes) -> bool:
    """Say whether the error that a stream began with has arrived to its end."""
    return bool(_first_error(data)[0])


def _first_error(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return the first error event of a stream, as it stands there and read."""
    for line in data.removeprefix(_BOM).splitlines():
        payload = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
        try:
            value = orjson.loads(payload) if payload else None
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict) and _is_error(value):
            return payload, value
    return b"", {}


def _is_error(value: dict[str, Any]) -> bool:
    return value.get("error") is not None or value.get("type") == "error"


def _status(error: dict[str, Any]) -> int:
    for name in ("code", "status", "status_code"):
        status = error.get(name)
        if isinstance(status, str) and status.isdigit():
            status = int(status)
        if isinstance(status, int) and 400 <= status < 600 and not is_credentials_failure(status):
            return status
    return 502


def readable_error(value: object) -> str:
    """Return what an error body of another shape says, "" when it says nothing readable."""
    if not isinstance(value, dict):
        return ""
    for name in ("error", "message", "detail"):
        text: Any = value.get(name)
        if isinstance(text, dict):
            text = text.get("message")
        if text:
            shown = text if isinstance(text, str) else orjson.dumps(text).decode()
            return shown[:_MAX_TEXT_CHARS]
    return ""


def _code(error: dict[str, Any], status: int) -> str:
    code = error.get("code") or error.get("type")
    is_word = isinstance(code, str) and _CODE.fullmatch(code) is not None
    return str(code) if is_word else f"upstream_{status}"
