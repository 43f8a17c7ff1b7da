"""The queue of answers that are to be judged: drawn once, claimed by lease, finished once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col

from llm_canary.ids import uuid7
from llm_canary.sampling import Stream
from llm_canary.storage.models.grading import Judgement, Sample
from llm_canary.storage.models.inferences import Inference
from llm_canary.storage.repositories.grading_order import judges_first, may_count

LATEST = timedelta(minutes=1)  # after its window has closed, an answer is still judged
MAX_ATTEMPTS = 3  # a sample that ends so many leases without a result is poison
OPEN = "open"
# As the index of them says it: a database uses that only where no parameter stands for the states.
_IS_UNFINISHED = text("sample.state IN ('waiting', 'leased')")


class SampleState(StrEnum):
    """Where a sample stands."""

    WAITING = "waiting"
    LEASED = "leased"
    JUDGED = "judged"
    FAILED = "failed"  # the judge gave no grade, or the sample killed its workers
    SHED = "shed"  # too many were waiting
    LAPSED = "lapsed"  # it could not count any more when its turn came


class NewSample(NamedTuple):
    """One drawn answer."""

    inference_id: str
    rubric_id: str
    rubric_text_id: str
    rollout_id: str | None
    arm: str | None
    stratum: str
    stream: str
    rate: float
    inclusion: float
    closes_at: datetime
    review_stream: str | None = None
    review_rate: float = 0.0
    reviews_wanted: int = 0


class Claimed(NamedTuple):
    """A sample that a worker has for itself until its lease ends."""

    id: str
    inference_id: str
    rubric_id: str
    rubric_text_id: str
    token: str
    attempts: int


class Saved(NamedTuple):
    """What a judge came to: the row of its judgement, and what the sample keeps of it."""

    claimed: Claimed
    state: SampleState
    judgement: Mapping[str, Any]
    wants_review: bool = False  # the judge was in doubt
    is_unreadable: bool = False  # by people either


class Graded(NamedTuple):
    """What is known of a sample when its window closes."""

    stream: str
    arm: str | None
    judge_id: str | None
    judge_score: float | None
    human_score: float | None  # None: not asked by the probability stream, or nobody answered
    review_rate: float
    closes_at: datetime


def add_samples(
    session: Session, samples: Iterable[NewSample], at: datetime, *, room: int | None = None
) -> int:
    """Store drawn samples; those that are there already stay as they are. Return how many came.

    Beyond `room` waiting ones the rest is shed: stored as such, never judged, and counted.
    """
    rows = [each._asdict() for each in samples]
    if not rows:
        return 0
    free = len(rows) if room is None else max(room - waiting(session), 0)
    for index, row in enumerate(rows):
        is_shed = index >= free
        row |= {"id": uuid7(), "drawn_at": at, "ready_at": at, "attempts": 0}
        row["state"] = (SampleState.SHED if is_shed else SampleState.WAITING).value
        row["review_state"] = OPEN if row["review_stream"] and not is_shed else None
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    statement = insert(Sample).on_conflict_do_nothing().returning(col(Sample.id))
    return len(session.execute(statement, rows).all())


def waiting(session: Session) -> int:
    """Return how many samples wait for a judge."""
    query = select(func.count()).where(col(Sample.state) == SampleState.WAITING.value)
    return int(session.execute(query).scalar_one())


def rubrics_with_work(session: Session, now: datetime) -> list[str]:
    """Return the rubric texts of which a sample may be claimed, or given up, by now; ascending."""
    found: list[str] = []
    text_id = col(Sample.rubric_text_id)
    query = select(text_id).where(_IS_UNFINISHED, col(Sample.ready_at) <= now)
    while True:  # one look into the index for each, not one at every sample
        later = query.where(text_id > found[-1]) if found else query
        first = session.execute(later.order_by(text_id).limit(1)).scalar_one_or_none()
        if first is None:
            return found
        found.append(first)


def claim(
    session: Session,
    rubric_text_id: str,
    now: datetime,
    *,
    lease_s: float,
    limit: int,
    new_first: bool = True,
) -> list[Claimed]:
    """Lease samples of the rubric that wait, or whose worker has not come back.

    Those that gates read go first, in the order of `judges_first`; `lapse` takes away before what
    is much too late. What a worker did not come back with is leased alone, so that a sample that
    kills its workers takes no others with it; `new_first` says which are looked for first.
    """
    for is_first in (new_first, not new_first):
        size = limit if is_first else 1
        free = _free(rubric_text_id, now, size, is_first=is_first)
        if found := _lease(session, free, now + timedelta(seconds=lease_s)):
            return found
    return []


def _free(rubric_text_id: str, now: datetime, limit: int, *, is_first: bool) -> Select[str]:
    attempts = col(Sample.attempts)
    return (
        select(col(Sample.id))
        .where(
            col(Sample.rubric_text_id) == rubric_text_id,
            _IS_UNFINISHED,
            col(Sample.ready_at) <= now,
            attempts == 0 if is_first else (attempts > 0) & (attempts < MAX_ATTEMPTS),
        )
        .order_by(judges_first())
        .params(now=now)
        .limit(limit)
    )


def _lease(session: Session, free: Select[str], until: datetime) -> list[Claimed]:
    """Take what is free, in one statement."""
    token = uuid7()
    if session.get_bind().dialect.name != "sqlite":
        free = free.with_for_update(skip_locked=True)
    statement = (
        update(Sample)
        .where(col(Sample.id).in_(free.scalar_subquery()))
        .values(
            state=SampleState.LEASED.value,
            lease_token=token,
            ready_at=until,
            attempts=col(Sample.attempts) + 1,
        )
        .returning(
            col(Sample.id),
            col(Sample.inference_id),
            col(Sample.rubric_id),
            col(Sample.rubric_text_id),
            col(Sample.attempts),
        )
        .execution_options(synchronize_session=False)
    )
    rows = sorted(session.execute(statement), key=lambda row: row.id)
    return [
        Claimed(row.id, row.inference_id, row.rubric_id, row.rubric_text_id, token, row.attempts)
        for row in rows
    ]


def save(session: Session, results: Sequence[Saved], at: datetime) -> list[Saved]:
    """Store judgements and end their leases; return those whose lease was still held.

    What another worker has taken over is left to it: its judgement is the one that counts.
    """
    mine = _held(session, [each.claimed for each in results])
    kept = [each for each in results if each.claimed.id in mine]
    if not kept:
        return []
    rows = [
        {"id": uuid7(), "sample_id": each.claimed.id, "at": at, **each.judgement} for each in kept
    ]
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    session.execute(insert(Judgement).on_conflict_do_nothing(), rows)
    ends = [
        {
            "id": each.claimed.id,
            "state": each.state.value,
            "lease_token": None,
            "judge_id": each.judgement["judge_id"],
            "judge_score": each.judgement["score"],
            "judge_passed": each.judgement["passed"],
            "reported_model": each.judgement.get("reported_model"),
        }
        for each in kept
    ]
    session.execute(update(Sample), ends)
    unreadable = [each.claimed.id for each in kept if each.is_unreadable]
    if unreadable:
        session.execute(
            update(Sample)
            .where(col(Sample.id).in_(unreadable), col(Sample.review_state) == OPEN)
            .values(review_state=None)
            .execution_options(synchronize_session=False)
        )
    doubted = [each.claimed.id for each in kept if each.wants_review]
    if doubted:
        session.execute(
            update(Sample)
            .where(col(Sample.id).in_(doubted), col(Sample.review_stream).is_(None))
            .values(review_stream="uncertain", reviews_wanted=1, review_state=OPEN)
            .execution_options(synchronize_session=False)
        )
    return kept


def release(
    session: Session,
    claimed: Sequence[Claimed],
    ready_at: datetime,
    *,
    is_attempt: bool = False,
) -> None:
    """Give samples back that nobody could be asked about; that is no attempt, unless said so."""
    mine = _held(session, claimed)
    session.execute(
        update(Sample)
        .where(col(Sample.id).in_(mine))
        .values(
            state=SampleState.WAITING.value,
            lease_token=None,
            ready_at=ready_at,
            attempts=col(Sample.attempts) - (0 if is_attempt else 1),
        )
        .execution_options(synchronize_session=False)
    )


def _held(session: Session, claimed: Sequence[Claimed]) -> set[str]:
    query = select(col(Sample.id)).where(
        col(Sample.id).in_([each.id for each in claimed]),
        col(Sample.lease_token).in_({each.token for each in claimed}),
        col(Sample.state) == SampleState.LEASED.value,
    )
    return set(session.execute(query.with_for_update()).scalars())


def renew(session: Session, token: str, until: datetime) -> int:
    """Prolong what is still held of a claim; return how much that is."""
    statement = (
        update(Sample)
        .where(col(Sample.lease_token) == token, col(Sample.state) == SampleState.LEASED.value)
        .values(ready_at=until)
        .execution_options(synchronize_session=False)
    )
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def fail_poison(session: Session, now: datetime) -> int:
    """Fail the samples whose last allowed lease has ended; return how many."""
    is_worn = (col(Sample.state) == SampleState.LEASED.value) & (
        col(Sample.attempts) >= MAX_ATTEMPTS
    )
    return _give_up(session, is_worn, SampleState.FAILED, now)


def lapse(session: Session, now: datetime) -> int:
    """Judge no more what no gate can read any more; return how many.

    A judgement would be paid for and not scored, while those that can be wait for the money. It may
    be a little late, because an answer is scored some time after its window has closed.
    """
    is_over = and_(_IS_UNFINISHED, ~may_count())
    return _give_up(session, is_over, SampleState.LAPSED, now - LATEST)


def _give_up(
    session: Session, which: ColumnElement[bool], state: SampleState, now: datetime
) -> int:
    statement = (
        update(Sample)
        .where(which, col(Sample.ready_at) <= bindparam("now"))
        .values(state=state.value, lease_token=None)
        .execution_options(synchronize_session=False)
    )
    return int(session.execute(statement, {"now": now}).rowcount)  # type: ignore[attr-defined]


def texts(session: Session, inference_ids: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """Return endpoint, route, request, response and segments of the inferences, by id."""
    found = session.execute(_texts(), {"inference_ids": list(inference_ids)})
    return {row[0]: tuple(row[1:]) for row in found}


@cache  # reviewers are shown one after the other; making a statement takes as long as asking it
def _texts() -> Select[Any]:
    return select(
        col(Inference.id),
        col(Inference.endpoint),
        col(Inference.route),
        col(Inference.request_text),
        col(Inference.response_text),
        col(Inference.segments),
    ).where(col(Inference.id).in_(bindparam("inference_ids", expanding=True)))


def graded(session: Session, inference_ids: Collection[str], rubric_id: str) -> dict[str, Graded]:
    """Return what is known of the samples of these inferences, by inference."""
    query = select(
        col(Sample.inference_id),
        col(Sample.stream),
        col(Sample.arm),
        col(Sample.judge_id),
        col(Sample.judge_score),
        col(Sample.human_score),
        col(Sample.review_stream),
        col(Sample.review_rate),
        col(Sample.reviewed_at),
        col(Sample.closes_at),
    ).where(col(Sample.inference_id).in_(inference_ids), col(Sample.rubric_id) == rubric_id)
    return {
        row.inference_id: Graded(
            row.stream,
            row.arm,
            row.judge_id,
            row.judge_score,
            row.human_score if _counts(row) else None,
            row.review_rate,
            row.closes_at,
        )
        for row in session.execute(query)
    }


def _counts(row: Any) -> bool:  # noqa: ANN401 - a SQL row
    is_asked = row.review_stream == Stream.PROBABILITY.value
    return is_asked and row.reviewed_at is not None and row.reviewed_at <= row.closes_at
