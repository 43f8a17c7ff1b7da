"""The facts that flow from the data plane to SQL: frozen, versioned, JSON on the wire (msgspec).

A missing number is `None`, never zero.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from llm_canary.routing.table import Path

EVENT_FORMAT = 1


class Terminal(StrEnum):
    """The one recorded end of every exchange."""

    COMPLETED = "completed"
    UPSTREAM_ERROR = "upstream_error"
    TRUNCATED = "truncated"
    CLIENT_CANCELLED = "client_cancelled"
    TIMEOUT = "timeout"
    POLICY_BLOCKED = "policy_blocked"
    REJECTED = "rejected"  # refused by the gateway before a variant was chosen; never compared


class UsageSource(StrEnum):
    """Where token counts come from."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    NONE = "none"


class Continuation(StrEnum):
    """Whether the variant that made `previous_response_id` was known."""

    HIT = "hit"
    MISS = "miss"  # the unit's assignment decided


class Absorbed(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attempt that failed and that the client did not see: retried, or answered by control."""

    upstream: str
    model: str | None
    status: int  # as the upstream answered; 0 = it did not answer
    code: str  # "upstream_unreachable", "upstream_500" ...
    latency_ms: float


class InferenceEvent(
    msgspec.Struct, frozen=True, kw_only=True, tag="inference", tag_field="kind", omit_defaults=True
):
    """One client-visible exchange. Times are UTC seconds since the epoch."""

    id: str  # uuid7 hex: primary key, and x-request-id as the client sees it
    at_s: float  # when the request arrived
    endpoint: str  # "chat.completions", "responses", "completions", "embeddings", "messages", ...
    route: str | None = None  # None: the model named no route
    key_name: str | None = None
    rollout_id: str | None = None
    stage: str | None = None
    share: float | None = None  # canary share in force when the request was routed
    assigned: str | None = None  # Role; the arm of every comparison
    served: str | None = None  # Role of the variant that answered
    reason: str | None = None  # routing.table.Reason
    eligible: bool = False  # decided by the hash, and may be compared
    unit_hash: str | None = None  # keyed hash; the clear unit is never stored
    unit_source: str | None = None  # "header:x-canary-user" | ... | "conversation"
    session_hash: str | None = None
    segments: dict[str, str] = {}
    upstream: str | None = None
    requested_model: str | None = None
    model: str | None = None  # sent upstream
    path: Path | None = None  # None: nothing was sent
    sent_params: tuple[str, ...] | None = None  # translated only: what really went upstream
    attempts: int | None = None  # how often the request was sent; None: not known
    absorbed: tuple[Absorbed, ...] = ()
    continuation: Continuation | None = None  # None: there was no previous_response_id
    service_tier: str | None = None  # as the provider answered
    reported_model: str | None = None  # as the provider answered
    response_id: str | None = None  # "chatcmpl-..."
    upstream_request_id: str | None = None
    prompt: str | None = None
    prompt_hash: str | None = None
    config_hash: str = ""
    stream: bool = False
    status: int = 0  # HTTP status that the client saw; 499 when the client left first
    terminal: Terminal = Terminal.COMPLETED
    error_code: str | None = None
    finish_reason: str | None = None
    ttft_ms: float | None = None  # arrival to first content byte; streams only
    latency_ms: float = 0.0  # arrival to last byte
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_source: UsageSource = UsageSource.NONE
    cost_nanousd: int | None = None  # what the provider charges; None = price or tokens unknown
    uncached_cost_nanousd: int | None = (
        None  # all tokens at the uncached price: what gates compare below 50 % share
    )
    schema_expected: bool = False  # the client or the control's params asked for JSON
    output_valid: bool | None = None  # None: not asked for, or no complete answer
    empty: bool | None = None  # the answer has neither text nor tool call
    refusal: bool | None = None
    output_chars: int | None = None
    retry_count: int = 0  # x-stainless-retry-count
    settle_s: float = 0.0  # how long scoring waits for such a retry, counted from the last byte
    body_hash: str | None = None  # joins SDK retries: same unit, same body
    content_store: str = "none"
    content_hash: str | None = None
    request_text: str | None = None  # only as the route's content policy says
    response_text: str | None = None
    format: int = EVENT_FORMAT


class TargetKind(StrEnum):
    """What an outcome is about."""

    REQUEST = "request"  # our x-request-id
    RESPONSE = "response"  # the provider's id, e.g. chatcmpl-...
    SESSION = "session"  # keyed hash of x-canary-session


class OutcomeEvent(
    msgspec.Struct, frozen=True, kw_only=True, tag="outcome", tag_field="kind", omit_defaults=True
):
    """Something learned later about an inference or session; the latest `occurred_at_s` wins."""

    id: str  # uuid7 hex
    target_kind: TargetKind
    target_id: str
    metric: str  # "thumbs", "task_completed", ...
    value: bool | float | str | None  # None = revoked
    at_s: float  # received
    occurred_at_s: float
    comment: str | None = None
    idempotency_key: str | None = None
    key_name: str | None = None
    for_any_key: bool = False  # said by who may read all: also about what other keys have asked
    format: int = EVENT_FORMAT


class KeyUseEvent(msgspec.Struct, frozen=True, kw_only=True, tag="key_use", tag_field="kind"):
    """A stored API key was used; told at most once a minute by each process."""

    id: str  # uuid7 hex
    key_id: str
    at_s: float


Event = InferenceEvent | OutcomeEvent | KeyUseEvent


def may_join(said_by: str | None, asked_by: str | None, *, for_any_key: bool) -> bool:
    """Say whether what one key has said may count for what a key has asked.

    None: there were no keys then.
    """
    return for_any_key or said_by is None or asked_by is None or said_by == asked_by


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """Return the wire form of `event`."""
    return _encoder.encode(event)


def decode(data: bytes) -> Event:
    """Return the event of `data`; raise msgspec.ValidationError when it is none."""
    event: Event = _decoder.decode(data)
    return event
