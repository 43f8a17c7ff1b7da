"""Forgets the units of rollouts that are over; their sums, decisions and history stay.

A rollout's units are needed for as long as one of its responses may still be scored: until the
last outcome window has closed, and a day longer for facts that waited on some gateway's disk. What
comes after that is not scored, so nothing brings a unit back.
"""

from __future__ import annotations

from sqlalchemy.engine import Engine

from llm_canary.clock import Clock
from llm_canary.decision.rules import specs_of, window_s
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.rollouts import RolloutRecord, RolloutRepository
from llm_canary.storage.repositories.scoring import ScoringRepository

_SPOOLED_S = 86_400.0


def is_closed(record: RolloutRecord, now_s: float) -> bool:
    """Say whether nothing of the rollout is scored any more."""
    if record.ended_at_s is None:
        return False
    plan = record.spec.plan
    windows = [window_s(plan, spec) for spec in specs_of(plan).values() if spec.outcome is not None]
    return now_s >= record.ended_at_s + max(windows, default=0.0) + _SPOOLED_S


def forget_units(engine: Engine, clock: Clock, limit: int = 1_000) -> int:
    """Delete up to `limit` units of closed rollouts; return how many it deleted."""
    now_s = clock.now_s()
    with read_session(engine) as session:
        ended = RolloutRepository(session).ended_with_units()
    closed = [record.id for record in ended if is_closed(record, now_s)]
    if not closed:
        return 0
    with write_session(engine) as session:
        return ScoringRepository(session).delete_units(closed, limit)
