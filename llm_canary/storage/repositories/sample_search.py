"""Drawn answers as people look for them: by what is known of each, the newest first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.sql import ColumnElement
from sqlmodel import Session, col

from llm_canary.storage.models.grading import Judgement, Review, Sample
from llm_canary.storage.models.inferences import Inference
from llm_canary.storage.models.rollouts import Rollout

NONE = "none"  # of verdicts: there is none
PASS, FAIL = "pass", "fail"


class SampleFilter(NamedTuple):
    """Which samples; None asks for all. `judge` and `human` are pass, fail or none."""

    rollout: str | None = None
    attempt: int | None = None
    route: str | None = None
    arm: str | None = None
    rubric: str | None = None
    stream: str | None = None
    state: str | None = None
    judge: str | None = None
    human: str | None = None
    differs: bool = False  # people and judge came to different verdicts
    score_from: float | None = None
    score_to: float | None = None
    since: datetime | None = None
    until: datetime | None = None
    request: str | None = None  # our id of the inference, or the provider's of the answer


class SampleRow(NamedTuple):
    """One drawn answer, without its text."""

    id: str
    inference_id: str
    rubric_id: str
    rubric_text_id: str
    rollout_id: str | None
    arm: str | None
    stratum: str
    stream: str
    rate: float
    inclusion: float
    drawn_at: datetime
    closes_at: datetime
    state: str
    judge_id: str | None
    judge_score: float | None
    judge_passed: bool | None
    review_stream: str | None
    review_rate: float
    reviews_wanted: int
    review_state: str | None
    human_score: float | None
    human_passed: bool | None
    reviewed_at: datetime | None


class Exchange(NamedTuple):
    """The texts of an inference, and what it took."""

    request: str | None
    response: str | None
    latency_ms: float | None
    cost_nanousd: int | None


class JudgementRow(NamedTuple):
    """What one judge version said about a sample."""

    judge_id: str
    at: datetime
    status: str
    score: float | None
    passed: bool | None
    grades: Mapping[str, Any]
    reported_model: str | None
    injection_suspected: bool
    calls: int
    tokens_in: int | None
    tokens_out: int | None
    cost_nanousd: int | None
    latency_s: float | None
    detail: str


class ReviewRow(NamedTuple):
    """One revision of one person's review."""

    reviewer: str
    revision: int
    at: datetime
    status: str
    labels: Mapping[str, Any]
    comment: str | None
    corrected_response: str | None
    seconds_active: float | None
    is_gold: bool


class RolloutName(NamedTuple):
    """Which attempt of which rollout, and on which route."""

    name: str
    attempt: int
    route: str


def search(
    session: Session, wanted: SampleFilter, *, before: str | None, limit: int
) -> list[SampleRow]:
    """Return samples, the newest first; `before` is the id of the last one seen."""
    query = select(*_columns(SampleRow, Sample)).where(*_conditions(session, wanted))
    if before is not None:
        query = query.where(col(Sample.id) < before)
    query = query.order_by(col(Sample.id).desc()).limit(limit)
    return [SampleRow(*row) for row in session.execute(query)]


def sample_row(session: Session, sample_id: str) -> SampleRow | None:
    """Return one sample."""
    query = select(*_columns(SampleRow, Sample)).where(col(Sample.id) == sample_id)
    row = session.execute(query).first()
    return None if row is None else SampleRow(*row)


def siblings(session: Session, inference_id: str) -> list[tuple[str, str]]:
    """Return id and rubric of every sample of one answer."""
    query = select(col(Sample.id), col(Sample.rubric_id)).where(
        col(Sample.inference_id) == inference_id
    )
    return [(row[0], row[1]) for row in session.execute(query.order_by(col(Sample.rubric_id)))]


def exchanges(session: Session, inference_ids: Collection[str]) -> dict[str, Exchange]:
    """Return the texts of inferences by id; an id that is not stored any more is left out."""
    query = select(
        col(Inference.id),
        col(Inference.request_text),
        col(Inference.response_text),
        col(Inference.latency_ms),
        col(Inference.cost_nanousd),
    ).where(col(Inference.id).in_(inference_ids))
    return {row[0]: Exchange(*row[1:]) for row in session.execute(query)}


def rollout_names(session: Session, rollout_ids: Collection[str]) -> dict[str, RolloutName]:
    """Return the names of rollouts by id."""
    query = select(col(Rollout.id), col(Rollout.name), col(Rollout.attempt), col(Rollout.route))
    found = session.execute(query.where(col(Rollout.id).in_(rollout_ids)))
    return {row[0]: RolloutName(*row[1:]) for row in found}


def judgements_of(session: Session, sample_id: str) -> list[JudgementRow]:
    """Return what judges said about a sample, the oldest first."""
    query = select(*_columns(JudgementRow, Judgement)).where(col(Judgement.sample_id) == sample_id)
    return [JudgementRow(*row) for row in session.execute(query.order_by(col(Judgement.at)))]


def reviews_of(session: Session, sample_id: str) -> list[ReviewRow]:
    """Return what people said about a sample, the oldest first, every revision."""
    query = select(*_columns(ReviewRow, Review)).where(col(Review.sample_id) == sample_id)
    return [ReviewRow(*row) for row in session.execute(query.order_by(col(Review.id)))]


def rubrics_of(session: Session, rollout_id: str) -> list[str]:
    """Return the rubrics that answers of a rollout were drawn for."""
    query = select(col(Sample.rubric_id)).where(col(Sample.rollout_id) == rollout_id).distinct()
    return sorted(session.execute(query).scalars())


class Choices(NamedTuple):
    """What there is to choose from."""

    rollouts: tuple[str, ...]
    routes: tuple[str, ...]


def choices(session: Session) -> Choices:
    """Return the rollouts and routes that there ever were, by name."""
    rows = session.execute(select(col(Rollout.name), col(Rollout.route)).distinct()).all()
    return Choices(
        tuple(sorted({row.name for row in rows})), tuple(sorted({row.route for row in rows}))
    )


def _columns(form: Any, table: Any) -> list[Any]:  # noqa: ANN401 - a NamedTuple and its table
    return [getattr(table, name) for name in form._fields]


def _conditions(session: Session, wanted: SampleFilter) -> list[ColumnElement[bool]]:
    found = [
        column == value
        for column, value in (
            (col(Sample.arm), wanted.arm),
            (col(Sample.rubric_id), wanted.rubric),
            (col(Sample.stream), wanted.stream),
            (col(Sample.state), wanted.state),
        )
        if value is not None
    ]
    found += _of_rollouts(session, wanted)
    found += _verdict(col(Sample.judge_passed), wanted.judge)
    found += _verdict(col(Sample.human_passed), wanted.human)
    if wanted.differs:
        found.append(col(Sample.judge_passed) != col(Sample.human_passed))
    if wanted.score_from is not None:
        found.append(col(Sample.judge_score) >= wanted.score_from)
    if wanted.score_to is not None:
        found.append(col(Sample.judge_score) <= wanted.score_to)
    if wanted.since is not None:
        found.append(col(Sample.drawn_at) >= wanted.since)
    if wanted.until is not None:
        found.append(col(Sample.drawn_at) <= wanted.until)
    if wanted.request is not None:
        of_answer = select(col(Inference.id)).where(col(Inference.response_id) == wanted.request)
        names = [wanted.request, *session.execute(of_answer.limit(100)).scalars()]
        found.append(col(Sample.inference_id).in_(names))
    return found


def _of_rollouts(session: Session, wanted: SampleFilter) -> list[ColumnElement[bool]]:
    """Return the condition on the rollouts, which are few, so that it is one on an index."""
    if wanted.rollout is None and wanted.route is None and wanted.attempt is None:
        return []
    query = select(col(Rollout.id))
    if wanted.rollout is not None:
        query = query.where(col(Rollout.name) == wanted.rollout)
    if wanted.route is not None:
        query = query.where(col(Rollout.route) == wanted.route)
    if wanted.attempt is not None:
        query = query.where(col(Rollout.attempt) == wanted.attempt)
    return [col(Sample.rollout_id).in_(list(session.execute(query).scalars()))]


def _verdict(column: Any, wanted: str | None) -> list[ColumnElement[bool]]:  # noqa: ANN401 - a column
    if wanted is None:
        return []
    return [column.is_(None) if wanted == NONE else column.is_(wanted == PASS)]
