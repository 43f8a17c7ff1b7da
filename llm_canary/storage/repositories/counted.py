"""Which reviews count: each person's last blind one, of nobody who is excluded, unless retracted.

A revision made after its author was shown what the judge and others said is kept, and counts for
nothing: it would carry the judge's opinion into what the judge is measured by.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, delete, exists, func, select, true
from sqlmodel import Session, col

from llm_canary.ids import uuid7
from llm_canary.storage.models.grading import GoldItem, Review, ReviewSeat, Sample
from llm_canary.storage.models.reviewing import (
    Adjudication,
    ReviewerExclusion,
    ReviewFlag,
    ReviewReveal,
)

SUBMITTED, RETRACTED = "submitted", "retracted"
_AT_ONCE = 500  # ids in one statement


class Counted(NamedTuple):
    """What one person said last of a sample, by the columns that count: no text of it."""

    sample_id: str
    reviewer: str
    at: datetime
    status: str
    labels: Mapping[str, Any]
    is_gold: bool


class Exclusion(NamedTuple):
    """A reviewer whose labels do not count, and why."""

    reviewer: str
    at: datetime
    excluded_by: str
    reason: str


class Final(NamedTuple):
    """What was decided about a sample."""

    sample_id: str
    decided_by: str
    at: datetime
    labels: dict[str, Any]
    reason: str
    unclear: tuple[str, ...]


def is_blind() -> ColumnElement[bool]:
    """Return the condition that a review was given before its author was shown others' grades."""
    return ~(
        exists()
        .where(
            col(ReviewReveal.sample_id) == col(Review.sample_id),
            col(ReviewReveal.reviewer) == col(Review.reviewer),
            col(ReviewReveal.at) < col(Review.at),
        )
        .correlate(Review)
    )


def is_included() -> ColumnElement[bool]:
    """Return the condition that the author of a review is not excluded."""
    return ~(
        exists().where(col(ReviewerExclusion.reviewer) == col(Review.reviewer)).correlate(Review)
    )


def counted_reviews(session: Session, sample_ids: Sequence[str]) -> dict[str, dict[str, Counted]]:
    """Return by sample each person's review that counts; a given review of gold is none."""
    found: dict[str, dict[str, Counted]] = defaultdict(dict)
    for start in range(0, len(sample_ids), _AT_ONCE):
        some = sample_ids[start : start + _AT_ONCE]
        for row in session.execute(_counted(), {"sample_ids": some}):
            found[row.sample_id][row.reviewer] = Counted(*row)
    return {
        name: {who: row for who, row in own.items() if row.status == SUBMITTED and not row.is_gold}
        for name, own in found.items()
    }


def same_review(session: Session, sample_id: str, reviewer: str, given: Any) -> int | None:  # noqa: ANN401
    """Return the revision that says the same already, None without one: a form was sent twice."""
    last = last_review(session, sample_id, reviewer)
    if last is None or last.status != SUBMITTED:
        return None
    is_same = (last.labels, last.comment or "", last.corrected_response or "") == (
        dict(given.labels),
        given.comment or "",
        given.corrected_response or "",
    )
    return last.revision if is_same else None


def last_review(session: Session, sample_id: str, reviewer: str) -> Review | None:
    """Return what the reviewer said last of the sample, retractions and skips included."""
    whose = {"sample_id": sample_id, "reviewer": reviewer}
    return session.execute(_last(), whose).scalar_one_or_none()


def exclusion_of(session: Session, reviewer: str) -> Exclusion | None:
    """Return why a reviewer's labels do not count, None where they do."""
    row = session.get(ReviewerExclusion, reviewer)
    return None if row is None else Exclusion(row.reviewer, row.at, row.excluded_by, row.reason)


def exclusions(session: Session) -> list[Exclusion]:
    """Return everybody whose labels do not count."""
    query = select(ReviewerExclusion).order_by(col(ReviewerExclusion.reviewer))
    return [
        Exclusion(row.reviewer, row.at, row.excluded_by, row.reason)
        for row in session.execute(query).scalars()
    ]


def exclude(session: Session, reviewer: str, *, by: str, reason: str, at: datetime) -> None:
    """Let a reviewer's labels count no more."""
    session.add(ReviewerExclusion(reviewer=reviewer, at=at, excluded_by=by, reason=reason))
    session.flush()


def include(session: Session, reviewer: str) -> bool:
    """Let a reviewer's labels count again; False when they did."""
    statement = delete(ReviewerExclusion).where(col(ReviewerExclusion.reviewer) == reviewer)
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def graded_by(session: Session, reviewer: str) -> list[Sample]:
    """Return the samples that a reviewer has graded, locked, in the order in which all lock."""
    graded = (
        exists()
        .where(
            col(Review.sample_id) == col(Sample.id),
            col(Review.reviewer) == reviewer,
            col(Review.status) == SUBMITTED,
            ~col(Review.is_gold),
        )
        .correlate(Sample)
    )
    query = select(Sample).where(graded).order_by(col(Sample.id)).with_for_update()
    return list(session.execute(query).scalars())


def final_of(session: Session, sample_id: str) -> Final | None:
    """Return what was decided last about the sample."""
    row = session.execute(_last_final(), {"sample_id": sample_id}).scalar_one_or_none()
    return None if row is None else _final(row)


def add_final(session: Session, final: Final) -> None:
    """Store what was decided; earlier decisions stay as history."""
    values = final._asdict() | {"labels": dict(final.labels), "unclear": list(final.unclear)}
    session.add(Adjudication(id=uuid7(), **values))
    session.flush()


def to_adjudicate(session: Session, rubric_id: str) -> list[tuple[str, int]]:
    """Return the samples that wait for a decision, the oldest first, and how often skipped."""
    skips = (
        select(func.count())
        .where(col(Review.sample_id) == col(Sample.id), col(Review.status) == "skipped")
        .correlate(Sample)
        .scalar_subquery()
    )
    query = (
        select(col(Sample.id), skips)
        .where(col(Sample.rubric_id) == rubric_id, col(Sample.review_state) == "adjudicate")
        .order_by(col(Sample.id))
    )
    return [(row[0], int(row[1])) for row in session.execute(query)]


def finals(session: Session, limit: int) -> list[Final]:
    """Return what was decided, the newest first."""
    query = select(Adjudication).order_by(col(Adjudication.id).desc()).limit(limit)
    return [_final(row) for row in session.execute(query).scalars()]


def free_seats(session: Session, sample_id: str, reviewer: str) -> None:
    """Give up whatever seat the reviewer has or had on the sample."""
    session.execute(
        delete(ReviewSeat).where(
            col(ReviewSeat.sample_id) == sample_id, col(ReviewSeat.reviewer) == reviewer
        )
    )


def flagged(session: Session, rubric_id: str) -> list[tuple[str, str]]:
    """Return sample and reviewer of flags that nobody has settled, the oldest first."""
    query = (
        select(col(ReviewFlag.sample_id), col(ReviewFlag.reviewer))
        .join(Sample, col(Sample.id) == col(ReviewFlag.sample_id))
        .where(col(Sample.rubric_id) == rubric_id, col(ReviewFlag.settled_at).is_(None))
        .order_by(col(ReviewFlag.at))
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def gold_reviews(
    session: Session, reviewer: str | None, since: datetime
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return reviewer, labels given and right labels of each last blind review of a gold item."""
    last = (
        select(
            col(Review.sample_id), col(Review.reviewer), func.max(col(Review.revision)).label("n")
        )
        .where(
            col(Review.at) >= since,
            col(Review.sample_id).in_(select(col(GoldItem.sample_id))),
            true() if reviewer is None else col(Review.reviewer) == reviewer,
            is_blind(),
        )
        .group_by(col(Review.sample_id), col(Review.reviewer))
        .subquery()
    )
    query = (
        select(col(Review.reviewer), col(Review.labels), col(GoldItem.labels))
        .join(
            last,
            (col(Review.sample_id) == last.c.sample_id)
            & (col(Review.reviewer) == last.c.reviewer)
            & (col(Review.revision) == last.c.n),
        )
        .join(GoldItem, col(GoldItem.sample_id) == col(Review.sample_id))
        .where(
            col(Review.is_gold),
            col(Review.status) == SUBMITTED,
            col(GoldItem.retired_at).is_(None),
        )
    )
    return [(row[0], row[1], row[2]) for row in session.execute(query)]


def samples_of(session: Session, sample_ids: Sequence[str]) -> dict[str, Sample]:
    """Return samples by their ids."""
    query = select(Sample).where(col(Sample.id).in_(sample_ids))
    return {row.id: row for row in session.execute(query).scalars()}


def _final(row: Adjudication) -> Final:
    return Final(row.sample_id, row.decided_by, row.at, row.labels, row.reason, tuple(row.unclear))


# Made once: making a statement takes as long as asking it.


@cache
def _counted() -> Select[Any]:
    return (
        select(*(col(getattr(Review, name)) for name in Counted._fields))
        .where(
            col(Review.sample_id).in_(bindparam("sample_ids", expanding=True)),
            is_blind(),
            is_included(),
        )
        .order_by(col(Review.sample_id), col(Review.revision))
    )


@cache
def _last() -> Select[Review]:
    return (
        select(Review)
        .where(
            col(Review.sample_id) == bindparam("sample_id"),
            col(Review.reviewer) == bindparam("reviewer"),
        )
        .order_by(col(Review.revision).desc())
        .limit(1)
    )


@cache
def _last_final() -> Select[Adjudication]:
    return (
        select(Adjudication)
        .where(col(Adjudication.sample_id) == bindparam("sample_id"))
        .order_by(col(Adjudication.id).desc())
        .limit(1)
    )
