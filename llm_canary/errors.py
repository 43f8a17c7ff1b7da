"""Everything llm_canary raises on purpose.

::

    LlmCanaryError
    ├── ConfigError            the configuration file or an environment variable is wrong
    ├── RequestError           a client's request cannot be served (carries HTTP status and code)
    │   ├── InvalidRequest     400  malformed or impossible
    │   ├── Unauthorized       401  key missing or wrong
    │   ├── Forbidden          403  key known, act not allowed; foreign Host or Origin
    │   ├── NotFound           404  no such route, rollout, decision
    │   ├── MethodNotAllowed   405
    │   ├── Conflict           409  the state of the thing forbids the act
    │   ├── PayloadTooLarge    413
    │   ├── RateLimited        429  a limit of the key or route; BudgetSpent: its money
    │   ├── UpstreamUnavailable 502 the upstream cannot be reached or answers nonsense
    │   ├── UpstreamTimeout    504
    │   └── NotReady           503  no routing table or database yet
    ├── StorageError           the database is unreachable, or at another schema version
    └── DataError              a number that must not enter the statistics

Each error names the fact, the value and the way out, carries a stable `code`, and never a secret
or a prompt.
"""

from __future__ import annotations


class LlmCanaryError(Exception):
    """Base of all errors that this package raises on purpose."""

    status: int = 500
    code: str = "internal_error"
    type: str = "server_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class ConfigError(LlmCanaryError):
    """The configuration cannot be used; `problems` holds every one of them."""

    code = "config_error"

    def __init__(self, message: str, *, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems or (message,)


class RequestError(LlmCanaryError):
    """A client's request cannot be served."""

    status = 400
    code = "bad_request"
    type = "invalid_request_error"


class InvalidRequest(RequestError):
    """The request is malformed or asks for something impossible."""


class Unauthorized(RequestError):
    """The API key is missing or wrong."""

    status = 401
    code = "invalid_api_key"


class Forbidden(RequestError):
    """The key is known but may not do this, or the Host or Origin is foreign."""

    status = 403
    code = "forbidden"


class NotFound(RequestError):
    """There is no such thing."""

    status = 404
    code = "not_found"


class MethodNotAllowed(RequestError):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"


class Conflict(RequestError):
    """The present state forbids the act."""

    status = 409
    code = "conflict"


class PayloadTooLarge(RequestError):
    """The body is larger than the limit."""

    status = 413
    code = "payload_too_large"


class RateLimited(RequestError):
    """A key or a route has no more to use now."""

    status = 429
    code = "rate_limit_exceeded"
    type = "rate_limit_error"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.headers: list[tuple[bytes, bytes]] = []


class BudgetSpent(RateLimited):
    """A key or a route has spent its money of the day."""

    code = "insufficient_quota"
    type = "insufficient_quota"


class UpstreamUnavailable(RequestError):
    """The upstream cannot be reached or answers something that is no answer."""

    status = 502
    code = "upstream_unavailable"
    type = "upstream_error"


class UpstreamTimeout(UpstreamUnavailable):
    """The upstream did not answer in time."""

    status = 504
    code = "upstream_timeout"


class NotReady(RequestError):
    """The service has no routing table or database yet."""

    status = 503
    code = "not_ready"
    type = "server_error"


class StorageError(LlmCanaryError):
    """The database is unreachable, or its schema is not the one this version needs."""

    status = 503
    code = "storage_error"


class DataError(LlmCanaryError):
    """A number must not enter the statistics: NaN, infinite, out of range, of another kind."""

    status = 422
    code = "data_error"
