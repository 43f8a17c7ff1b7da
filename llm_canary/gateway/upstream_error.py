"""What of an upstream's header fields and errors reaches the client."""

from __future__ import annotations

from typing import Any

import orjson

from llm_canary.gateway.asgi import Headers
from llm_canary.gateway.errors import error_body, error_type

_CONTENT_TYPE = b"content-type"
_REQUEST_ID = b"x-request-id"
# Names that tell clients when to come back. Others stay behind: cookies, and names of the
# operator's organisation at the provider.
_FORWARDED = frozenset(
    {b"retry-after", b"retry-after-ms", b"x-should-retry", b"openai-processing-ms"}
)
_FORWARDED_PREFIX = b"x-ratelimit-"
_MAX_CODE_CHARS = 64
_MAX_TEXT_CHARS = 300


def forwarded_headers(
    fields: tuple[tuple[bytes, bytes], ...],
) -> tuple[bytes, bytes | None, Headers]:
    """Return content type, the upstream's request id, and the fields that the client gets."""
    kind, request_id, forwarded = b"", None, []
    for name, value in fields:
        lower = name.lower()
        if lower == _CONTENT_TYPE:
            kind = value
        elif lower == _REQUEST_ID:
            request_id = value
        elif lower in _FORWARDED or lower.startswith(_FORWARDED_PREFIX):
            forwarded.append((lower, value))
    return kind, request_id, forwarded


def is_credentials_failure(status: int) -> bool:
    """Say whether the upstream refused the gateway's own key, which is not the caller's fault."""
    return status in (401, 403)


def shaped_error(body: bytes, status: int, upstream: str) -> tuple[str, bytes]:
    """Return the code and the body of an upstream's error.

    A body in OpenAI's shape stays byte for byte; anything else is put into that shape.
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
    return code, error_body(message, type_=error_type(status), code=code)


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
    return code[:_MAX_CODE_CHARS] if isinstance(code, str) else f"upstream_{status}"
