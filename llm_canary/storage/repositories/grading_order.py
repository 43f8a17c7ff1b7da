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


def people_first() -> ColumnElement[str]:
    """Return what people are asked first, of what may count; `in_turn` gives the parameters.

    Answers that were drawn by chance, because gates read nothing else: those that leave time for a
    lease, then the others. Then what is only worth a look. A second review before a new answer.
    """
    stream = col(Sample.review_stream)
    by_chance = stream == Stream.PROBABILITY.value
    leaves_time = col(Sample.closes_at) > bindparam("lease_ends")
    turn = case(
        (by_chance & leaves_time, "0"),
        (by_chance, "1"),
        (stream == bindparam("turn"), "2"),
        else_="3",
    )
    is_new = case((col(Sample.reviewed_at).is_(None), "1"), else_="0")
    return turn + is_new + _lot(25)  # one text: PostgreSQL sorts it twice as fast as three columns


def in_turn(claim: str, now: datetime, lease_s: float) -> dict[str, Any]:
    """Return the parameters of `people_first` for one claim."""
    is_doubted = place(claim, "stream") < _DOUBTED / (_DOUBTED + _TARGETED)
    turn = UNCERTAIN if is_doubted else Stream.TARGETED.value
    return {"turn": turn, "lease_ends": now + timedelta(seconds=lease_s)}


def turns(claim: str, now: datetime, lease_s: float) -> list[dict[str, Any]]:
    """Return the parameters of `next_of_turn`, turn by turn as `people_first` has them."""
    lease_ends = now + timedelta(seconds=lease_s)
    chance, targeted = Stream.PROBABILITY.value, Stream.TARGETED.value
    first = in_turn(claim, now, lease_s)["turn"]
    looks = (first, targeted if first == UNCERTAIN else UNCERTAIN)
    return [
        {"stream": chance, "after": lease_ends},
        *({"stream": each, "after": now} for each in (chance, *looks)),
    ]


def next_of_turn(query: Select[Sample]) -> Select[Sample]:
    """Narrow `query` to one turn and order it so, by an index: the whole queue is not sorted."""
    return query.where(
        col(Sample.review_stream) == bindparam("stream"),
        # Not the bare column: SQLite would go by the index of it, and sort.
        func.coalesce(col(Sample.closes_at), col(Sample.closes_at)) > bindparam("after"),
        ~_is_of_ended(),
    ).order_by(col(Sample.reviewed_at).is_not(None).desc(), _lot(25))


def judges_first() -> ColumnElement[str]:
    """Return what judges are asked first: what gates read, then what is only worth a look."""
    is_targeted = case((col(Sample.stream) == Stream.PROBABILITY.value, "0"), else_="1")
    return is_targeted + _lot(18)


def _is_of_ended() -> ColumnElement[bool]:
    ended = select(col(Rollout.id)).where(col(Rollout.ended_at).is_not(None))
    return func.coalesce(col(Sample.rollout_id), "").in_(ended)


def _lot(begin: int) -> ColumnElement[str]:
    # The first digits of an id are a time, and the 13th and 17th say that it is a UUIDv7.
    # Literals, so that the database knows the expression of its index again.
    return func.substr(col(Sample.id), literal_column(str(begin)), literal_column("7"))
