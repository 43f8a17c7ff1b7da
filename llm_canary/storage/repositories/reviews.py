"""The review queue: who has which sample, and what they said of it.

A sample wants N reviews; each is a seat. A seat is leased, and kept by who submits. The primary
key (sample, seat) and the unique (sample, reviewer) decide every race, so no item is reviewed more
often than it wants, and by nobody twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col

from llm_canary.ids import uuid7
from llm_canary.storage.models.grading import GoldItem, Review, ReviewSeat, Sample
from llm_canary.storage.repositories.counted import SUBMITTED

SKIPPED = "skipped"
OPEN, DONE, ADJUDICATE = "open", "done", "adjudicate"
MAX_SKIPS = 3


class Lease(NamedTuple):
    """A reviewer's hold on one sample."""

    sample_id: str
    inference_id: str
    rubric_id: str
    rubric_text_id: str
    token: str
    leased_until: datetime


class QueueCounts(NamedTuple):
    """How many samples of one rubric are where."""

    rubric_id: str
    rubric_text_id: str
    open: int
    leased: int
    done: int
    adjudicate: int
    oldest_at: datetime | None  # of the open ones


def claim_review(
    session: Session, rubric_id: str, reviewer: str, now: datetime, *, lease_s: float
) -> Lease | None:
    """Lease the next sample to the reviewer, or the one that they hold; None: nothing is left.

    One statement at a time in the caller's transaction: SQLite lets one writer in, PostgreSQL locks
    the sample and passes over those that others have locked.
    """
    until = now + timedelta(seconds=lease_s)
    held = _held_by(session, rubric_id, reviewer, now)
    if held is not None:
        return held
    session.execute(
        delete(ReviewSeat).where(
            col(ReviewSeat.leased_until).is_not(None), col(ReviewSeat.leased_until) < now
        )
    )
    taken = (
        select(func.count())
        .where(col(ReviewSeat.sample_id) == col(Sample.id))
        .correlate(Sample)
        .scalar_subquery()
    )
    has_been_here = (
        exists()
        .where(col(Review.sample_id) == col(Sample.id), col(Review.reviewer) == reviewer)
        .correlate(Sample)
    )
    query = (
        select(Sample)
        .where(
            col(Sample.rubric_id) == rubric_id,
            col(Sample.review_state) == OPEN,
            taken < col(Sample.reviews_wanted),
            ~has_been_here,
        )
        .order_by(col(Sample.id))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    while (sample := session.execute(query).scalar_one_or_none()) is not None:
        # What another has taken between our look and our lock is seen only now.
        if _seats(session, sample.id) < sample.reviews_wanted:
            return _take(session, sample, reviewer, until)
    return None


def claim_gold(
    session: Session, rubric_id: str, reviewer: str, now: datetime, *, lease_s: float
) -> Lease | None:
    """Lease a gold sample that the reviewer has not graded; any number may grade it."""
    has_been_here = (
        exists()
        .where(col(Review.sample_id) == col(Sample.id), col(Review.reviewer) == reviewer)
        .correlate(Sample)
    )
    query = (
        select(Sample)
        .join(GoldItem, col(GoldItem.sample_id) == col(Sample.id))
        .where(
            col(Sample.rubric_id) == rubric_id,
            col(GoldItem.retired_at).is_(None),
            ~has_been_here,
        )
        .order_by(col(Sample.id))
        .limit(1)
    )
    sample = session.execute(query).scalar_one_or_none()
    if sample is None:
        return None
    return _take(session, sample, reviewer, now + timedelta(seconds=lease_s))


def extend(session: Session, sample_id: str, token: str, until: datetime) -> bool:
    """Hold the lease until `until`; False when it is another's by now."""
    statement = (
        update(ReviewSeat)
        .where(
            col(ReviewSeat.sample_id) == sample_id,
            col(ReviewSeat.token) == token,
            col(ReviewSeat.leased_until).is_not(None),
        )
        .values(leased_until=until)
        .execution_options(synchronize_session=False)
    )
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def keep_seat(session: Session, sample: Sample, reviewer: str, token: str) -> bool:
    """Turn the lease into a given review; a lost one counts while a seat is still free."""
    statement = (
        update(ReviewSeat)
        .where(
            col(ReviewSeat.sample_id) == sample.id,
            col(ReviewSeat.reviewer) == reviewer,
            col(ReviewSeat.token) == token,
        )
        .values(leased_until=None)
        .execution_options(synchronize_session=False)
    )
    if session.execute(statement).rowcount:  # type: ignore[attr-defined]
        return True
    if _seats(session, sample.id) >= sample.reviews_wanted:
        return False
    _take(session, sample, reviewer, None, token=token)
    return True


def give_seat(session: Session, sample: Sample, reviewer: str) -> None:
    """Give a review without a lease, as imports do; it may be one more than was wanted."""
    query = select(col(ReviewSeat.reviewer)).where(col(ReviewSeat.sample_id) == sample.id)
    if reviewer in set(session.execute(query).scalars()):
        return
    _take(session, sample, reviewer, None)


def free_seat(session: Session, sample_id: str, token: str) -> bool:
    """Give the lease back."""
    statement = delete(ReviewSeat).where(
        col(ReviewSeat.sample_id) == sample_id,
        col(ReviewSeat.token) == token,
        col(ReviewSeat.leased_until).is_not(None),
    )
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]


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
    query = select(func.max(col(Review.revision))).where(
        col(Review.sample_id) == sample_id, col(Review.reviewer) == reviewer
    )
    revision = (session.execute(query).scalar_one_or_none() or 0) + 1
    session.add(
        Review(
            id=uuid7(),
            sample_id=sample_id,
            reviewer=reviewer,
            revision=revision,
            at=at,
            status=status,
            labels=dict(labels),
            comment=comment,
            corrected_response=corrected_response,
            seconds_active=seconds_active,
            is_gold=is_gold,
        )
    )
    session.flush()
    return revision


def given_reviews(session: Session, sample_id: str) -> dict[str, Review]:
    """Return each person's last review of the sample."""
    query = select(Review).where(col(Review.sample_id) == sample_id).order_by(col(Review.revision))
    return {row.reviewer: row for row in session.execute(query).scalars()}


def sample_of(session: Session, sample_id: str, *, lock: bool = False) -> Sample | None:
    """Return the sample."""
    query = select(Sample).where(col(Sample.id) == sample_id)
    return session.execute(query.with_for_update() if lock else query).scalar_one_or_none()


def set_human(
    session: Session,
    sample: Sample,
    *,
    score: float | None,
    passed: bool | None,
    state: str,
    at: datetime | None,
) -> None:
    """Note on the sample what people have come to, and where the item stands."""
    sample.human_score, sample.human_passed, sample.review_state = score, passed, state
    if sample.reviewed_at is None:
        sample.reviewed_at = at
    session.add(sample)


def gold_of(session: Session, sample_id: str) -> GoldItem | None:
    """Return the gold labels of a sample that is gold now."""
    query = select(GoldItem).where(
        col(GoldItem.sample_id) == sample_id, col(GoldItem.retired_at).is_(None)
    )
    return session.execute(query).scalar_one_or_none()


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
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
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
        insert(GoldItem)
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


def open_samples(session: Session, rubric_id: str, limit: int) -> list[Sample]:
    """Return samples that want reviews, the oldest first."""
    query = (
        select(Sample)
        .where(col(Sample.rubric_id) == rubric_id, col(Sample.review_state) == OPEN)
        .order_by(col(Sample.id))
        .limit(limit)
    )
    return list(session.execute(query).scalars())


def _seats(session: Session, sample_id: str) -> int:
    query = select(func.count()).where(col(ReviewSeat.sample_id) == sample_id)
    return int(session.execute(query).scalar_one())


def _held_by(session: Session, rubric_id: str, reviewer: str, now: datetime) -> Lease | None:
    query = (
        select(Sample, col(ReviewSeat.token), col(ReviewSeat.leased_until))
        .join(ReviewSeat, col(ReviewSeat.sample_id) == col(Sample.id))
        .where(
            col(ReviewSeat.reviewer) == reviewer,
            col(ReviewSeat.leased_until) >= now,
            col(Sample.rubric_id) == rubric_id,
        )
        .limit(1)
    )
    row = session.execute(query).first()
    return None if row is None else _lease(row[0], row[1], row[2])


def _take(
    session: Session,
    sample: Sample,
    reviewer: str,
    until: datetime | None,
    *,
    token: str | None = None,
) -> Lease:
    query = select(col(ReviewSeat.seat)).where(col(ReviewSeat.sample_id) == sample.id)
    taken = set(session.execute(query).scalars())
    seat = next(number for number in range(len(taken) + 1) if number not in taken)
    token = token or uuid7()
    session.add(
        ReviewSeat(
            sample_id=sample.id, seat=seat, reviewer=reviewer, token=token, leased_until=until
        )
    )
    session.flush()
    return _lease(sample, token, until or sample.drawn_at)


def _lease(sample: Sample, token: str, until: datetime) -> Lease:
    return Lease(
        sample.id, sample.inference_id, sample.rubric_id, sample.rubric_text_id, token, until
    )
