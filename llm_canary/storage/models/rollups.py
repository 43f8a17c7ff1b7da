"""What charts read instead of scanning inferences: sums and histograms by time."""

from sqlalchemy import BigInteger, Index, LargeBinary, text
from sqlmodel import Field, SQLModel


class RollupBin(SQLModel, table=True):
    """What happened in one arm within one bin of time; `arm` "" is traffic outside comparisons.

    The columns after the key are those of `llm_canary.storage.rollups`; "known" ones count the
    exchanges of which the fact is known.
    """

    __tablename__ = "rollup"
    __table_args__ = (Index(None, "step_s", "starts_s"), {"sqlite_with_rowid": False})

    rollout_id: str = Field(primary_key=True)
    step_s: int = Field(primary_key=True)
    starts_s: int = Field(primary_key=True, sa_type=BigInteger)
    arm: str = Field(primary_key=True)
    route: str = Field(primary_key=True)
    requests: int = Field(sa_type=BigInteger)
    completed: int = Field(sa_type=BigInteger)
    upstream_error: int = Field(sa_type=BigInteger)
    truncated: int = Field(sa_type=BigInteger)
    timeout: int = Field(sa_type=BigInteger)
    client_cancelled: int = Field(sa_type=BigInteger)
    policy_blocked: int = Field(sa_type=BigInteger)
    rejected: int = Field(sa_type=BigInteger)
    refusals: int = Field(sa_type=BigInteger)
    refusals_known: int = Field(sa_type=BigInteger)
    empty: int = Field(sa_type=BigInteger)
    empty_known: int = Field(sa_type=BigInteger)
    invalid: int = Field(sa_type=BigInteger)
    invalid_known: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    prompt_tokens_known: int = Field(sa_type=BigInteger)
    completion_tokens: int = Field(sa_type=BigInteger)
    completion_tokens_known: int = Field(sa_type=BigInteger)
    cost_nanousd: int = Field(sa_type=BigInteger)
    cost_known: int = Field(sa_type=BigInteger)
    thumbs_up: int = Field(sa_type=BigInteger)
    thumbs_down: int = Field(sa_type=BigInteger)
    latency: bytes = Field(sa_type=LargeBinary)  # packed histograms, ms
    ttft: bytes = Field(sa_type=LargeBinary)
    output_tokens: bytes = Field(sa_type=LargeBinary)


class Thumb(SQLModel, table=True):
    """A request or response that thumbs were given to, and how its thumb is counted by now."""

    __tablename__ = "thumb"
    __table_args__ = (
        Index(
            "ix_thumb_due_s",
            "due_s",
            sqlite_where=text("due_s IS NOT NULL"),
            postgresql_where=text("due_s IS NOT NULL"),
        ),
        {"sqlite_with_rowid": False},
    )

    target_kind: str = Field(primary_key=True)
    target_id: str = Field(primary_key=True)
    inference_id: str | None = None  # the answer it is about, once that is known
    counted: int | None = None  # 1 up, 0 down; None: not counted
    marked_s: float  # when the last outcome came
    due_s: float | None = None  # when to look; None: nothing has come since it was counted
