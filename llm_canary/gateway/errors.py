"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import logging
from collections.abc import Callable

import orjson

from llm_canary.errors import LlmCanaryError
from llm_canary.gateway.asgi import OWN_ANSWER, Headers, Send, send_bytes

_log = logging.getLogger(__name__)
INTERNAL_ERROR = "the gateway made a mistake; its log has the kind and the place"


def log_internal_error(place: str, error: Exception) -> None:
    """Log a mistake of ours. Only its type: messages may quote what a client wrote."""
    _log.error("internal error at %s: %s", place[:80], type(error).__name__)
    _log.debug("internal error at %s", place[:80], exc_info=error)


def error_body(message: str, *, type_: str, code: str | None, param: str | None = None) -> bytes:
    """Return the body of an error."""
    return orjson.dumps(
        {"error": {"message": message, "type": type_, "param": param, "code": code}}
    )


def error_frame(message: str, *, type_: str, code: str) -> bytes:
    """Return the server-sent event that makes an OpenAI client raise inside a running stream."""
    return b"data: " + error_body(message, type_=type_, code=code) + b"\n\n"


def error_type(status: int) -> str:
    """Return the error type that OpenAI's API uses for `status`."""
    if status == 429:
        return "rate_limit_error"
    if status == 401:
        return "authentication_error"
    if status == 403:
        return "permission_error"
    return "invalid_request_error" if status < 500 else "server_error"


async def send_error(
    send: Send,
    status: int,
    message: str,
    *,
    code: str,
    param: str | None = None,
    headers: Headers | None = None,
) -> None:
    """Send an error of our own."""
    body = error_body(message, type_=error_type(status), code=code, param=param)
    await send_bytes(send, status, body, [*OWN_ANSWER, *(headers or ())])


async def send_refusal(
    send: Send,
    error: LlmCanaryError,
    headers: Headers | None = None,
    shape: Callable[..., bytes] = error_body,
) -> None:
    """Send the answer that `error` stands for; `shape` makes its body."""
    body = shape(error.message, type_=error.type, code=error.code, param=error.param)
    await send_bytes(send, error.status, body, [*OWN_ANSWER, *(headers or ())])
