"""What became of every attempt: how far it came, how it ended, who ended it and what was wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlmodel import Session

from llm_canary.decision.gates import GateStatus
from llm_canary.rollout.replay import decode
from llm_canary.rollout.views import EXTEND
from llm_canary.storage.repositories.past_rollouts import (
    Decided,
    PastFilter,
    PastRow,
    Step,
    count_past,
    decided,
    past_rollouts,
    past_routes,
    steps_of,
)

_WRONG = ("rolled_back", "aborted")


class Past(NamedTuple):
    """One attempt with its story."""

    row: PastRow
    steps: tuple[Step, ...]  # the oldest first
    reached: tuple[str, ...]  # stages, in order
    extensions: int
    decision: Decided | None  # that ended it, else the last one
    failed: tuple[str, ...]  # metrics that the decision found worse

    @property
    def last(self) -> Step | None:
        """The last change."""
        return self.steps[-1] if self.steps else None


class PastPage(NamedTuple):
    """One page of attempts; `total` counts all that were asked for."""

    rollouts: tuple[Past, ...]
    total: int
    routes: tuple[str, ...]


def history_page(session: Session, wanted: PastFilter, *, limit: int, offset: int = 0) -> PastPage:
    """Return attempts, the newest first."""
    return PastPage(
        past(session, wanted, limit=limit, offset=offset),
        count_past(session, wanted),
        tuple(past_routes(session)),
    )


def past(session: Session, wanted: PastFilter, *, limit: int, offset: int = 0) -> tuple[Past, ...]:
    """Return attempts with their stories, the newest first; three queries however many."""
    rows = past_rollouts(session, wanted, limit=limit, offset=offset)
    steps = steps_of(session, [row.id for row in rows])
    names = {row.id: _deciding(row, steps.get(row.id, ())) for row in rows}
    decisions = decided(session, [each for each in names.values() if each is not None])
    return tuple(
        _past(row, tuple(steps.get(row.id, ())), decisions.get(names[row.id] or "")) for row in rows
    )


def failed_metrics(result: bytes) -> tuple[str, ...]:
    """Return the metrics that a stored decision found worse, those that decided it first."""
    decision = decode(result)
    culprits = [each.metric for each in decision.culprits if each.metric]
    gates = [each.metric for each in decision.gates if each.status is GateStatus.FAIL]
    return tuple(dict.fromkeys([*gates, *culprits]))


def _deciding(row: PastRow, steps: Sequence[Step]) -> str | None:
    """Return the decision that ended the attempt, else the last one that was made about it."""
    return (steps[-1].decision_id if steps else None) or row.last_decision_id


def _past(row: PastRow, steps: tuple[Step, ...], decision: Decided | None) -> Past:
    entered = {each.to_stage for each in steps}
    is_wrong = row.outcome in _WRONG or row.is_held
    return Past(
        row,
        steps,
        tuple(name for name in row.stages if name in entered),
        sum(each.action == EXTEND for each in steps),
        decision,
        failed_metrics(decision.result) if decision is not None and is_wrong else (),
    )
