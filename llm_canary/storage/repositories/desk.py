"""What a reviewer has before them: the lease, the draft, what they did last, and flags."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col

from llm_canary.ids import uuid7
from llm_canary.storage.models.grading import Judgement, Review, ReviewSeat, Sample
from llm_canary.storage.models.reviewing import ReviewDraft, ReviewFlag, ReviewReveal
from llm_canary.storage.repositories.review_seats import give_seat
from llm_canary.storage.repositories.reviews import SKIPPED, gold_of


class Seat(NamedTuple):
    """A reviewer's seat on a sample; `leased_until` None: the review is given."""

    token: str
    leased_until: datetime | None


class Draft(NamedTuple):
    """What a reviewer has entered and not submitted."""

    revision: int
    saved_at: datetime
    labels: Mapping[str, Any]
    comment: str = ""
    corrected_response: str = ""
    is_flagged: bool = False
    seconds_active: float = 0.0


class Given(NamedTuple):
    """One revision of a review, with the sample that it is about."""

    id: str
    sample_id: str
    rubric_id: str
    reviewer: str
    revision: int
    at: datetime
    status: str
    labels: Mapping[str, Any]
    comment: str | None
    corrected_response: str | None
    seconds_active: float | None
    is_gold: bool


def seat_of(session: Session, sample_id: str, reviewer: str) -> Seat | None:
    """Return the seat that the reviewer has or had on the sample."""
    query = select(col(ReviewSeat.token), col(ReviewSeat.leased_until)).where(
        col(ReviewSeat.sample_id) == sample_id, col(ReviewSeat.reviewer) == reviewer
    )
    row = session.execute(query).first()
    return None if row is None else Seat(row[0], row[1])


def lease_again(
    session: Session, sample: Sample, reviewer: str, now: datetime, until: datetime
) -> bool:
    """Lease this very sample to the reviewer; False when all its seats are others'.

    Their own seat is theirs again, also a given one; any number may grade gold.
    """
    session.execute(
        delete(ReviewSeat).where(
            col(ReviewSeat.sample_id) == sample.id,
            col(ReviewSeat.reviewer) != reviewer,
            col(ReviewSeat.leased_until) < now,
        )
    )
    is_own = seat_of(session, sample.id, reviewer) is not None
    query = select(func.count()).where(col(ReviewSeat.sample_id) == sample.id)
    is_full = int(session.execute(query).scalar_one()) >= sample.reviews_wanted
    is_gold = gold_of(session, sample.id) is not None
    if is_full and not is_own and not is_gold:
        return False
    give_seat(session, sample, reviewer)
    session.execute(
        update(ReviewSeat)
        .where(col(ReviewSeat.sample_id) == sample.id, col(ReviewSeat.reviewer) == reviewer)
        .values(token=uuid7(), leased_until=until)
        .execution_options(synchronize_session=False)
    )
    return True


def draft_of(session: Session, sample_id: str, reviewer: str) -> Draft | None:
    """Return the reviewer's draft."""
    row = session.get(ReviewDraft, (sample_id, reviewer))
    if row is None:
        return None
    return Draft(
        row.revision,
        row.saved_at,
        row.labels,
        row.comment,
        row.corrected_response,
        row.is_flagged,
        row.seconds_active,
    )


def begin_draft(session: Session, sample_id: str, reviewer: str, at: datetime) -> None:
    """Leave an empty draft where there is none: a lost lease leaves no other trace of its holder.

    By it a late submission is known to be of somebody who held the item, and is kept.
    """
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    values: dict[str, Any] = Draft(0, at, {})._asdict()
    statement = insert(ReviewDraft).values(sample_id=sample_id, reviewer=reviewer, **values)
    session.execute(statement.on_conflict_do_nothing())


def put_draft(
    session: Session, sample_id: str, reviewer: str, draft: Draft, *, known: int | None
) -> bool:
    """Store a draft over the revision that its author knows, None for whichever there is.

    False when there is a newer one by now.
    """
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    values: dict[str, Any] = draft._asdict() | {"labels": dict(draft.labels)}
    statement = insert(ReviewDraft).values(sample_id=sample_id, reviewer=reviewer, **values)
    stored = statement.on_conflict_do_update(
        index_elements=["sample_id", "reviewer"],
        set_=values,
        where=None if known is None else col(ReviewDraft.revision) == known,
    ).returning(col(ReviewDraft.revision))
    return session.execute(stored).first() is not None


def drop_draft(session: Session, sample_id: str, reviewer: str) -> None:
    """Forget the reviewer's draft."""
    session.execute(
        delete(ReviewDraft).where(
            col(ReviewDraft.sample_id) == sample_id, col(ReviewDraft.reviewer) == reviewer
        )
    )


def drafts_of(session: Session, reviewer: str) -> list[tuple[str, str, datetime]]:
    """Return sample, rubric and time of the drafts that the reviewer has left, newest first."""
    query = (
        select(col(ReviewDraft.sample_id), col(Sample.rubric_id), col(ReviewDraft.saved_at))
        .join(Sample, col(Sample.id) == col(ReviewDraft.sample_id))
        .where(col(ReviewDraft.reviewer) == reviewer, col(ReviewDraft.revision) > 0)
        .order_by(col(ReviewDraft.saved_at).desc())
        .limit(20)
    )
    return [(row[0], row[1], row[2]) for row in session.execute(query)]


def put_flag(session: Session, sample_id: str, reviewer: str, at: datetime) -> None:
    """Ask for a look at the sample; asked again it stays as it is, unless somebody has looked."""
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    row = {"sample_id": sample_id, "reviewer": reviewer, "at": at, "settled_at": None}
    session.execute(
        insert(ReviewFlag)
        .values(row)
        .on_conflict_do_update(
            index_elements=["sample_id", "reviewer"],
            set_={"at": at, "settled_at": None},
            where=col(ReviewFlag.settled_at).is_not(None),
        )
    )


def settle_flags(session: Session, sample_id: str, at: datetime) -> int:
    """Note that somebody has looked; return how many had asked."""
    statement = (
        update(ReviewFlag)
        .where(col(ReviewFlag.sample_id) == sample_id, col(ReviewFlag.settled_at).is_(None))
        .values(settled_at=at)
        .execution_options(synchronize_session=False)
    )
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def put_reveal(session: Session, sample_id: str, reviewer: str, at: datetime) -> None:
    """Note that the reviewer is shown what others said; the first time counts."""
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    row = {"sample_id": sample_id, "reviewer": reviewer, "at": at}
    session.execute(insert(ReviewReveal).values(row).on_conflict_do_nothing())


def revealed_at(session: Session, sample_id: str, reviewer: str) -> datetime | None:
    """Return when the reviewer was shown what others said."""
    row = session.get(ReviewReveal, (sample_id, reviewer))
    return None if row is None else row.at


def last_given(session: Session, reviewer: str) -> Given | None:
    """Return the last revision that the reviewer has given, skips left out."""
    query = (
        select(Review, col(Sample.rubric_id))
        .join(Sample, col(Sample.id) == col(Review.sample_id))
        .where(col(Review.reviewer) == reviewer, col(Review.status) != SKIPPED)
        .order_by(col(Review.at).desc(), col(Review.id).desc())
        .limit(1)
    )
    row = session.execute(query).first()
    return None if row is None else _given(row[0], row[1])


def given_by(
    session: Session, reviewer: str, *, before: str | None = None, limit: int = 50
) -> list[Given]:
    """Return every revision that the reviewer has given, the newest first."""
    query = (
        select(Review, col(Sample.rubric_id))
        .join(Sample, col(Sample.id) == col(Review.sample_id))
        .where(col(Review.reviewer) == reviewer)
        .order_by(col(Review.at).desc(), col(Review.id).desc())
        .limit(limit)
    )
    if before:
        query = query.where(col(Review.id) < before)
    return [_given(row, rubric_id) for row, rubric_id in session.execute(query)]


def reviews_of(session: Session, sample_id: str) -> list[Given]:
    """Return every revision of everybody's review of the sample, the oldest first."""
    query = (
        select(Review, col(Sample.rubric_id))
        .join(Sample, col(Sample.id) == col(Review.sample_id))
        .where(col(Review.sample_id) == sample_id)
        .order_by(col(Review.at), col(Review.id))
    )
    return [_given(row, rubric_id) for row, rubric_id in session.execute(query)]


def reviewers_known(session: Session) -> list[str]:
    """Return everybody who has reviewed."""
    query = select(col(Review.reviewer)).distinct().order_by(col(Review.reviewer))
    return list(session.execute(query).scalars())


def judged(session: Session, sample: Sample) -> Mapping[str, Any] | None:
    """Return the grades of the judge whose word the sample has, None without one."""
    if sample.judge_id is None:
        return None
    query = select(col(Judgement.grades)).where(
        col(Judgement.sample_id) == sample.id, col(Judgement.judge_id) == sample.judge_id
    )
    return session.execute(query).scalar_one_or_none()


def _given(row: Review, rubric_id: str) -> Given:
    return Given(
        row.id,
        row.sample_id,
        rubric_id,
        row.reviewer,
        row.revision,
        row.at,
        row.status,
        row.labels,
        row.comment,
        row.corrected_response,
        row.seconds_active,
        row.is_gold,
    )
