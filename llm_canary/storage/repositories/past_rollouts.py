"""Every attempt of every rollout, a page at a time, in as many queries as it takes for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import exists, func, select
from sqlalchemy.sql import ColumnElement
from sqlmodel import Session, col

from llm_canary.storage.models.rollouts import Decision, Rollout, Transition

ENDS = ("promoted", "rolled_back", "aborted")
EXTENDED, RUNNING = "extended", "running"


class PastFilter(NamedTuple):
    """Which attempts; None asks for all."""

    route: str | None = None
    name: str | None = None
    outcome: str | None = None  # one of ENDS, EXTENDED, or RUNNING for those without an end
    ended_since: datetime | None = None


class PastRow(NamedTuple):
    """One attempt; `plan` is the frozen plan's name, `stages` its stages in order."""

    id: str
    name: str
    attempt: int
    route: str
    plan: str
    stages: tuple[str, ...]
    state: str
    outcome: str | None
    is_held: bool
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    last_decision_id: str | None


class Step(NamedTuple):
    """One change that was applied."""

    rollout_id: str
    at: datetime
    action: str
    actor: str
    reason: str
    to_state: str
    from_stage: str | None
    to_stage: str | None
    share: float
    decision_id: str | None


class Decided(NamedTuple):
    """A decision without the evidence it was made from; `result` is its canonical JSON."""

    id: str
    verdict: str
    reasons: tuple[str, ...]
    result: bytes


def past_rollouts(
    session: Session, wanted: PastFilter, *, limit: int, offset: int = 0
) -> list[PastRow]:
    """Return attempts, the newest first."""
    query = (
        select(
            col(Rollout.id),
            col(Rollout.name),
            col(Rollout.attempt),
            col(Rollout.route),
            col(Rollout.spec),
            col(Rollout.state),
            col(Rollout.outcome),
            col(Rollout.hold_by),
            col(Rollout.created_at),
            col(Rollout.started_at),
            col(Rollout.ended_at),
            col(Rollout.last_decision_id),
        )
        .where(*_conditions(wanted))
        .order_by(col(Rollout.created_at).desc(), col(Rollout.id).desc())
    )
    return [_row(*row) for row in session.execute(query.limit(limit).offset(offset))]


def count_past(session: Session, wanted: PastFilter) -> int:
    """Return how many attempts there are."""
    query = select(func.count()).select_from(Rollout).where(*_conditions(wanted))
    return int(session.execute(query).scalar_one())


def past_routes(session: Session) -> list[str]:
    """Return the routes that ever had a rollout."""
    query = select(col(Rollout.route)).distinct().order_by(col(Rollout.route))
    return list(session.execute(query).scalars())


def steps_of(session: Session, rollout_ids: Collection[str]) -> dict[str, list[Step]]:
    """Return the changes of each of the rollouts, the oldest first."""
    columns = [getattr(Transition, name) for name in Step._fields]
    query = select(*columns).where(col(Transition.rollout_id).in_(rollout_ids))
    found: dict[str, list[Step]] = defaultdict(list)
    for row in session.execute(query.order_by(col(Transition.rollout_id), col(Transition.seq))):
        found[row.rollout_id].append(Step(*row))
    return found


def decided(session: Session, decision_ids: Collection[str]) -> dict[str, Decided]:
    """Return decisions by id; what they were made from stays where it is."""
    query = select(
        col(Decision.id), col(Decision.verdict), col(Decision.reasons), col(Decision.result)
    ).where(col(Decision.id).in_(decision_ids))
    return {
        row.id: Decided(row.id, row.verdict, tuple(row.reasons), row.result)
        for row in session.execute(query)
    }


def latest_results(
    session: Session, rollout_id: str, *, limit: int
) -> list[tuple[datetime, bytes]]:
    """Return when the latest decisions were made and what they came to, the newest first."""
    query = (
        select(col(Decision.at), col(Decision.result))
        .where(col(Decision.rollout_id) == rollout_id)
        .order_by(col(Decision.at).desc(), col(Decision.id).desc())
        .limit(limit)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def _conditions(wanted: PastFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.route is not None:
        found.append(col(Rollout.route) == wanted.route)
    if wanted.name is not None:
        found.append(col(Rollout.name) == wanted.name)
    if wanted.ended_since is not None:
        found.append(col(Rollout.ended_at) >= wanted.ended_since)
    if wanted.outcome == RUNNING:
        found.append(col(Rollout.ended_at).is_(None))
    elif wanted.outcome == EXTENDED:
        was_extended = (
            exists()
            .where(
                col(Transition.rollout_id) == col(Rollout.id), col(Transition.action) == "extend"
            )
            .correlate(Rollout)
        )
        found.append(was_extended)
    elif wanted.outcome is not None:
        found.append(col(Rollout.outcome) == wanted.outcome)
    return found


def _row(rollout_id: str, name: str, attempt: int, route: str, spec: Any, *more: Any) -> PastRow:  # noqa: ANN401 - columns
    plan = spec["plan"]
    state, outcome, hold_by, *rest = more
    return PastRow(
        rollout_id,
        name,
        attempt,
        route,
        plan["name"],
        tuple(stage["name"] for stage in plan["stages"]),
        state,
        outcome,
        hold_by is not None,
        *rest,
    )
