"""In which order drawn answers are graded, by people and by judges alike.

What can still count goes first: the window is open and the rollout runs. Where not all of it can
be graded in time, a lot decides what is: the random digits of the sample's id. So a part of the
work is a part of the answers, evenly over arms, texts and hours, as if fewer had been drawn; the
oldest first would spend all work on answers that are about to be too late, and the newest first
would leave out the hours in which nobody works.

People and judges draw different lots. With one lot people would have graded more of the judged
answers than of all, and the correction by their reply rate (`rollout/graded.py`) would be wrong.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, case, func, literal_column, select
from sqlmodel import col

from llm_canary.sampling import Stream, place
from llm_canary.storage.models.grading import Sample
from llm_canary.storage.models.rollouts import Rollout

UNCERTAIN = "uncertain"  # the judge was in doubt
_DOUBTED, _TARGETED = 0.25, 0.10  # of what people are asked, beside what was drawn by chance


def may_count() -> ColumnElement[bool]:
    """Say whether a gate may still read a grade that is given `now`."""
    return (col(Sample.closes_at) > bindparam("now")) & ~_is_of_ended()


def turns(claim: str, now: datetime, lease_s: float) -> list[dict[str, Any]]:
    """Return the parameters of `of_turn`, one turn after the other, for one claim.

    Answers that were drawn by chance, because gates read nothing else: those that leave time for a
    lease, then the others. Then what is only worth a look.
    """
    chance, looks = Stream.PROBABILITY.value, [UNCERTAIN, Stream.TARGETED.value]
    if place(claim, "stream") >= _DOUBTED / (_DOUBTED + _TARGETED):
        looks.reverse()
    return [
        {"stream": chance, "after": now + timedelta(seconds=lease_s)},
        *({"stream": each, "after": now} for each in (chance, *looks)),
    ]


def of_turn(query: Select[Sample]) -> Select[Sample]:
    """Narrow `query` to one turn: a second review before a new answer, and by lot among them.

    An index has them in this order: the whole queue is not sorted.
    """
    return query.where(
        col(Sample.review_stream) == bindparam("stream"),
        # Not the bare column: SQLite would go by the index of it, and sort.
        func.coalesce(col(Sample.closes_at), col(Sample.closes_at)) > bindparam("after"),
        ~_is_of_ended(),
    ).order_by(col(Sample.reviewed_at).is_not(None).desc(), _lot(25))


def too_late(query: Select[Sample]) -> Select[Sample]:
    """Order `query` as what is left when no turn has any: the latest window first."""
    return query.order_by(col(Sample.closes_at).desc())


def judges_first() -> ColumnElement[str]:
    """Return what judges are asked first: what gates read, what is worth a look, what is late."""
    is_late = case((may_count(), "0"), else_="1")
    is_targeted = case((col(Sample.stream) == Stream.PROBABILITY.value, "0"), else_="1")
    return is_late + is_targeted + _lot(18)


def _is_of_ended() -> ColumnElement[bool]:
    ended = select(col(Rollout.id)).where(col(Rollout.ended_at).is_not(None))
    return func.coalesce(col(Sample.rollout_id), "").in_(ended)


def _lot(begin: int) -> ColumnElement[str]:
    # The first digits of an id are a time, and the 13th and 17th say that it is a UUIDv7.
    # Literals, so that the database knows the expression of its index again.
    return func.substr(col(Sample.id), literal_column(str(begin)), literal_column("7"))
