"""What a failure behind LiteLLM's translation was: its exceptions, read without importing it.

LiteLLM wraps what happened several times and changes it on the way: 529 becomes 500, a refused
connection becomes a server error, a malformed request a connection error. The chain of causes still
has the truth.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp
import orjson

from llm_canary.errors import InvalidRequest, UpstreamTimeout, UpstreamUnavailable
from llm_canary.routing.table import Upstream

_UNAUTHORIZED = 401
_FORWARDED = frozenset({"retry-after", "retry-after-ms", "x-should-retry", "x-request-id"})
_REQUEST_IDS = ("request-id", "llm_provider-x-request-id", "x-amzn-requestid")
_MAX_TEXT_CHARS = 300
_QUOTE_CHARS = 12  # so much of a prompt in a row is a quotation
_SHORTEST_SECRET = 4
_TIMEOUTS = frozenset({"ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout"})
_TRANSPORT = frozenset(
    {"ConnectError", "ReadError", "WriteError", "CloseError", "RemoteProtocolError", "ProxyError"}
)


@dataclass(slots=True, frozen=True)
class Failed:
    """An error that the provider answered with."""

    status: int
    message: str
    type: str
    headers: Mapping[str, str] = field(default_factory=dict)


def error_body(failed: Failed) -> bytes:
    """Return the error in OpenAI's shape."""
    code = f"upstream_{failed.status}"
    return orjson.dumps(
        {"error": {"message": failed.message, "type": failed.type, "param": None, "code": code}}
    )


def useful_headers(headers: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    """Return of a provider's header what says who answered and when to come back."""
    found = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower in _FORWARDED or lower.startswith("x-ratelimit-"):
            found[lower] = value
        elif lower in _REQUEST_IDS:
            found.setdefault("x-request-id", value)
    return tuple((name.encode(), str(value).encode("latin-1")) for name, value in found.items())


def failure_of(
    error: Exception, *, upstream: Upstream, has_departed: bool, private: list[object]
) -> Failed:
    """Return the provider's error that `error` is.

    Raises UpstreamTimeout and UpstreamUnavailable where no provider answered, and InvalidRequest
    where litellm refused the request before the provider was asked. `private` is what no
    message may quote: prompts and secrets.
    """
    name, causes = upstream.name, list(_causes(error))
    status = _provider_status(causes)
    if status is None:
        _raise_if_transport(causes, name)
        if not has_departed and _claimed_status(causes) == _UNAUTHORIZED:
            raise UpstreamUnavailable(
                f"upstream {name!r} has no api_key, and LiteLLM finds none for provider "
                f"{upstream.provider!r} in the gateway's environment; the gateway's operator must "
                "set one",
                code="upstream_credentials",
            ) from None
        if not has_departed:
            raise InvalidRequest(
                f"LiteLLM cannot translate this request for provider {upstream.provider!r}; "
                "check its messages and parameters against what the provider knows",
                code="untranslatable_request",
            ) from None
        status = _claimed_status(causes)
    if status is None:
        raise UpstreamUnavailable(
            f"upstream {name!r} answered something that LiteLLM does not understand",
            code="upstream_invalid_answer",
        ) from None
    kind, text = _provider_words(error)
    message = f"upstream {name!r} answered {status}"
    if text and not _quotes(text, private):
        message += f": {text}"
    headers = getattr(error, "litellm_response_headers", None) or {}
    return Failed(status, message, kind or "upstream_error", dict(headers))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "original_exception", None)
        error = inner or error.__cause__ or error.__context__


def _provider_status(causes: list[BaseException]) -> int | None:
    """Return the status of the HTTP answer at the bottom, None when there was none."""
    answered = any(
        type(cause).__name__ == "HTTPStatusError"
        or getattr(cause, "litellm_response_headers", None) is not None
        for cause in causes
    )
    return _claimed_status(causes) if answered else None


def _claimed_status(causes: list[BaseException]) -> int | None:
    """Return the innermost status, None when only litellm's catch-all stands for one."""
    for cause in reversed(causes):
        status = getattr(cause, "status_code", None)
        if isinstance(status, int) and 400 <= status < 600:
            return None if type(cause).__name__ == "APIConnectionError" else status
    return None


def _raise_if_transport(causes: list[BaseException], name: str) -> None:
    kinds = {type(cause).__name__ for cause in causes}
    if "ImageFetchError" in kinds:
        return  # the client's picture cannot be fetched; the provider is not to blame
    if kinds & _TIMEOUTS or any(isinstance(cause, TimeoutError) for cause in causes):
        raise UpstreamTimeout(
            f"upstream {name!r} did not answer in time; try again, or raise its timeouts"
        ) from None
    broken = any(isinstance(cause, aiohttp.ClientError | OSError) for cause in causes)
    if broken or kinds & _TRANSPORT:
        raise UpstreamUnavailable(
            f"upstream {name!r} cannot be reached; check its base_url and that it is running",
            code="upstream_unreachable",
        ) from None


def _provider_words(error: Exception) -> tuple[str, str]:
    """Return type and message of the provider's own error, "" for what it does not say."""
    text = str(getattr(error, "message", ""))
    start = text.find("{")
    try:
        value = json.JSONDecoder().raw_decode(text[start:])[0] if start >= 0 else {}
    except ValueError:
        return "", ""
    inner = value.get("error")
    if isinstance(inner, dict):
        value = inner
    kind, said = value.get("type"), value.get("message")
    return (
        kind[:64] if isinstance(kind, str) else "",
        said[:_MAX_TEXT_CHARS] if isinstance(said, str) else "",
    )


def _quotes(text: str, value: object) -> bool:
    """Say whether `text` has a piece of the texts in `value`."""
    if isinstance(value, str):
        length = min(_QUOTE_CHARS, len(value))
        pieces = (text[at : at + length] for at in range(len(text) - length + 1))
        return length >= _SHORTEST_SECRET and any(piece in value for piece in pieces)
    if isinstance(value, dict):
        return any(_quotes(text, value[key]) for key in value if key not in ("role", "type"))
    return isinstance(value, list) and any(_quotes(text, part) for part in value)
