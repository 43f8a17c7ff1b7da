"""What reviewers said of samples, which of these are gold, and how many wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Executable, Select, bindparam, exists, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col

from llm_canary.ids import uuid7
from llm_canary.storage.models.grading import GoldItem, Review, ReviewSeat, Sample
from llm_canary.storage.models.reviewing import ReviewerExclusion
from llm_canary.storage.repositories.counted import SUBMITTED
from llm_canary.storage.repositories.grading_order import of_turn, too_late, turns

SKIPPED = "skipped"
OPEN, DONE, ADJUDICATE = "open", "done", "adjudicate"
MAX_SKIPS = 3


class Standing(NamedTuple):
    """What is to be known before a review is stored."""

    is_excluded: bool  # the reviewer
    is_gold: bool  # the sample


class QueueCounts(NamedTuple):
    """How many samples of one rubric are where."""

    rubric_id: str
    rubric_text_id: str
    open: int
    leased: int
    done: int
    adjudicate: int
    oldest_at: datetime | None  # of the open ones


def add_review(  # noqa: PLR0913 - the columns
    session: Session,
    *,
    sample_id: str,
    reviewer: str,
    at: datetime,
    status: str,
    labels: Mapping[str, Any],
    comment: str | None = None,
    corrected_response: str | None = None,
    seconds_active: float | None = None,
    is_gold: bool = False,
) -> int:
    """Store a review; a person's later one is a new revision. Return its number."""
    row = {
        "id": uuid7(),
        "sample_id": sample_id,
        "reviewer": reviewer,
        "at": at,
        "status": status,
        "labels": dict(labels),
        "comment": comment,
        "corrected_response": corrected_response,
        "seconds_active": seconds_active,
        "is_gold": is_gold,
    }
    whose = {"of_sample": sample_id, "by_reviewer": reviewer}
    return int(session.execute(_insert(), row | whose).scalar_one())


def given_reviews(session: Session, sample_id: str) -> dict[str, Review]:
    """Return each person's last review of the sample."""
    query = select(Review).where(col(Review.sample_id) == sample_id).order_by(col(Review.revision))
    return {row.reviewer: row for row in session.execute(query).scalars()}


def sample_of(session: Session, sample_id: str, *, lock: bool = False) -> Sample | None:
    """Return the sample."""
    query = _locked_sample() if lock else _sample()
    return session.execute(query, {"sample_id": sample_id}).scalar_one_or_none()


def set_human(
    session: Session,
    sample: Sample,
    *,
    score: float | None,
    passed: bool | None,
    state: str,
    at: datetime | None,
) -> None:
    """Note on the sample what people have come to, and where the item stands.

    `reviewed_at` is when there were points first, or the last review while there are none.
    """
    if sample.reviewed_at is None or sample.human_score is None:
        sample.reviewed_at = at
    sample.human_score, sample.human_passed, sample.review_state = score, passed, state
    session.add(sample)


def close_unreadable(session: Session, sample_id: str, at: datetime) -> None:
    """Ask nobody any more about a sample whose text cannot be read."""
    session.execute(
        update(Sample)
        .where(col(Sample.id) == sample_id, col(Sample.review_state) == OPEN)
        .values(review_state=None)
        .execution_options(synchronize_session=False)
    )
    retire_gold(session, sample_id, at)


def retire_gold(session: Session, sample_id: str, at: datetime) -> bool:
    """Let the sample measure reviewers no more; False where it did not."""
    statement = (
        update(GoldItem)
        .where(col(GoldItem.sample_id) == sample_id, col(GoldItem.retired_at).is_(None))
        .values(retired_at=at)
        .execution_options(synchronize_session=False)
    )
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def gold_of(session: Session, sample_id: str) -> GoldItem | None:
    """Return the gold labels of a sample that is gold now."""
    query = select(GoldItem).where(
        col(GoldItem.sample_id) == sample_id, col(GoldItem.retired_at).is_(None)
    )
    return session.execute(query).scalar_one_or_none()


def standing_of(session: Session, sample_id: str, reviewer: str) -> Standing:
    """Return what a review of the sample by the reviewer would be: one statement for both."""
    whose = {"sample_id": sample_id, "reviewer": reviewer}
    return Standing(*session.execute(_standing(), whose).one())


def put_gold(
    session: Session,
    sample_id: str,
    *,
    labels: Mapping[str, Any],
    rationale: str,
    by: str,
    at: datetime,
) -> None:
    """Make a sample gold; its labels replace earlier ones."""
    upsert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    row = {
        "sample_id": sample_id,
        "labels": dict(labels),
        "rationale": rationale,
        "added_by": by,
        "added_at": at,
        "retired_at": None,
    }
    values = {name: row[name] for name in row if name != "sample_id"}
    session.execute(
        upsert(GoldItem)
        .values(row)
        .on_conflict_do_update(index_elements=["sample_id"], set_=values)
    )


def queues(session: Session, now: datetime) -> list[QueueCounts]:
    """Return the counts of every rubric that has something to review."""
    query = (
        select(
            col(Sample.rubric_id),
            col(Sample.rubric_text_id),
            col(Sample.review_state),
            func.count(),
            func.min(col(Sample.drawn_at)),
        )
        .where(col(Sample.review_state).is_not(None))
        .group_by(col(Sample.rubric_id), col(Sample.rubric_text_id), col(Sample.review_state))
    )
    counts: dict[tuple[str, str], Counter[str]] = {}
    oldest: dict[tuple[str, str], datetime] = {}
    for rubric_id, text_id, state, count, at in session.execute(query):
        key = (rubric_id, text_id)
        counts.setdefault(key, Counter())[state] = count
        if state == OPEN:
            oldest[key] = at
    leased = select(col(Sample.rubric_text_id), func.count()).where(
        col(ReviewSeat.sample_id) == col(Sample.id), col(ReviewSeat.leased_until) >= now
    )
    held = dict(session.execute(leased.group_by(col(Sample.rubric_text_id))).all())
    return [
        QueueCounts(
            rubric_id,
            text_id,
            open=found[OPEN],
            leased=held.get(text_id, 0),
            done=found[DONE],
            adjudicate=found[ADJUDICATE],
            oldest_at=oldest.get((rubric_id, text_id)),
        )
        for (rubric_id, text_id), found in sorted(counts.items())
    ]


def corrected(session: Session, rubric_id: str) -> list[tuple[str, str]]:
    """Return inference and better answer of each person's last review that has one."""
    query = (
        select(Review, col(Sample.inference_id))
        .join(Sample, col(Sample.id) == col(Review.sample_id))
        .where(col(Sample.rubric_id) == rubric_id)
        .order_by(col(Review.id))
    )
    latest = {(row[0].sample_id, row[0].reviewer): row for row in session.execute(query)}
    return [
        (inference_id, review.corrected_response)
        for review, inference_id in latest.values()
        if review.corrected_response and review.status == SUBMITTED
    ]


def open_samples(
    session: Session, rubric_id: str, limit: int, now: datetime, *, lease_s: float
) -> list[Sample]:
    """Return samples that want reviews, in the order in which reviewers are given them."""
    queue = select(Sample).where(
        col(Sample.rubric_id) == rubric_id, col(Sample.review_state) == OPEN
    )
    in_turn = turns(now.isoformat(), now, lease_s)
    found: dict[str, Sample] = {}
    for query, which in (*((of_turn(queue), turn) for turn in in_turn), (too_late(queue), {})):
        rows = session.execute(query.limit(limit), which).scalars()
        found |= {each.id: found.get(each.id, each) for each in rows}
    return list(found.values())[:limit]


# Made once: making a statement takes as long as asking it.


@cache
def _sample() -> Select[Sample]:
    return select(Sample).where(col(Sample.id) == bindparam("sample_id"))


@cache
def _locked_sample() -> Select[Sample]:
    return _sample().with_for_update()


@cache
def _standing() -> Select[bool, bool]:
    is_excluded = exists().where(col(ReviewerExclusion.reviewer) == bindparam("reviewer"))
    is_gold = exists().where(
        col(GoldItem.sample_id) == bindparam("sample_id"), col(GoldItem.retired_at).is_(None)
    )
    return select(is_excluded, is_gold)


@cache
def _insert() -> Executable:
    number = select(func.coalesce(func.max(col(Review.revision)), 0) + 1).where(
        col(Review.sample_id) == bindparam("of_sample"),
        col(Review.reviewer) == bindparam("by_reviewer"),
    )
    table: Any = Review
    return (
        insert(table.__table__)
        .values(revision=number.scalar_subquery())
        .returning(col(Review.revision))
    )
