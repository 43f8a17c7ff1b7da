"""Parts of rollouts for lists: the columns that a list shows, never plans or stored evidence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import and_, func, select
from sqlmodel import Session, col

from llm_canary.metrics.state import ALL
from llm_canary.storage.models.rollouts import Decision, Rollout, Transition
from llm_canary.storage.models.scoring import MetricStat


class Ended(NamedTuple):
    """A rollout that is over."""

    id: str
    name: str
    attempt: int
    route: str
    state: str
    started_s: float | None
    ended_s: float
    reasons: tuple[str, ...]  # why: a person's, else those of its last decision


class Attempt(NamedTuple):
    """One try of a rollout's name."""

    number: int
    state: str


class DecisionHead(NamedTuple):
    """A stored decision without its plan and evidence; `result` only where a list needs it."""

    id: str
    rollout_id: str
    stage: str
    verdict: str
    at_s: float
    reasons: tuple[str, ...]
    applied: bool
    evidence_hash: str
    result: bytes = b""


_HEAD = (
    col(Decision.id),
    col(Decision.rollout_id),
    col(Decision.stage),
    col(Decision.verdict),
    col(Decision.at),
    col(Decision.reasons),
    col(Decision.applied),
    col(Decision.evidence_hash),
)
_ENDED = (
    col(Rollout.id),
    col(Rollout.name),
    col(Rollout.attempt),
    col(Rollout.route),
    col(Rollout.state),
    col(Rollout.started_at),
    col(Rollout.ended_at),
    col(Decision.reasons),
    col(Transition.decision_id),
    col(Transition.reason),
)


def ended(session: Session, *, limit: int, offset: int) -> tuple[Ended, ...]:
    """Return rollouts that are over, the last one first."""
    query = (
        select(*_ENDED)
        .outerjoin(Decision, col(Decision.id) == col(Rollout.last_decision_id))
        .outerjoin(
            Transition,
            and_(
                col(Transition.rollout_id) == col(Rollout.id),
                col(Transition.seq) == col(Rollout.seq),
            ),
        )
        .where(col(Rollout.ended_at).is_not(None))
        .order_by(col(Rollout.ended_at).desc(), col(Rollout.id).desc())
    )
    return tuple(_ended(row) for row in session.execute(query.limit(limit).offset(offset)))


def count_ended(session: Session) -> int:
    """Return how many rollouts are over."""
    query = select(func.count()).select_from(Rollout).where(col(Rollout.ended_at).is_not(None))
    return int(session.execute(query).scalar_one())


def names(session: Session) -> set[str]:
    """Return the names of all rollouts."""
    return set(session.execute(select(col(Rollout.name)).distinct()).scalars())


def attempts(session: Session, name: str) -> tuple[Attempt, ...]:
    """Return the attempts of the rollout `name`, newest first."""
    query = select(col(Rollout.attempt), col(Rollout.state)).where(col(Rollout.name) == name)
    newest = query.order_by(col(Rollout.attempt).desc())
    return tuple(Attempt(number, state) for number, state in session.execute(newest))


def decision_heads(session: Session, rollout_id: str, *, limit: int) -> tuple[DecisionHead, ...]:
    """Return the decisions of a rollout, newest first."""
    query = select(*_HEAD).where(col(Decision.rollout_id) == rollout_id)
    newest = query.order_by(col(Decision.at).desc(), col(Decision.id).desc())
    return tuple(_head(row) for row in session.execute(newest.limit(limit)))


def decision_head(session: Session, decision_id: str) -> DecisionHead | None:
    """Return one decision without its plan, evidence and result, which take long to read."""
    row = session.execute(select(*_HEAD).where(col(Decision.id) == decision_id)).one_or_none()
    return None if row is None else _head(row)


def results(session: Session, ids: Collection[str]) -> dict[str, DecisionHead]:
    """Return decisions with their results, by id."""
    query = select(*_HEAD, col(Decision.result)).where(col(Decision.id).in_(ids))
    return {row[0]: _head(row) for row in session.execute(query)}


def sums(session: Session, rollout_ids: Collection[str]) -> dict[str, dict[tuple[str, str], bytes]]:
    """Return the packed sums over all units, by rollout and (metric, slice)."""
    keys = col(MetricStat.rollout_id), col(MetricStat.metric), col(MetricStat.slice)
    query = select(*keys, col(MetricStat.state)).where(
        keys[0].in_(rollout_ids), keys[2].in_(("", ALL))
    )
    found: dict[str, dict[tuple[str, str], bytes]] = {}
    for rollout_id, metric, slice_, state in session.execute(query):
        found.setdefault(rollout_id, {})[metric, slice_] = state
    return found


def _head(row: Sequence[Any]) -> DecisionHead:
    own, rollout, stage, verdict, at, reasons, applied, digest, *result = row
    return DecisionHead(
        own, rollout, stage, verdict, at.timestamp(), tuple(reasons), applied, digest, *result
    )


def _ended(row: Sequence[Any]) -> Ended:
    own, name, attempt, route, state, started, at, reasons, decision_id, reason = row
    began_s = None if started is None else started.timestamp()
    is_by_person = decision_id is None and reason
    reasons = (reason,) if is_by_person else tuple(reasons or ())
    return Ended(own, name, attempt, route, state, began_s, at.timestamp(), reasons)
