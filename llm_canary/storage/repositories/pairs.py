"""Pairs of answers to the same prompt: who has which, and which answer they prefer.

As with single answers a pair wants N preferences, each is a seat, and the constraints decide who
gets it: no seat twice, nobody twice on one pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col

from llm_canary.ids import uuid7
from llm_canary.storage.dialect import text_size
from llm_canary.storage.models.grading import Sample
from llm_canary.storage.models.inferences import Inference
from llm_canary.storage.models.reviewing import PairPreference, PairSeat, ReviewPair

_TEXTS = 20  # in memory at once, each of up to 256 Ki characters
OPEN, DONE, DROPPED = "open", "done", "dropped"
LIVE = "live"
TIE, BOTH_BAD, CANNOT_ASSESS = "tie", "both_bad", "cannot_assess"


class PairCounts(NamedTuple):
    """How many pairs of a rubric wait for people, and how many are done."""

    open: int = 0
    done: int = 0


class NewPair(NamedTuple):
    """A pair to be stored: with its texts, or with the inferences that have them."""

    rubric_id: str
    rubric_text_id: str
    source: str
    key: str
    messages: list[dict[str, str]] | None = None
    response_a: str | None = None
    response_b: str | None = None
    inference_a: str | None = None
    inference_b: str | None = None
    arm_a: str | None = None
    arm_b: str | None = None
    wanted: int = 1


class PairRecord(NamedTuple):
    """A stored pair."""

    id: str
    rubric_id: str
    rubric_text_id: str | None
    source: str
    messages: list[dict[str, str]] | None
    response_a: str | None
    response_b: str | None
    inference_a: str | None
    inference_b: str | None
    arm_a: str | None
    arm_b: str | None
    state: str


class Preferred(NamedTuple):
    """One person's preference, as the pair is stored."""

    pair_id: str
    arm_a: str | None
    arm_b: str | None
    reviewer: str
    at: datetime
    shown_first: str
    preferred: str
    criteria: Mapping[str, Any]
    comment: str | None


class LiveAnswer(NamedTuple):
    """A drawn answer that may become half of a pair."""

    inference_id: str
    rubric_text_id: str
    rollout_id: str
    route: str | None
    arm: str
    size: int  # of its request: different ones are of different requests


def pair_counts(session: Session) -> dict[str, PairCounts]:
    """Return the counts of every rubric that has pairs."""
    query = select(col(ReviewPair.rubric_id), col(ReviewPair.state), func.count()).group_by(
        col(ReviewPair.rubric_id), col(ReviewPair.state)
    )
    found: dict[str, dict[str, int]] = {}
    for rubric_id, state, n in session.execute(query):
        found.setdefault(rubric_id, {})[state] = int(n)
    return {name: PairCounts(own.get(OPEN, 0), own.get(DONE, 0)) for name, own in found.items()}


def add_pairs(session: Session, pairs: Iterable[NewPair], at: datetime) -> int:
    """Store pairs; those that are there already stay as they are. Return how many came."""
    rows = [each._asdict() | {"id": uuid7(), "state": OPEN, "made_at": at} for each in pairs]
    if not rows:
        return 0
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    statement = insert(ReviewPair).on_conflict_do_nothing().returning(col(ReviewPair.id))
    return len(session.execute(statement, rows).all())


def live_answers(session: Session, rubric_id: str, limit: int) -> list[LiveAnswer]:
    """Return those of the latest drawn answers of rollouts whose texts are kept."""
    latest = (
        select(
            col(Sample.id),
            col(Sample.inference_id),
            col(Sample.rubric_text_id),
            col(Sample.rollout_id),
            col(Sample.arm),
        )
        .where(
            col(Sample.rubric_id) == rubric_id,
            col(Sample.rollout_id).is_not(None),
            col(Sample.arm).is_not(None),
        )
        .order_by(col(Sample.id).desc())
        .limit(limit)
        .subquery()
    )
    query = (
        select(
            latest.c.inference_id,
            latest.c.rubric_text_id,
            latest.c.rollout_id,
            col(Inference.route),
            latest.c.arm,
            text_size(session.get_bind(), col(Inference.request_text)),
        )
        .join(Inference, col(Inference.id) == latest.c.inference_id)
        .where(col(Inference.request_text).is_not(None), col(Inference.response_text).is_not(None))
        .order_by(latest.c.id.desc())
    )
    return [LiveAnswer(*row) for row in session.execute(query)]


def request_texts(session: Session, inference_ids: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield id and request of the inferences, a few in memory at a time."""
    return _texts(session, col(Inference.request_text), inference_ids)


def response_texts(session: Session, inference_ids: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield id and response of the inferences, a few in memory at a time."""
    return _texts(session, col(Inference.response_text), inference_ids)


def known_keys(session: Session, rubric_id: str, keys: Sequence[str]) -> set[str]:
    """Return those of the keys that pairs of the rubric have."""
    found: set[str] = set()
    for start in range(0, len(keys), 500):
        query = select(col(ReviewPair.key)).where(
            col(ReviewPair.rubric_id) == rubric_id,
            col(ReviewPair.key).in_(keys[start : start + 500]),
        )
        found.update(session.execute(query).scalars())
    return found


def claim_pair(
    session: Session, rubric_id: str, reviewer: str, now: datetime, *, lease_s: float
) -> str | None:
    """Lease the next pair to the reviewer, or the one that they hold; None: nothing is left."""
    held = (
        select(col(PairSeat.pair_id))
        .join(ReviewPair, col(ReviewPair.id) == col(PairSeat.pair_id))
        .where(
            col(PairSeat.reviewer) == reviewer,
            col(PairSeat.leased_until) >= now,
            col(ReviewPair.rubric_id) == rubric_id,
            col(ReviewPair.state) == OPEN,
        )
        .limit(1)
    )
    if (name := session.execute(held).scalar_one_or_none()) is not None:
        return str(name)
    session.execute(delete(PairSeat).where(col(PairSeat.leased_until) < now))
    taken = (
        select(func.count())
        .where(col(PairSeat.pair_id) == col(ReviewPair.id))
        .correlate(ReviewPair)
        .scalar_subquery()
    )
    has_been_here = (
        exists()
        .where(
            col(PairPreference.pair_id) == col(ReviewPair.id),
            col(PairPreference.reviewer) == reviewer,
        )
        .correlate(ReviewPair)
    )
    query = (
        select(ReviewPair)
        .where(
            col(ReviewPair.rubric_id) == rubric_id,
            col(ReviewPair.state) == OPEN,
            taken < col(ReviewPair.wanted),
            ~has_been_here,
        )
        .order_by(col(ReviewPair.id))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    while (pair := session.execute(query).scalar_one_or_none()) is not None:
        # What another has taken between our look and our lock is seen only now.
        seats = _seats(session, pair.id)
        if len(seats) < pair.wanted:
            seat = next(number for number in range(len(seats) + 1) if number not in seats)
            session.add(
                PairSeat(
                    pair_id=pair.id, seat=seat, reviewer=reviewer, token=uuid7(),
                    leased_until=now + timedelta(seconds=lease_s),
                )
            )  # fmt: skip
            session.flush()
            return str(pair.id)
    return None


def pair_of(session: Session, pair_id: str, *, lock: bool = False) -> PairRecord | None:
    """Return the pair."""
    query = select(ReviewPair).where(col(ReviewPair.id) == pair_id)
    row = session.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    if row is None:
        return None
    return PairRecord(*[getattr(row, name) for name in PairRecord._fields])


def pair_seat_of(
    session: Session, pair_id: str, reviewer: str
) -> tuple[str, datetime | None] | None:
    """Return token and end of the reviewer's seat on the pair."""
    query = select(col(PairSeat.token), col(PairSeat.leased_until)).where(
        col(PairSeat.pair_id) == pair_id, col(PairSeat.reviewer) == reviewer
    )
    row = session.execute(query).first()
    return None if row is None else (row[0], row[1])


def preference_of(session: Session, pair_id: str, reviewer: str) -> str | None:
    """Return what the reviewer prefers, None before they have said."""
    query = select(col(PairPreference.preferred)).where(
        col(PairPreference.pair_id) == pair_id, col(PairPreference.reviewer) == reviewer
    )
    return session.execute(query).scalar_one_or_none()


def extend_pair(session: Session, pair_id: str, reviewer: str, until: datetime) -> bool:
    """Hold the lease until `until`; False when it is another's by now."""
    statement = (
        update(PairSeat)
        .where(
            col(PairSeat.pair_id) == pair_id,
            col(PairSeat.reviewer) == reviewer,
            col(PairSeat.leased_until).is_not(None),
        )
        .values(leased_until=until)
        .execution_options(synchronize_session=False)
    )
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def give_preference(session: Session, values: Mapping[str, Any]) -> None:
    """Store a preference; its seat is kept, or freed where it cannot be said."""
    pair_id, reviewer = values["pair_id"], values["reviewer"]
    mine = (col(PairSeat.pair_id) == pair_id, col(PairSeat.reviewer) == reviewer)
    if values["preferred"] == CANNOT_ASSESS:
        session.execute(delete(PairSeat).where(*mine))
    else:
        session.execute(
            update(PairSeat)
            .where(*mine)
            .values(leased_until=None)
            .execution_options(synchronize_session=False)
        )
    session.add(PairPreference(id=uuid7(), **values))
    session.flush()
    given = select(func.count()).where(
        col(PairPreference.pair_id) == pair_id, col(PairPreference.preferred) != CANNOT_ASSESS
    )
    pair = session.execute(select(ReviewPair).where(col(ReviewPair.id) == pair_id)).scalar_one()
    if int(session.execute(given).scalar_one()) >= pair.wanted:
        pair.state = DONE
        session.add(pair)


def drop_pair(session: Session, pair_id: str) -> None:
    """Take a pair out whose texts are not kept any more."""
    session.execute(
        update(ReviewPair)
        .where(col(ReviewPair.id) == pair_id)
        .values(state=DROPPED)
        .execution_options(synchronize_session=False)
    )


def preferences(session: Session, rubric_id: str) -> Iterator[Preferred]:
    """Yield every preference about the rubric's pairs, in the order of the pairs."""
    query = (
        select(
            col(PairPreference.pair_id),
            col(ReviewPair.arm_a),
            col(ReviewPair.arm_b),
            col(PairPreference.reviewer),
            col(PairPreference.at),
            col(PairPreference.shown_first),
            col(PairPreference.preferred),
            col(PairPreference.criteria),
            col(PairPreference.comment),
        )
        .join(ReviewPair, col(ReviewPair.id) == col(PairPreference.pair_id))
        .where(col(ReviewPair.rubric_id) == rubric_id)
        .order_by(col(PairPreference.pair_id), col(PairPreference.id))
    )
    for row in session.execute(query):
        yield Preferred(*row)


def _texts(
    session: Session, text: Mapped[str | None], inference_ids: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for start in range(0, len(inference_ids), _TEXTS):
        some = inference_ids[start : start + _TEXTS]
        query = select(col(Inference.id), text).where(
            col(Inference.id).in_(some), text.is_not(None)
        )
        for name, found in session.execute(query):
            yield name, found or ""


def _seats(session: Session, pair_id: str) -> set[int]:
    query = select(col(PairSeat.seat)).where(col(PairSeat.pair_id) == pair_id)
    return set(session.execute(query).scalars())
