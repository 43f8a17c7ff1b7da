"""The record of one exchange while it happens: plain slots, filled in as the request goes through.

The event is made from it later, in the telemetry thread (see `record`).
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from llm_canary.gateway.asgi import Headers
from llm_canary.gateway.dialects.dialect import Dialect
from llm_canary.gateway.dialects.request import InferenceRequest
from llm_canary.gateway.feedback_token import FeedbackTokens
from llm_canary.gateway.keys import Caller
from llm_canary.gateway.limits import Hold
from llm_canary.gateway.snapshot import CompiledRoute, CompiledVariant, Snapshot
from llm_canary.gateway.sse import Tap
from llm_canary.ids import uuid7
from llm_canary.routing.assign import Assignment
from llm_canary.routing.table import OnDisconnect, Path, Split
from llm_canary.telemetry.events import Absorbed, Continuation, Terminal

CLIENT_LEFT_STATUS = 499
_RETRIED = (408, 409, 429, CLIENT_LEFT_STATUS)
_QUICK_BYTES = 32 * 1024
_FORMATS = frozenset({"response_format", "text"})  # an answer to be checked against a schema


class Exchange:
    """One client-visible exchange."""

    __slots__ = (
        "absorbed",
        "answer",
        "assignment",
        "at_s",
        "attempts",
        "caller",
        "continuation",
        "dialect",
        "endpoint",
        "error_code",
        "finished",
        "first_content",
        "headers",
        "hold",
        "id",
        "model_sent",
        "no_log",
        "path",
        "request",
        "response_headers",
        "response_id",
        "route",
        "sent_params",
        "snapshot",
        "split",
        "started",
        "status",
        "tap",
        "terminal",
        "upstream",
        "upstream_request_id",
        "variant",
    )

    def __init__(
        self, endpoint: str, dialect: Dialect | None, headers: dict[bytes, bytes], at_s: float
    ) -> None:
        self.endpoint = endpoint
        self.dialect = dialect  # None: relayed without being understood
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
        self.request: InferenceRequest | None = None
        self.route: CompiledRoute | None = None
        self.split: Split | None = None  # as it was when the arm was chosen
        self.variant: CompiledVariant | None = None
        self.assignment: Assignment | None = None
        self.continuation: Continuation | None = None
        self.upstream: str | None = None
        self.path: Path | None = None
        self.sent_params: tuple[str, ...] | None = None
        self.attempts = 0
        self.absorbed: tuple[Absorbed, ...] = ()
        self.response_id: str | None = None
        self.model_sent: str | None = None
        self.no_log = False
        self.hold: Hold | None = None  # None: nothing is limited
        self.status = 0
        self.terminal: Terminal | None = None
        self.error_code: str | None = None
        self.upstream_request_id: str | None = None
        self.first_content: float | None = None
        self.finished: float | None = None
        self.answer: bytes | None = None  # a complete answer that was no stream
        self.tap: Tap | None = None  # a stream

    def sign_feedback_url(self, tokens: FeedbackTokens) -> None:
        """Let whoever gets the answer say something of it without a key."""
        token = tokens.make(self.id, self.at_s).encode()
        self.response_headers[1] = (b"x-canary-feedback-url", b"/v1/feedback?token=" + token)

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
    def jitter(self) -> float:
        """A number in [0, 1) that spreads the pauses between attempts."""
        return int(self.id[-8:], 16) / 2**32

    @property
    def drains(self) -> bool:
        """Whether an answer is read to its end when the client leaves."""
        return self.route is not None and self.route.route.on_disconnect is OnDisconnect.DRAIN

    @property
    def is_retried_by_clients(self) -> bool:
        """Whether OpenAI's clients send such a request again by themselves."""
        return self.status >= 500 or self.status in _RETRIED

    @property
    def is_quick_to_record(self) -> bool:
        """Whether its event, but for redaction, is made in a few microseconds: short, no stream."""
        if self.route is None or self.request is None:
            return True
        return (
            self.tap is None
            and self.route.is_quick_to_record
            and self.weight_bytes < _QUICK_BYTES
            and not _FORMATS & self.request.fields.keys()
        )

    @property
    def weight_bytes(self) -> int:
        """What this record keeps in memory, roughly."""
        size = len(self.request.body) if self.request is not None else 0
        size += len(self.answer) if self.answer is not None else 0
        return size + (self.tap.kept_bytes if self.tap is not None else 0)
