"""Counts outcomes that came after their window had closed: they change nothing but are shown."""

from __future__ import annotations

from llm_canary.decision.rules import specs_of, window_s
from llm_canary.metrics.state import Totals
from llm_canary.routing.table import Role
from llm_canary.storage.repositories.rollouts import RolloutRecord
from llm_canary.storage.repositories.scoring import ScoringRepository

_SETTLED_S = 60.0  # by then what a gateway has received is in SQL
_LIMIT = 2_000


def count_late(
    repository: ScoringRepository, totals: Totals, record: RolloutRecord, now_s: float
) -> None:
    """Add to `totals.late` the outcomes that are new since the last call."""
    windows_s = {
        spec.outcome: window_s(record.spec.plan, spec)
        for spec in specs_of(record.spec.plan).values()
        if spec.outcome is not None
    }
    if not windows_s:
        return
    until = id_at(now_s - _SETTLED_S)
    totals.outcomes_until = totals.outcomes_until or id_at(record.started_at_s or now_s)
    if totals.outcomes_until >= until:
        return
    found = repository.outcomes_between(totals.outcomes_until, until, tuple(windows_s), _LIMIT)
    for kind, said in found:
        totals.outcomes_until = said.id
        about = repository.target_of(kind, said.target, record.id)
        if about is None or not said.counts_for(about.key_name):
            continue
        if said.received_s > about.at.timestamp() + windows_s[said.metric]:
            totals.late[about.assigned == Role.CANARY] += 1
    if len(found) < _LIMIT:
        totals.outcomes_until = until


def id_at(seconds: float) -> str:
    """Return the smallest UUIDv7 of that time."""
    return f"{max(int(seconds * 1_000), 0):012x}".ljust(32, "0")
