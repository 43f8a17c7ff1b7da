"""The record of one exchange while it happens: plain slots, filled in as the request goes through.

The event is made from it later, in the telemetry thread (see `record`).
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from llm_canary.gateway.access import Caller
from llm_canary.gateway.asgi import Headers
from llm_canary.gateway.request import ChatRequest
from llm_canary.gateway.snapshot import CompiledRoute, CompiledVariant, Snapshot
from llm_canary.gateway.sse import Tap
from llm_canary.ids import uuid7
from llm_canary.routing.assign import Assignment
from llm_canary.telemetry.events import Terminal

CLIENT_LEFT_STATUS = 499
_QUICK_BYTES = 16 * 1024


class Exchange:
    """One client-visible exchange."""

    __slots__ = (
        "answer",
        "assignment",
        "at_s",
        "caller",
        "error_code",
        "finished",
        "first_content",
        "headers",
        "id",
        "model_sent",
        "no_log",
        "request",
        "response_headers",
        "route",
        "snapshot",
        "started",
        "status",
        "tap",
        "terminal",
        "upstream",
        "upstream_request_id",
        "variant",
    )

    def __init__(self, headers: dict[bytes, bytes], at_s: float) -> None:
        self.started = perf_counter()
        self.at_s = at_s
        self.id = uuid7()
        self.headers = headers
        request_id = self.id.encode()
        self.response_headers: Headers = [
            (b"x-request-id", request_id),
            (b"x-canary-feedback-url", b"/v1/feedback?request_id=" + request_id),
        ]
        self.snapshot: Snapshot | None = None
        self.caller: Caller | None = None
        self.request: ChatRequest | None = None
        self.route: CompiledRoute | None = None
        self.variant: CompiledVariant | None = None
        self.assignment: Assignment | None = None
        self.upstream: str | None = None
        self.model_sent: str | None = None
        self.no_log = False
        self.status = 0
        self.terminal: Terminal | None = None
        self.error_code: str | None = None
        self.upstream_request_id: str | None = None
        self.first_content: float | None = None
        self.finished: float | None = None
        self.answer: bytes | None = None  # a complete answer that was no stream
        self.tap: Tap | None = None  # a stream

    def end(
        self, terminal: Terminal, *, status: int | None = None, code: str | None = None
    ) -> None:
        """Record how the exchange ended. The first end counts: there is exactly one."""
        if self.terminal is not None:
            return
        self.terminal = terminal
        self.error_code = code
        if status is not None:
            self.status = status
        self.finished = perf_counter()

    def first_user_text(self) -> Callable[[], str]:
        """Return a function that reads the first user message once, when first asked."""
        text: str | None = None

        def read() -> str:
            nonlocal text
            if text is None:
                text = self.request.first_user_text() if self.request is not None else ""
            return text

        return read

    @property
    def is_quick_to_record(self) -> bool:
        """Whether its event is made in a few microseconds: no text to look into, no stream."""
        if self.route is None or self.request is None:
            return True
        return (
            self.tap is None
            and self.route.is_quick_to_record
            and self.weight_bytes < _QUICK_BYTES
            and "response_format" not in self.request.fields
        )

    @property
    def weight_bytes(self) -> int:
        """What this record keeps in memory, roughly."""
        size = len(self.request.body) if self.request is not None else 0
        size += len(self.answer) if self.answer is not None else 0
        return size + (self.tap.kept_bytes if self.tap is not None else 0)
