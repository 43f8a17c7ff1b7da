"""Counts of the review queues and of each reviewer's work, from the small tables only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import case, func, select
from sqlmodel import Session, col

from llm_canary.storage.models.grading import Review, ReviewSeat, Sample
from llm_canary.storage.repositories.counted import SUBMITTED
from llm_canary.storage.repositories.reviews import OPEN, SKIPPED


class Due(NamedTuple):
    """When the windows of open samples close: the next one, and how many have closed."""

    next_at: datetime | None
    late: int


class Work(NamedTuple):
    """What one reviewer has done since a day; `seconds` of those reviews that have them."""

    reviewer: str
    reviews: int
    skips: int
    retracted: int
    seconds: tuple[float, ...]


def due(session: Session, now: datetime) -> dict[str, Due]:
    """Return by rubric when the windows of its open samples close."""
    is_ahead = col(Sample.closes_at) > now
    query = (
        select(
            col(Sample.rubric_id),
            func.min(case((is_ahead, col(Sample.closes_at)))),
            func.sum(case((is_ahead, 0), else_=1)),
        )
        .where(col(Sample.review_state).is_not(None), col(Sample.review_state) == OPEN)
        .group_by(col(Sample.rubric_id))
    )
    return {row[0]: Due(row[1], int(row[2])) for row in session.execute(query)}


def held_by(session: Session, reviewer: str, now: datetime) -> dict[str, str]:
    """Return by rubric the sample that the reviewer holds."""
    query = (
        select(col(Sample.rubric_id), col(Sample.id))
        .join(ReviewSeat, col(ReviewSeat.sample_id) == col(Sample.id))
        .where(col(ReviewSeat.reviewer) == reviewer, col(ReviewSeat.leased_until) >= now)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def done_since(session: Session, reviewer: str, since: datetime) -> dict[str, int]:
    """Return by rubric how many samples the reviewer has reviewed since then."""
    query = (
        select(col(Sample.rubric_id), func.count(func.distinct(col(Review.sample_id))))
        .join(Sample, col(Sample.id) == col(Review.sample_id))
        .where(
            col(Review.reviewer) == reviewer,
            col(Review.at) >= since,
            col(Review.status) == SUBMITTED,
        )
        .group_by(col(Sample.rubric_id))
    )
    return {row[0]: int(row[1]) for row in session.execute(query)}


def work_since(session: Session, since: datetime) -> list[Work]:
    """Return what each reviewer has done since then, by name; of revisions the last counts."""
    query = select(
        col(Review.reviewer),
        col(Review.sample_id),
        col(Review.revision),
        col(Review.status),
        col(Review.seconds_active),
    ).where(col(Review.at) >= since)
    last: dict[str, dict[str, tuple[int, str, float | None]]] = {}
    for reviewer, sample_id, revision, status, seconds in session.execute(query):
        own = last.setdefault(reviewer, {})
        known = own.get(sample_id)
        if known is None or known[0] < revision:
            own[sample_id] = (revision, status, seconds)
    return [
        _work(reviewer, [(status, seconds) for _, status, seconds in own.values()])
        for reviewer, own in sorted(last.items())
    ]


def _work(reviewer: str, last: Sequence[tuple[str, float | None]]) -> Work:
    given = [seconds for status, seconds in last if status == SUBMITTED]
    skips = sum(status == SKIPPED for status, _ in last)
    known = tuple(seconds for seconds in given if seconds is not None)
    return Work(reviewer, len(given), skips, len(last) - len(given) - skips, known)
