"""What people and judges say about answers, and what checks and calibrations came to."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from llm_canary.storage.dialect import Json, UtcDateTime


def _partial(where: str, *columns: str) -> Index:
    return Index(None, *columns, sqlite_where=text(where), postgresql_where=text(where))


class GradedSample(SQLModel, table=True):
    """An answer that people have graded, with what is needed to grade it again."""

    __tablename__ = "graded_sample"
    __table_args__ = (UniqueConstraint("item_id", "response_sha256"),)

    id: str = Field(primary_key=True)  # uuid7
    item_id: str
    response_sha256: str
    prompt: str
    response: str
    reference: str | None = None
    context: str | None = None
    tags: dict[str, Any] = Field(sa_type=Json)


class HumanLabel(SQLModel, table=True):
    """The label that one person gave to one criterion of one answer, under one rubric's text."""

    __tablename__ = "human_label"
    __table_args__ = (UniqueConstraint("sample_id", "rubric_hash", "criterion_id", "rater"),)

    id: str = Field(primary_key=True)
    sample_id: str = Field(index=True, foreign_key="graded_sample.id")
    rubric_id: str = Field(index=True)
    rubric_hash: str
    criterion_id: str
    rater: str
    label: str  # JSON: met, 2, an option
    labelled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class CalibrationRun(SQLModel, table=True):
    """What a comparison of a judge with people came to."""

    __tablename__ = "calibration_run"

    id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    rubric_id: str = Field(index=True)
    rubric_hash: str
    judge_id: str = Field(index=True)
    label_hash: str
    labelled: int
    standing: str
    source: str = "labels"  # imported ones, or the reviews of live answers
    report: dict[str, Any] = Field(sa_type=Json)


class CheckRun(SQLModel, table=True):
    """What a check of a candidate came to; `candidate` is the identity of its variant."""

    __tablename__ = "check_run"
    __table_args__ = (Index(None, "name", "candidate", "at"),)

    id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    name: str
    candidate: str
    verdict: str
    rubric_hash: str
    dataset_hash: str
    report: dict[str, Any] = Field(sa_type=Json)


class RubricText(SQLModel, table=True):
    """A rubric as it was when a rollout started with it: what its answers are graded by."""

    __tablename__ = "rubric_text"

    id: str = Field(primary_key=True)  # SHA-256 of `text`
    rubric_id: str = Field(index=True)
    version: int
    content_hash: str
    text: str
    stored_at: datetime = Field(sa_type=UtcDateTime)


class Sample(SQLModel, table=True):
    """An answer that is to be judged by a rubric, with the chances that it was drawn by.

    One row per inference and rubric. `state`: waiting, leased, judged, failed or shed. What people
    and judges came to is kept here, because the gates read nothing else; the grades themselves are
    in `judgement` and `review`.
    """

    __tablename__ = "sample"
    __table_args__ = (
        UniqueConstraint("inference_id", "rubric_id"),
        Index(None, "state", "ready_at"),
        Index(None, "rollout_id", "rubric_id"),
        _partial("state IN ('waiting', 'leased')", "rubric_text_id", "id"),
        _partial("review_state IS NOT NULL", "rubric_id", "review_state", "closes_at"),
        Index(
            "ix_sample_review_turns",  # of `grading_order.of_turn`
            *("rubric_id", "review_state", "review_stream"),
            *(text("(reviewed_at IS NOT NULL) DESC"), text("substr(id, 25, 7)")),
            sqlite_where=text("review_state IS NOT NULL"),
            postgresql_where=text("review_state IS NOT NULL"),
        ),
        _partial("human_score IS NOT NULL", "judge_id", "rubric_text_id"),
        Index(None, "rollout_id", "drawn_at"),
        _partial("reviewed_at IS NOT NULL", "rubric_id", "reviewed_at"),
        Index(
            "ix_sample_review_counts",  # what the page of the queues counts, without the rows
            *("rubric_id", "rubric_text_id", "review_state", "drawn_at", "closes_at"),
            sqlite_where=text("review_state IS NOT NULL"),
            postgresql_where=text("review_state IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True)  # uuid7; its random digits are a lot (`grading_order`)
    inference_id: str
    rubric_id: str
    rubric_text_id: str
    rollout_id: str | None = None
    arm: str | None = None
    stratum: str
    stream: str
    rate: float  # of the probability stream
    inclusion: float  # of being drawn by either stream
    drawn_at: datetime = Field(sa_type=UtcDateTime)
    closes_at: datetime = Field(sa_type=UtcDateTime)  # the gate takes what is known by then
    state: str
    attempts: int
    ready_at: datetime = Field(sa_type=UtcDateTime)  # not claimed before; the end of a lease
    lease_token: str | None = None
    judge_id: str | None = None
    judge_score: float | None = None  # 0 to 1
    judge_passed: bool | None = None
    reported_model: str | None = None  # by the judge's provider; a second judge's in a second line
    review_stream: str | None = None  # probability, uncertain, targeted: why people are asked
    review_rate: float = 0.0  # chance that people are asked, of the probability stream
    reviews_wanted: int = 0
    review_state: str | None = None  # open, done, adjudicate
    human_score: float | None = None
    human_passed: bool | None = None
    reviewed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Judgement(SQLModel, table=True):
    """What one judge version said about one sample, or how the asking failed."""

    __tablename__ = "judgement"
    __table_args__ = (UniqueConstraint("sample_id", "judge_id"), Index(None, "at"))

    id: str = Field(primary_key=True)
    sample_id: str = Field(foreign_key="sample.id")
    judge_id: str
    at: datetime = Field(sa_type=UtcDateTime)
    status: str
    score: float | None = None
    passed: bool | None = None
    grades: dict[str, Any] = Field(sa_type=Json)  # criterion -> grade, or why there is none
    reported_model: str | None = None
    injection_suspected: bool = False
    calls: int = 0
    tokens_in: int | None = Field(default=None, sa_type=BigInteger)
    tokens_out: int | None = Field(default=None, sa_type=BigInteger)
    cost_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    latency_s: float | None = None
    detail: str = ""


class JudgingDay(SQLModel, table=True):
    """What judges have cost on one UTC day, and what is reserved for calls under way."""

    __tablename__ = "judging_day"

    day: str = Field(primary_key=True)  # 2026-11-24
    reserved_nanousd: int = Field(default=0, sa_type=BigInteger)
    spent_nanousd: int = Field(default=0, sa_type=BigInteger)
    dearest_nanousd: int = Field(default=0, sa_type=BigInteger)
    judged: int = 0  # answers
    calls: int = 0
    unknown_cost: int = 0  # of these


class ReviewSeat(SQLModel, table=True):
    """One of the reviews that a sample wants: held by a reviewer until the lease ends, or given.

    The constraints decide who gets it: no seat twice, no person twice on one sample.
    """

    __tablename__ = "review_seat"
    __table_args__ = (
        UniqueConstraint("sample_id", "reviewer"),
        Index(None, "reviewer", "leased_until"),
        _partial("leased_until IS NOT NULL", "leased_until"),
    )

    sample_id: str = Field(primary_key=True, foreign_key="sample.id")
    seat: int = Field(primary_key=True)
    reviewer: str
    token: str
    leased_until: datetime | None = Field(default=None, sa_type=UtcDateTime)  # None: given


class Review(SQLModel, table=True):
    """The grades of one person on one sample; a revision is a row of its own."""

    __tablename__ = "review"
    __table_args__ = (
        UniqueConstraint("sample_id", "reviewer", "revision"),
        Index(None, "reviewer", "at"),
        Index(
            "ix_review_corrected",
            "id",
            sqlite_where=text("corrected_response IS NOT NULL"),
            postgresql_where=text("corrected_response IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True)
    sample_id: str = Field(foreign_key="sample.id")
    reviewer: str
    revision: int
    at: datetime = Field(sa_type=UtcDateTime)
    status: str  # submitted, skipped
    labels: dict[str, Any] = Field(sa_type=Json)
    comment: str | None = None
    corrected_response: str | None = None
    seconds_active: float | None = None
    is_gold: bool = False  # the sample was gold when it was graded


class GoldItem(SQLModel, table=True):
    """A sample whose right labels are known: reviewers are measured on it."""

    __tablename__ = "gold_item"

    sample_id: str = Field(primary_key=True, foreign_key="sample.id")
    labels: dict[str, Any] = Field(sa_type=Json)
    rationale: str = ""
    added_by: str
    added_at: datetime = Field(sa_type=UtcDateTime)
    retired_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class DriftLook(SQLModel, table=True):
    """One look at whether a judge still says what it said about the frozen anchors."""

    __tablename__ = "drift_look"

    id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    rubric_id: str = Field(index=True)
    rubric_hash: str
    judge_id: str
    drift: str
    report: dict[str, Any] = Field(sa_type=Json)


class ProbeRun(SQLModel, table=True):
    """What a judge's probes came to: what moves it besides quality."""

    __tablename__ = "probe_run"
    __table_args__ = (Index(None, "rubric_id", "at"),)

    id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    rubric_id: str
    rubric_hash: str
    judge_id: str
    label_hash: str
    probes: list[dict[str, Any]] = Field(sa_type=Json)
