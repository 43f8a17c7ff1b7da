"""What happened: inferences, the outcomes learned later, and what is still to be scored."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, String, text
from sqlmodel import Field, SQLModel

from llm_canary.storage.dialect import Json, UtcDateTime

MAX_TIER_CHARS = 64
HAS_TEXT = "request_text IS NOT NULL OR response_text IS NOT NULL"
HAS_COMMENT = "comment IS NOT NULL"


class Inference(SQLModel, table=True):
    """One client-visible exchange: the fields of `telemetry.events.InferenceEvent`.

    Indexes: rollout and time for charts, samples and analysis; time for what is recent; response id
    for feedback that knows only `chatcmpl-...`; retries for joining a failure with what replaced it
    (partial, so that it costs nothing on the common row); texts by age for those that keep them.

    `attempts` and `absorbed` are NULL where the gateway did not know of them yet.
    """

    __tablename__ = "inference"
    __table_args__ = (
        Index(None, "rollout_id", "at"),
        Index(None, "at"),
        Index(
            None,
            "response_id",
            sqlite_where=text("response_id IS NOT NULL"),
            postgresql_where=text("response_id IS NOT NULL"),
        ),
        Index(
            "ix_inference_retry",
            "unit_hash",
            "body_hash",
            "at",
            sqlite_where=text("retry_count > 0"),
            postgresql_where=text("retry_count > 0"),
        ),
        Index(
            "ix_inference_text",
            "route",
            "at",
            sqlite_where=text(HAS_TEXT),
            postgresql_where=text(HAS_TEXT),
        ),
    )

    id: str = Field(primary_key=True)  # uuid7: rows arrive in the order of the index
    at: datetime = Field(sa_type=UtcDateTime)
    endpoint: str
    route: str | None = None
    key_name: str | None = None
    rollout_id: str | None = None
    stage: str | None = None
    share: float | None = None
    assigned: str | None = None
    served: str | None = None
    reason: str | None = None
    eligible: bool
    unit_hash: str | None = None
    unit_source: str | None = None
    session_hash: str | None = None
    segments: dict[str, Any] = Field(sa_type=Json)
    upstream: str | None = None
    requested_model: str | None = None
    model: str | None = None
    path: str | None = None
    sent_params: list[str] | None = Field(default=None, sa_type=Json)
    attempts: int | None = None
    absorbed: list[dict[str, Any]] | None = Field(default=None, sa_type=Json)
    continuation: str | None = None
    service_tier: str | None = Field(default=None, sa_type=String(MAX_TIER_CHARS))
    reported_model: str | None = None
    response_id: str | None = None
    upstream_request_id: str | None = None
    prompt: str | None = None
    prompt_hash: str | None = None
    config_hash: str
    stream: bool
    status: int
    terminal: str
    error_code: str | None = None
    finish_reason: str | None = None
    ttft_ms: float | None = None
    latency_ms: float
    prompt_tokens: int | None = Field(default=None, sa_type=BigInteger)
    completion_tokens: int | None = Field(default=None, sa_type=BigInteger)
    cached_tokens: int | None = Field(default=None, sa_type=BigInteger)
    cache_write_tokens: int | None = Field(default=None, sa_type=BigInteger)
    reasoning_tokens: int | None = Field(default=None, sa_type=BigInteger)
    usage_source: str
    cost_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    uncached_cost_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    schema_expected: bool
    output_valid: bool | None = None
    empty: bool | None = None
    refusal: bool | None = None
    output_chars: int | None = Field(default=None, sa_type=BigInteger)
    retry_count: int
    settle_s: float
    body_hash: str | None = None
    content_store: str
    content_hash: str | None = None
    format: int
    # Last, because SQLite reads a row from its start and long texts lie on overflow pages. Columns
    # of later migrations do lie behind them: only a look-up of the whole row reads those.
    request_text: str | None = None
    response_text: str | None = None


class Outcome(SQLModel, table=True):
    """Something learned later about an inference or session; the greatest (occurred_at, id) wins.

    The unique indexes make an idempotency key count once for each API key, and once for callers
    without one (NULLs are distinct in a plain unique index).
    """

    __tablename__ = "outcome"
    __table_args__ = (
        Index(None, "target_kind", "target_id", "metric"),
        Index(
            "ix_outcome_comment",
            "at",
            sqlite_where=text(HAS_COMMENT),
            postgresql_where=text(HAS_COMMENT),
        ),
        Index(
            "uq_outcome_key_name_idempotency_key",
            "key_name",
            "idempotency_key",
            unique=True,
            sqlite_where=text("idempotency_key IS NOT NULL AND key_name IS NOT NULL"),
            postgresql_where=text("idempotency_key IS NOT NULL AND key_name IS NOT NULL"),
        ),
        Index(
            "uq_outcome_idempotency_key",
            "idempotency_key",
            unique=True,
            sqlite_where=text("idempotency_key IS NOT NULL AND key_name IS NULL"),
            postgresql_where=text("idempotency_key IS NOT NULL AND key_name IS NULL"),
        ),
    )

    id: str = Field(primary_key=True)
    target_kind: str
    target_id: str
    metric: str
    value_num: float | None = None  # numbers; booleans as 1 and 0
    value_text: str | None = None  # labels
    revoked: bool
    at: datetime = Field(sa_type=UtcDateTime)  # received
    occurred_at: datetime = Field(sa_type=UtcDateTime)
    comment: str | None = None
    idempotency_key: str | None = None
    key_name: str | None = None
    for_any_key: bool | None = None  # NULL, from before there were such: no
    format: int


class ScoreTask(SQLModel, table=True):
    """An inference that still has to enter a metric's statistics; deleted when it has."""

    __tablename__ = "score_task"
    __table_args__ = (Index(None, "due_at"), {"sqlite_with_rowid": False})

    inference_id: str = Field(primary_key=True)
    what: str = Field(primary_key=True)  # "immediate", or the metric whose outcome window closes
    rollout_id: str
    due_at: datetime = Field(sa_type=UtcDateTime)
    rates: dict[str, Any] | None = Field(default=None, sa_type=Json)  # by rubric, when it came
