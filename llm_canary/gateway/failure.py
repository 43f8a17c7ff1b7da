"""How an attempt failed of which the client has not seen anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from llm_canary.gateway.asgi import JSON_TYPE, Headers
from llm_canary.gateway.errors import error_body
from llm_canary.gateway.exchange import Exchange
from llm_canary.telemetry.events import Terminal

_CLIENT_ERRORS = range(400, 500)
_TEMPORARY = (408, 409, 425, 429)


@dataclass(slots=True, frozen=True)
class Failure:
    """How an attempt ended of which the client has not seen anything, and what it would see."""

    terminal: Terminal
    status: int
    code: str
    body: bytes
    latency_s: float
    headers: Headers = field(default_factory=list)
    upstream_status: int = 0  # 0 = no answer

    @property
    def is_outage(self) -> bool:
        """Whether it tells against the upstream as a whole."""
        return self.upstream_status == 0 or self.upstream_status >= 500

    @property
    def may_be_answered_by_another(self) -> bool:
        """Whether another upstream might do better: not when the request itself is refused."""
        return self.status not in _CLIENT_ERRORS or self.status in _TEMPORARY

    @classmethod
    def of_open_breaker(cls, exchange: Exchange, name: str, after_s: float) -> Failure:
        """Return the failure of an attempt that was not even made."""
        seconds = max(1, round(after_s))
        message = (
            f"upstream {name!r} has failed too often in a row and is left alone for {seconds} s; "
            "try again then"
        )
        code = "upstream_circuit_open"
        return cls(
            terminal=Terminal.UPSTREAM_ERROR,
            status=503,
            code=code,
            body=shape_of(exchange)(message, type_="upstream_error", code=code),
            latency_s=0.0,
            headers=[JSON_TYPE, (b"retry-after", b"%d" % seconds)],
        )


def shape_of(exchange: Exchange) -> Callable[..., bytes]:
    """Return what makes an error's body in the form of the exchange's endpoint."""
    return exchange.dialect.error_body if exchange.dialect is not None else error_body
