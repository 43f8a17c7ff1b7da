"""Who has which sample to review.

A sample wants N reviews; each is a seat. A seat is leased, and kept by who submits. The primary
key (sample, seat) and the unique (sample, reviewer) decide every race, so no item is reviewed more
often than it wants, and by nobody twice. A lease that has ended leaves its seat free; the row stays
until another takes it, so that whoever had it can still be told from whoever never had.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlmodel import Session, col

from llm_canary.ids import uuid7
from llm_canary.storage.models.grading import GoldItem, Review, ReviewSeat, Sample
from llm_canary.storage.repositories.reviews import OPEN


class Lease(NamedTuple):
    """A reviewer's hold on one sample."""

    sample_id: str
    inference_id: str
    rubric_id: str
    rubric_text_id: str
    token: str
    leased_until: datetime


def held_by(session: Session, rubric_id: str, reviewer: str, now: datetime) -> Lease | None:
    """Return what the reviewer holds, of either kind."""
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


def claim_review(
    session: Session, rubric_id: str, reviewer: str, now: datetime, *, lease_s: float
) -> Lease | None:
    """Lease the next sample to the reviewer, who holds none; None: nothing is left.

    One statement at a time in the caller's transaction: SQLite lets one writer in, PostgreSQL locks
    the sample and passes over those that others have locked.
    """
    taken = (
        select(func.count())
        .where(col(ReviewSeat.sample_id) == col(Sample.id), _is_taken(now))
        .correlate(Sample)
        .scalar_subquery()
    )
    query = (
        select(Sample)
        .where(
            col(Sample.rubric_id) == rubric_id,
            col(Sample.review_state) == OPEN,
            taken < col(Sample.reviews_wanted),
            ~_has_been_here(reviewer),
        )
        .order_by(col(Sample.id))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    while (sample := session.execute(query).scalar_one_or_none()) is not None:
        # What another has taken between our look and our lock is seen only now.
        if _others(session, sample.id, reviewer, now) < sample.reviews_wanted:
            return _take(session, sample, reviewer, now + timedelta(seconds=lease_s))
    return None


def claim_gold(
    session: Session, rubric_id: str, reviewer: str, now: datetime, *, lease_s: float
) -> Lease | None:
    """Lease a gold sample that the reviewer has not graded; any number may grade it."""
    query = (
        select(Sample)
        .join(GoldItem, col(GoldItem.sample_id) == col(Sample.id))
        .where(
            col(Sample.rubric_id) == rubric_id,
            col(GoldItem.retired_at).is_(None),
            ~_has_been_here(reviewer),
        )
        .order_by(col(Sample.id))
        .limit(1)
    )
    sample = session.execute(query).scalar_one_or_none()
    if sample is None:
        return None
    return _take(session, sample, reviewer, now + timedelta(seconds=lease_s), is_gold=True)


def extend(session: Session, sample: Sample, token: str, now: datetime, until: datetime) -> bool:
    """Hold the lease until `until`; False when it is another's by now."""
    query = select(ReviewSeat).where(
        col(ReviewSeat.sample_id) == sample.id, col(ReviewSeat.token) == token
    )
    own = session.execute(query).scalar_one_or_none()
    if own is None or own.leased_until is None:
        return False
    others = _others(session, sample.id, own.reviewer, now)
    if own.leased_until < now and others >= sample.reviews_wanted:
        return False
    own.leased_until = until
    session.add(own)
    return True


def keep_seat(session: Session, sample: Sample, reviewer: str, token: str, now: datetime) -> bool:
    """Turn the lease into a given review; one that has ended counts while a seat is still free."""
    own = _seat_of(session, sample.id, reviewer)
    if own is None or own.token != token:
        return False
    has_ended = own.leased_until is not None and own.leased_until < now
    if has_ended and _others(session, sample.id, reviewer, now) >= sample.reviews_wanted:
        return False
    own.leased_until = None
    session.add(own)
    return True


def give_seat(session: Session, sample: Sample, reviewer: str) -> None:
    """Give a review without a lease, as imports do; it may be one more than was wanted."""
    own = _seat_of(session, sample.id, reviewer)
    if own is None:
        _insert(session, sample, reviewer, None)
        return
    own.leased_until = None
    session.add(own)


def free_seat(session: Session, sample_id: str, reviewer: str, token: str) -> bool:
    """Give the lease back."""
    statement = delete(ReviewSeat).where(
        col(ReviewSeat.sample_id) == sample_id,
        col(ReviewSeat.reviewer) == reviewer,
        col(ReviewSeat.token) == token,
        col(ReviewSeat.leased_until).is_not(None),
    )
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def _is_taken(now: datetime) -> ColumnElement[bool]:
    return col(ReviewSeat.leased_until).is_(None) | (col(ReviewSeat.leased_until) >= now)


def _has_been_here(reviewer: str) -> ColumnElement[bool]:
    return (
        exists()
        .where(col(Review.sample_id) == col(Sample.id), col(Review.reviewer) == reviewer)
        .correlate(Sample)
    )


def _seat_of(session: Session, sample_id: str, reviewer: str) -> ReviewSeat | None:
    query = select(ReviewSeat).where(
        col(ReviewSeat.sample_id) == sample_id, col(ReviewSeat.reviewer) == reviewer
    )
    return session.execute(query).scalar_one_or_none()


def _others(session: Session, sample_id: str, reviewer: str, now: datetime) -> int:
    """Return how many seats others have taken."""
    query = select(func.count()).where(
        col(ReviewSeat.sample_id) == sample_id,
        col(ReviewSeat.reviewer) != reviewer,
        _is_taken(now),
    )
    return int(session.execute(query).scalar_one())


def _take(
    session: Session, sample: Sample, reviewer: str, until: datetime, *, is_gold: bool = False
) -> Lease:
    """Lease a seat; one whose lease has ended goes first to who had it, then to anybody."""
    own = _seat_of(session, sample.id, reviewer)
    if own is not None:
        own.token, own.leased_until = uuid7(), until
        session.add(own)
        session.flush()
        return _lease(sample, own.token, until)
    query = (
        select(ReviewSeat)
        .where(col(ReviewSeat.sample_id) == sample.id)
        .order_by(col(ReviewSeat.leased_until))
    )
    seats = session.execute(query).scalars().all()
    if not is_gold and len(seats) >= sample.reviews_wanted:
        session.delete(next(each for each in seats if each.leased_until is not None))
        session.flush()
    return _insert(session, sample, reviewer, until)


def _insert(session: Session, sample: Sample, reviewer: str, until: datetime | None) -> Lease:
    query = select(col(ReviewSeat.seat)).where(col(ReviewSeat.sample_id) == sample.id)
    taken = set(session.execute(query).scalars())
    seat = next(number for number in range(len(taken) + 1) if number not in taken)
    token = uuid7()
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
