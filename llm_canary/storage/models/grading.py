"""What people and judges say about answers, and what checks and calibrations came to."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from llm_canary.storage.dialect import Json, UtcDateTime


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
