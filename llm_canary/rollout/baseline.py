"""Fixes a rollout's thresholds, caps and centres from the control's traffic before it starts.

With fewer than fifty responses of the same control in the last day a metric is fixed later, from
the first control responses of the rollout itself (see `metrics.accumulate`).
"""

from __future__ import annotations

from collections import defaultdict

from sqlmodel import Session

from llm_canary.decision.rules import rules_of, specs_of
from llm_canary.metrics.freeze import MAX_BASELINE, MIN_BASELINE, freeze
from llm_canary.metrics.state import Rollup
from llm_canary.rollout.scoring import facts_of
from llm_canary.storage.repositories.rollouts import RolloutRecord
from llm_canary.storage.repositories.scoring import ScoringRepository

_HISTORY_S = 86_400.0


def freeze_from_history(session: Session, record: RolloutRecord, now_s: float) -> None:
    """Store the frozen numbers of every metric for which the route's history suffices."""
    control = record.control
    if control is None:
        return
    repository = ScoringRepository(session)
    rows = [
        row
        for row in repository.recent_controls(record.route, now_s - _HISTORY_S, MAX_BASELINE)
        if (row.upstream, row.model, row.prompt_hash)
        == (control.upstream, control.model, control.prompt_hash)
    ]
    values: dict[str, list[float]] = defaultdict(list)
    specs = specs_of(record.spec.plan)
    immediate = [spec for spec in specs.values() if spec.outcome is None]
    for row in rows:
        facts = facts_of(row, {})
        for spec in immediate:
            value = spec.value(facts) if spec.applies(facts) else None
            if value is not None:
                values[spec.name].append(value)
    rules = rules_of(record.spec.plan, attempt=record.build_attempt)
    rollup = Rollup()
    for spec in immediate:
        if len(values[spec.name]) >= MIN_BASELINE:
            rollup.metric(spec.name).frozen = freeze(spec, rules[spec.name], values[spec.name])
    repository.save(record.id, rollup, {})
