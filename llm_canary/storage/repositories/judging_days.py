"""What judges may still cost today: reserved before a call, settled after it, for all workers."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col

from llm_canary.storage.models.grading import JudgingDay

_PART = 10  # of what is free one batch reserves so much at most: it may die with it


class Day(NamedTuple):
    """One UTC day; money in nano-dollars."""

    day: str
    reserved_nanousd: int = 0
    spent_nanousd: int = 0
    dearest_nanousd: int = 0
    judged: int = 0  # answers
    calls: int = 0
    unknown_cost: int = 0  # of these


class Reserved(NamedTuple):
    """What one batch may cost, and the dearest judgement so far."""

    nanousd: int
    dearest_nanousd: int


class NoMoney(Enum):
    """Why nothing was reserved."""

    SPENT = "spent"
    RESERVED = "reserved"  # for calls under way, which may cost less, or of a worker that died


def day_of(at: datetime) -> str:
    """Return the UTC day."""
    return at.strftime("%Y-%m-%d")


def reserve(session: Session, day: str, limit_nanousd: int, count: int) -> Reserved | NoMoney:
    """Reserve for `count` judgements what they may cost, less where less is left.

    What a worker that dies has reserved stays reserved until the day is over; a batch gets a tenth
    of what is free at most, but the dearest judgement so far always.
    """
    _ensure(session, day)
    query = select(JudgingDay).where(col(JudgingDay.day) == day).with_for_update()
    row = session.execute(query).scalar_one()
    left = limit_nanousd - row.spent_nanousd
    dearest = row.dearest_nanousd
    least = max(dearest, 1)
    if left < least:
        return NoMoney.SPENT
    free = left - row.reserved_nanousd
    if free < least:
        return NoMoney.RESERVED
    most = max(free // _PART, least)
    granted = min(dearest * count, most) if dearest else most
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
    calls: int,
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
            calls=col(JudgingDay.calls) + calls,
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
    """Return what judging an answer has cost on average on the last two days; None: nobody knows.

    An answer may take several calls; what a call of unknown cost has cost is taken to be usual.
    """
    latest = days(session, 2)
    calls, judged = sum(each.calls for each in latest), sum(each.judged for each in latest)
    known = calls - sum(each.unknown_cost for each in latest)
    if not known or not judged:
        return None
    return sum(each.spent_nanousd for each in latest) / known * calls / judged


def _ensure(session: Session, day: str) -> None:
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    row = Day(day)._asdict()
    session.execute(insert(JudgingDay).values(row).on_conflict_do_nothing())
