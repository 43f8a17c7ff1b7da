"""Who has which sample to review.

A sample wants N reviews; each is a seat. A seat is leased, and kept by who submits. The primary
key (sample, seat) and the unique (sample, reviewer) decide every race, so no item is reviewed more
often than it wants, and by nobody twice. A lease that has ended leaves its seat free; the row stays
until another takes it, so that whoever had it can still be told from whoever never had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Executable,
    Select,
    bindparam,
    delete,
    exists,
    func,
    select,
    update,
)
from sqlmodel import Session, col

from llm_canary.ids import uuid7
from llm_canary.storage.models.grading import GoldItem, Review, ReviewSeat, Sample
from llm_canary.storage.repositories.grading_order import of_turn, too_late, turns
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
    row = session.execute(_held(), {"rubric_id": rubric_id, "who": reviewer, "now": now}).first()
    return None if row is None else _lease(row[0], row[1], row[2])


def claim_review(
    session: Session, rubric_id: str, reviewer: str, now: datetime, *, lease_s: float
) -> Lease | None:
    """Lease the next sample to the reviewer, who holds none; None: nothing is left.

    One statement at a time in the caller's transaction: SQLite lets one writer in, PostgreSQL locks
    the sample and passes over those that others have locked.
    """
    which: dict[str, Any] = {"rubric_id": rubric_id, "who": reviewer, "now": now}
    in_turn = turns(f"{reviewer}/{now.isoformat()}", now, lease_s)
    while (sample := _next_open(session, which, in_turn)) is not None:
        # What another has taken between our look and our lock is seen only now.
        known = _seats(session, sample.id)
        others = sum(
            each.reviewer != reviewer and (each.leased_until is None or each.leased_until >= now)
            for each in known
        )
        if others < sample.reviews_wanted:
            until = now + timedelta(seconds=lease_s)
            return _take(session, sample, known, reviewer, until, room=sample.reviews_wanted)
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
            ~_has_been_here(),
        )
        .order_by(col(Sample.id))
        .limit(1)
    )
    sample = session.execute(query, {"who": reviewer}).scalar_one_or_none()
    if sample is None:
        return None
    known = _seats(session, sample.id)
    return _take(session, sample, known, reviewer, now + timedelta(seconds=lease_s), room=None)


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
    facts = {
        "sample": sample.id,
        "who": reviewer,
        "lease": token,
        "now": now,
        "wanted": sample.reviews_wanted,
    }
    return bool(session.execute(_keep(), facts).rowcount)  # type: ignore[attr-defined]


def give_seat(session: Session, sample: Sample, reviewer: str) -> None:
    """Give a review without a lease, as imports do; it may be one more than was wanted."""
    known = _seats(session, sample.id)
    own = next((each for each in known if each.reviewer == reviewer), None)
    if own is None:
        _insert(session, sample, known, reviewer, None)
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


def _next_open(
    session: Session, which: Mapping[str, Any], in_turn: Sequence[Mapping[str, Any]]
) -> Sample | None:
    """Return what the reviewer may have: of what is late only where nothing else is left."""
    for query, turn in (*((_in_time(), turn) for turn in in_turn), (_any(), {}), (_last(), {})):
        sample: Sample | None = session.execute(query, {**which, **turn}).scalar_one_or_none()
        if sample is not None:
            return sample
    return None


# The statements of claiming and submitting are made once: making one takes as long as asking it.


@cache
def _held() -> Select[Sample, str, datetime | None]:
    return (
        select(Sample, col(ReviewSeat.token), col(ReviewSeat.leased_until))
        .join(ReviewSeat, col(ReviewSeat.sample_id) == col(Sample.id))
        .where(
            col(ReviewSeat.reviewer) == bindparam("who"),
            col(ReviewSeat.leased_until) >= bindparam("now"),
            col(Sample.rubric_id) == bindparam("rubric_id"),
        )
        .limit(1)
    )


@cache
def _free() -> Select[Sample]:
    taken = (
        select(func.count())
        .where(col(ReviewSeat.sample_id) == col(Sample.id), _is_taken())
        .correlate(Sample)
        .scalar_subquery()
    )
    return (
        select(Sample)
        .where(
            col(Sample.rubric_id) == bindparam("rubric_id"),
            col(Sample.review_state) == OPEN,
            taken < col(Sample.reviews_wanted),
            ~_has_been_here(),
        )
        .limit(1)
    )


@cache
def _in_time() -> Select[Sample]:
    return of_turn(_free()).with_for_update(skip_locked=True)


@cache
def _any() -> Select[Sample]:
    return too_late(_free()).with_for_update(skip_locked=True)


@cache
def _last() -> Select[Sample]:
    # Nothing is free of locks: wait for those who are about to take one, and may leave a seat.
    return too_late(_free()).with_for_update()


@cache
def _keep() -> Executable:
    has_room = _count_of_others().scalar_subquery() < bindparam("wanted")
    return (
        update(ReviewSeat)
        .where(
            col(ReviewSeat.sample_id) == bindparam("sample"),
            col(ReviewSeat.reviewer) == bindparam("who"),
            col(ReviewSeat.token) == bindparam("lease"),
            _is_taken() | has_room,
        )
        .values(leased_until=None)
        .execution_options(synchronize_session=False)
    )


@cache
def _all_seats() -> Select[ReviewSeat]:
    return select(ReviewSeat).where(col(ReviewSeat.sample_id) == bindparam("sample"))


@cache
def _count_of_others() -> Select[int]:
    query = select(func.count()).where(
        col(ReviewSeat.sample_id) == bindparam("sample"),
        col(ReviewSeat.reviewer) != bindparam("who"),
        _is_taken(),
    )
    return query.correlate(None)  # also where it is part of a statement about the same table


def _is_taken() -> ColumnElement[bool]:
    return col(ReviewSeat.leased_until).is_(None) | (
        col(ReviewSeat.leased_until) >= bindparam("now")
    )


def _has_been_here() -> ColumnElement[bool]:
    return (
        exists()
        .where(
            col(Review.sample_id) == col(Sample.id),
            col(Review.reviewer) == bindparam("who"),
        )
        .correlate(Sample)
    )


def _seats(session: Session, sample_id: str) -> list[ReviewSeat]:
    return list(session.execute(_all_seats(), {"sample": sample_id}).scalars())


def _others(session: Session, sample_id: str, reviewer: str, now: datetime) -> int:
    """Return how many seats others have taken."""
    whose = {"sample": sample_id, "who": reviewer, "now": now}
    return int(session.execute(_count_of_others(), whose).scalar_one())


def _take(
    session: Session,
    sample: Sample,
    known: Sequence[ReviewSeat],
    reviewer: str,
    until: datetime,
    *,
    room: int | None,
) -> Lease:
    """Lease a seat; one whose lease has ended goes first to who had it, then to anybody.

    `room` is how many seats there are, None for any number.
    """
    own = next((each for each in known if each.reviewer == reviewer), None)
    if own is not None:
        own.token, own.leased_until = uuid7(), until
        session.add(own)
        session.flush()
        return _lease(sample, own.token, until)
    if room is not None and len(known) >= room:
        ended = min(
            (each for each in known if each.leased_until is not None),
            key=lambda each: each.leased_until or until,
        )
        session.delete(ended)
        session.flush()
        known = [each for each in known if each is not ended]
    return _insert(session, sample, known, reviewer, until)


def _insert(
    session: Session,
    sample: Sample,
    known: Sequence[ReviewSeat],
    reviewer: str,
    until: datetime | None,
) -> Lease:
    taken = {each.seat for each in known}
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
