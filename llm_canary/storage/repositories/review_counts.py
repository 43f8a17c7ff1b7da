"""Counts of the review queues and of each reviewer's work, from the small tables only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import repeat
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, case, exists, func, select
from sqlalchemy.orm import aliased
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
            _is_last(),
        )
        .group_by(col(Sample.rubric_id))
    )
    return {row[0]: int(row[1]) for row in session.execute(query)}


def rubrics_asked(session: Session) -> list[str]:
    """Return the rubrics by which people were asked to review anything, by name."""
    rubric = col(Sample.rubric_id)
    query = select(rubric).where(col(Sample.review_state).is_not(None)).distinct()
    return list(session.execute(query.order_by(rubric)).scalars())


def work_since(session: Session, since: datetime) -> list[Work]:
    """Return what each reviewer has done since then, by name; of revisions the last counts."""
    found: dict[str, dict[str, list[tuple[float | None, int]]]] = {}
    for reviewer, status, seconds, count in session.execute(_work_since(), {"since": since}):
        found.setdefault(reviewer, {}).setdefault(status, []).append((seconds, count))
    return [_work(reviewer, own) for reviewer, own in sorted(found.items())]


def _work(reviewer: str, own: Mapping[str, Sequence[tuple[float | None, int]]]) -> Work:
    counts = {status: sum(count for _, count in rows) for status, rows in own.items()}
    reviews, skips = counts.get(SUBMITTED, 0), counts.get(SKIPPED, 0)
    seconds = [
        each
        for seconds, count in own.get(SUBMITTED, ())
        if seconds is not None
        for each in repeat(seconds, count)
    ]
    return Work(reviewer, reviews, skips, sum(counts.values()) - reviews - skips, tuple(seconds))


# Reviews that took as long are counted by the database: there are many times fewer of these.
@cache
def _work_since() -> Select[str, str, float | None, int]:
    keys = (col(Review.reviewer), col(Review.status), col(Review.seconds_active))
    query = select(*keys, func.count()).where(col(Review.at) >= bindparam("since"), _is_last())
    return query.group_by(*keys)


def _is_last() -> ColumnElement[bool]:
    """Return the condition that a review's author has not revised or undone it."""
    newer = aliased(Review)
    return ~(
        exists()
        .where(
            col(newer.sample_id) == col(Review.sample_id),
            col(newer.reviewer) == col(Review.reviewer),
            col(newer.revision) > col(Review.revision),
        )
        .correlate(Review)
    )
