"""What reviewers keep beside their reviews: drafts, flags, pairs, final labels, datasets."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from llm_canary.storage.dialect import Json, UtcDateTime


class ReviewDraft(SQLModel, table=True):
    """What a reviewer has entered and not submitted; outlives the lease and the login."""

    __tablename__ = "review_draft"

    sample_id: str = Field(primary_key=True, foreign_key="sample.id")
    reviewer: str = Field(primary_key=True)
    revision: int  # of the draft: a tab that knows an older one may not overwrite it
    saved_at: datetime = Field(sa_type=UtcDateTime)
    labels: dict[str, Any] = Field(sa_type=Json)
    comment: str = ""
    corrected_response: str = ""
    is_flagged: bool = False
    seconds_active: float = 0.0


class ReviewFlag(SQLModel, table=True):
    """A reviewer asks those who run the queue to look at an answer."""

    __tablename__ = "review_flag"

    sample_id: str = Field(primary_key=True, foreign_key="sample.id")
    reviewer: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    settled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ReviewReveal(SQLModel, table=True):
    """When a reviewer was shown what the judge and others said: later revisions are not blind."""

    __tablename__ = "review_reveal"

    sample_id: str = Field(primary_key=True, foreign_key="sample.id")
    reviewer: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)


class Adjudication(SQLModel, table=True):
    """The final labels of a sample; of several the last counts."""

    __tablename__ = "adjudication"
    __table_args__ = (Index(None, "sample_id"), Index(None, "at"))

    id: str = Field(primary_key=True)
    sample_id: str = Field(foreign_key="sample.id")
    decided_by: str
    at: datetime = Field(sa_type=UtcDateTime)
    labels: dict[str, Any] = Field(sa_type=Json)
    reason: str
    unclear: list[str] = Field(sa_type=Json)  # criteria whose wording let people differ


class ReviewerExclusion(SQLModel, table=True):
    """A reviewer whose labels count for nothing while the row is there; the audit log has both."""

    __tablename__ = "reviewer_exclusion"

    reviewer: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    excluded_by: str
    reason: str


class ReviewPair(SQLModel, table=True):
    """Two answers to the same prompt; arms are known for live ones and may be for imported ones.

    Of live answers there are no texts here, so that they end with their inferences' retention.
    """

    __tablename__ = "review_pair"
    __table_args__ = (
        UniqueConstraint("rubric_id", "key"),
        Index(None, "rubric_id", "state"),
    )

    id: str = Field(primary_key=True)  # uuid7: claimed in this order
    rubric_id: str
    source: str  # live, or the name of the file
    key: str  # SHA-256 of what makes the pair this one, so that it is stored once
    rubric_text_id: str | None = None
    messages: list[dict[str, str]] | None = Field(default=None, sa_type=Json)
    response_a: str | None = None
    response_b: str | None = None
    inference_a: str | None = None
    inference_b: str | None = None
    arm_a: str | None = None
    arm_b: str | None = None
    wanted: int = 1
    state: str  # open, done, dropped
    made_at: datetime = Field(sa_type=UtcDateTime)


class PairSeat(SQLModel, table=True):
    """One of the preferences that a pair wants: held until the lease ends, or given."""

    __tablename__ = "pair_seat"
    __table_args__ = (UniqueConstraint("pair_id", "reviewer"),)

    pair_id: str = Field(primary_key=True, foreign_key="review_pair.id")
    seat: int = Field(primary_key=True)
    reviewer: str
    token: str
    leased_until: datetime | None = Field(default=None, sa_type=UtcDateTime)  # None: given


class PairPreference(SQLModel, table=True):
    """Which of two answers one person prefers, and which of them they were shown first."""

    __tablename__ = "pair_preference"
    __table_args__ = (UniqueConstraint("pair_id", "reviewer"), Index(None, "reviewer", "at"))

    id: str = Field(primary_key=True)
    pair_id: str = Field(foreign_key="review_pair.id")
    reviewer: str
    at: datetime = Field(sa_type=UtcDateTime)
    shown_first: str  # a or b, as the pair is stored
    preferred: str  # a, b, tie, both_bad, cannot_assess
    criteria: dict[str, Any] = Field(sa_type=Json)  # criterion -> a, b, tie
    comment: str | None = None
    seconds_active: float | None = None


class DatasetVersion(SQLModel, table=True):
    """A named dataset that grows until it is frozen; then the next version begins."""

    __tablename__ = "dataset"
    __table_args__ = (UniqueConstraint("name", "version"),)

    id: str = Field(primary_key=True)
    name: str
    version: int
    made_at: datetime = Field(sa_type=UtcDateTime)
    made_by: str
    frozen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    frozen_hash: str | None = None


class DatasetRow(SQLModel, table=True):
    """One item of a dataset, and the review that it comes from."""

    __tablename__ = "dataset_item"
    __table_args__ = (UniqueConstraint("dataset_id", "name"), Index(None, "origin_review_id"))

    id: str = Field(primary_key=True)
    dataset_id: str = Field(foreign_key="dataset.id")
    name: str  # of the item, as the file has it
    item: dict[str, Any] = Field(sa_type=Json)
    origin_review_id: str | None = None
    added_at: datetime = Field(sa_type=UtcDateTime)
    added_by: str
