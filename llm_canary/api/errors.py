"""Every failure of the control plane leaves as `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from llm_canary.errors import LlmCanaryError, Unauthorized

_log = logging.getLogger(__name__)

_CODES = {
    401: "invalid_api_key",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
}


def add_error_handlers(app: FastAPI) -> None:
    """Replace the framework's bodies for what we raise, what it raises and what none expected."""
    app.add_exception_handler(LlmCanaryError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _answer(
    status: int,
    message: str,
    *,
    code: str,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    facts = {"message": message, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": facts}, status, headers=dict(headers or {}))


async def _ours(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, LlmCanaryError):
        raise error
    if error.status >= 500:
        _log.warning("%s: %s", type(error).__name__, error.message)
    headers = {"www-authenticate": "Bearer"} if isinstance(error, Unauthorized) else None
    return _answer(error.status, error.message, code=error.code, param=error.param, headers=headers)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    problems = [(_where(each["loc"]), _what(each["msg"], each["input"])) for each in error.errors()]
    message = "; ".join(f"{where}: {what}" if where else what for where, what in problems)
    return _answer(422, message, code="invalid_request", param=problems[0][0] or None)


def _what(message: str, given: object) -> str:
    # Texts are not repeated: any of them may be somebody's prompt, or a key.
    return f"{message}, not {given}" if isinstance(given, int | float) else message


def _where(location: tuple[str | int, ...]) -> str:
    # The first element says body, path or query; at a JSON syntax error the second is a position.
    return ".".join(str(part) for part in location[1:] if isinstance(part, str))


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    path = request.url.path
    status = error.status_code
    messages = {
        404: f"there is nothing at {path}; the paths are listed at /openapi.json",
        405: f"{request.method} is not allowed at {path}",
    }
    return _answer(
        status,
        messages.get(status, str(error.detail)),
        code=_CODES.get(status, "bad_request" if status < 500 else "internal_error"),
        headers=error.headers,
    )


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # The type is enough to find it in the log; the message of a driver may quote rows.
    name = type(error).__name__
    _log.error("%s %s failed: %s", request.method, request.url.path, name)
    return _answer(
        500,
        f"{request.method} {request.url.path} failed ({name}); the server's log says where",
        code="internal_error",
    )
