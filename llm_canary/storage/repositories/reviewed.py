"""Answers that both a judge and people have graded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, exists, func, select, tuple_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from llm_canary.rubric.prompt import CANNOT_ASSESS
from llm_canary.sampling import Stream
from llm_canary.storage.dialect import json_members, json_text
from llm_canary.storage.models.grading import CalibrationRun, Judgement, Review, Sample
from llm_canary.storage.models.reviewing import Adjudication
from llm_canary.storage.repositories.counted import SUBMITTED, Counted, counted_reviews

_PAGE = 500  # answers that are read at once


class Compared(NamedTuple):
    """A judge version, how many labels it could be compared with, and with how many it was."""

    judge_id: str
    rubric_text_id: str  # the newest: others differ in what changes no grade
    labelled: int
    known: int | None
    known_at: datetime | None


class Reviewed(NamedTuple):
    """One answer with the judge's grades and each person's labels, which outlive its text."""

    sample_id: str
    inference_id: str
    arm: str | None
    grades: Mapping[str, Any]
    reviews: tuple[tuple[str, datetime, Mapping[str, Any]], ...]  # reviewer, when, labels


def compared(session: Session, source: str) -> list[Compared]:
    """Return the judge versions whose answers people have reviewed."""
    latest = func.max(col(Sample.id))
    query = (
        select(col(Sample.judge_id), col(Sample.rubric_text_id), func.count())
        .where(*_both())
        .group_by(col(Sample.judge_id), col(Sample.rubric_text_id))
        .order_by(latest)
    )
    texts: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for judge_id, text_id, labelled in session.execute(query).all():
        texts[judge_id] = text_id
        counts[judge_id] += int(labelled)
    found = []
    for judge_id, text_id in texts.items():
        known = session.execute(
            select(col(CalibrationRun.labelled), col(CalibrationRun.at))
            .where(col(CalibrationRun.judge_id) == judge_id, col(CalibrationRun.source) == source)
            .order_by(col(CalibrationRun.at).desc(), col(CalibrationRun.id).desc())
            .limit(1)
        ).first()
        found.append(Compared(judge_id, text_id, counts[judge_id], *(known or (None, None))))
    return found


def reviewed(session: Session, judge_id: str) -> list[Reviewed]:
    """Return the answers that the judge version and people have graded, the oldest first."""
    query = (
        select(
            col(Sample.id),
            col(Sample.inference_id),
            col(Sample.arm),
            col(Judgement.grades),
        )
        .join(
            Judgement,
            (col(Judgement.sample_id) == col(Sample.id))
            & (col(Judgement.judge_id) == col(Sample.judge_id)),
        )
        .where(*_both(), col(Sample.judge_id) == judge_id)
        .order_by(col(Sample.id))
    )
    rows = session.execute(query).all()
    given = counted_reviews(session, [row[0] for row in rows])
    return [Reviewed(*[*row, _said(given.get(row[0], {}))]) for row in rows]


def _said(given: Mapping[str, Counted]) -> tuple[tuple[str, datetime, Mapping[str, Any]], ...]:
    return tuple((who, review.at, review.labels) for who, review in given.items())


def _both() -> tuple[Any, ...]:
    return (
        col(Sample.review_stream) == Stream.PROBABILITY.value,
        col(Sample.judge_score).is_not(None),
        col(Sample.human_score).is_not(None),
    )


class ReviewedRow(NamedTuple):
    """One reviewed answer: the judge's grades, where there are any, and each person's labels."""

    sample_id: str
    arm: str | None
    grades: Mapping[str, Any]
    reviews: Mapping[str, Mapping[str, Any]]


def reviewed_rows(
    session: Session, rubric_id: str, limit: int | None = None, *, in_doubt: bool = False
) -> Iterator[ReviewedRow]:
    """Yield answers that people have reviewed, the newest first; None: all of them.

    `in_doubt` leaves out what somebody has decided about, and what surely nobody sees differently.
    They are read by pages, so that whoever takes a few pays for a few.
    """
    query = (
        select(col(Sample.id), col(Sample.arm), col(Judgement.grades), col(Sample.reviewed_at))
        .outerjoin(
            Judgement,
            (col(Judgement.sample_id) == col(Sample.id))
            & (col(Judgement.judge_id) == col(Sample.judge_id)),
        )
        .where(col(Sample.rubric_id) == rubric_id, col(Sample.reviewed_at).is_not(None))
        .order_by(col(Sample.reviewed_at).desc(), col(Sample.id).desc())
    )
    if in_doubt:
        query = query.where(*_in_doubt(session))
    page, left = query, limit
    while left is None or left > 0:
        size = _PAGE if left is None else min(left, _PAGE)
        rows = session.execute(page.limit(size)).all()
        given = counted_reviews(session, [row[0] for row in rows])
        for sample_id, arm, grades, _ in rows:
            said = {who: review.labels for who, review in given.get(sample_id, {}).items()}
            yield ReviewedRow(sample_id, arm, grades or {}, said)
        if len(rows) < size:
            return
        last = rows[-1]
        before = tuple_(col(Sample.reviewed_at), col(Sample.id)) < tuple_(last[3], last[0])
        page, left = query.where(before), None if left is None else left - size


def _in_doubt(session: Session) -> tuple[ColumnElement[bool], ...]:
    """Return what is true of every undecided answer that is seen differently, and of few others.

    Which reviews count is not asked: whoever reads the rows does. A queue of a year has ten
    thousands of answers about which all agree, and the database leaves them out ten times as fast.
    """
    bind, other = session.get_bind(), aliased(Review)
    is_decided = exists().where(col(Adjudication.sample_id) == col(Sample.id))
    said, label = col(Review.labels), json_members(bind, col(Review.labels)).c
    of_sample = (col(Review.sample_id) == col(Sample.id), col(Review.status) == SUBMITTED)
    people_differ = exists().where(
        *of_sample,
        col(other.sample_id) == col(Sample.id),
        col(other.status) == SUBMITTED,
        col(other.reviewer) > col(Review.reviewer),
        col(other.labels) != said,
    )
    judge_differs = exists().where(
        *of_sample,
        label.value != CANNOT_ASSESS,
        label.value != json_text(bind, col(Judgement.grades), label.key, "label"),
    )
    return (
        ~is_decided.correlate(Sample),
        people_differ.correlate(Sample) | judge_differs.correlate(Sample, Judgement),
    )
