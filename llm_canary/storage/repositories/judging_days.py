"""What judges may still cost today: reserved before a call, settled after it, for all workers."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col

from llm_canary.storage.models.grading import JudgingDay

_FIRST_PART = 10  # before any cost is known, so much of what is left is reserved at most


class Day(NamedTuple):
    """One UTC day; money in nano-dollars."""

    day: str
    reserved_nanousd: int = 0
    spent_nanousd: int = 0
    dearest_nanousd: int = 0
    judged: int = 0
    unknown_cost: int = 0


class Reserved(NamedTuple):
    """What one batch may cost, and the dearest judgement so far."""

    nanousd: int
    dearest_nanousd: int


def day_of(at: datetime) -> str:
    """Return the UTC day."""
    return at.strftime("%Y-%m-%d")


def reserve(session: Session, day: str, limit_nanousd: int, count: int) -> Reserved | None:
    """Reserve for `count` judgements what they may cost, less where less is left; None: nothing.

    What a worker that dies has reserved stays reserved until the day is over.
    """
    _ensure(session, day)
    query = select(JudgingDay).where(col(JudgingDay.day) == day).with_for_update()
    row = session.execute(query).scalar_one()
    free = limit_nanousd - row.spent_nanousd - row.reserved_nanousd
    dearest = row.dearest_nanousd
    wanted = dearest * count if dearest else max(free // _FIRST_PART, 1)
    granted = min(wanted, free)
    if granted <= 0 or granted < dearest:
        return None
    row.reserved_nanousd += granted
    session.add(row)
    return Reserved(granted, dearest)


def settle(  # noqa: PLR0913 - the columns
    session: Session,
    day: str,
    *,
    reserved_nanousd: int,
    spent_nanousd: int,
    dearest_nanousd: int,
    judged: int,
    unknown_cost: int,
) -> None:
    """Replace a reservation by what was spent."""
    _ensure(session, day)
    known = col(JudgingDay.dearest_nanousd)
    session.execute(
        update(JudgingDay)
        .where(col(JudgingDay.day) == day)
        .values(
            reserved_nanousd=col(JudgingDay.reserved_nanousd) - reserved_nanousd,
            spent_nanousd=col(JudgingDay.spent_nanousd) + spent_nanousd,
            judged=col(JudgingDay.judged) + judged,
            unknown_cost=col(JudgingDay.unknown_cost) + unknown_cost,
        )
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(JudgingDay)
        .where(col(JudgingDay.day) == day, known < dearest_nanousd)
        .values(dearest_nanousd=dearest_nanousd)
        .execution_options(synchronize_session=False)
    )


def days(session: Session, limit: int = 31) -> list[Day]:
    """Return the latest days, the newest first."""
    query = select(JudgingDay).order_by(col(JudgingDay.day).desc()).limit(limit)
    return [Day(**row.model_dump()) for row in session.execute(query).scalars()]


def mean_nanousd(session: Session) -> float | None:
    """Return what a judgement has cost on average on the last two days; None: nobody knows."""
    latest = days(session, 2)
    judged = sum(each.judged - each.unknown_cost for each in latest)
    return sum(each.spent_nanousd for each in latest) / judged if judged > 0 else None


def _ensure(session: Session, day: str) -> None:
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    row = Day(day)._asdict()
    session.execute(insert(JudgingDay).values(row).on_conflict_do_nothing())
