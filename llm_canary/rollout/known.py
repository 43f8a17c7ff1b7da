"""What is known of a rollout, read once: whatever shows it is made from this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from sqlmodel import Session

from llm_canary.decision.engine import Decision, decide
from llm_canary.decision.evidence import Evidence, GradingEvidence
from llm_canary.decision.evidence import decode as decode_evidence
from llm_canary.metrics.state import Rollup
from llm_canary.rollout.analysis import evidence_of, facts_of, gather_grading
from llm_canary.rollout.replay import decode
from llm_canary.storage.repositories.rollout_reads import DecisionHead, decision_head
from llm_canary.storage.repositories.rollouts import (
    DecisionRecord,
    RolloutRecord,
    RolloutRepository,
    TransitionRecord,
)
from llm_canary.storage.repositories.sample_facts import SampleFacts
from llm_canary.storage.repositories.scoring import ScoringRepository


class Known(NamedTuple):
    """What is known of a rollout now, or was when it ended."""

    rollup: Rollup
    facts: Mapping[str, SampleFacts]  # by rubric, as `grading` is
    grading: Mapping[str, GradingEvidence]
    transitions: tuple[TransitionRecord, ...]
    last: DecisionHead | DecisionRecord | None
    evidence: Evidence | None = None  # what `decision` was made from; None: nothing was decided
    decision: Decision | None = None


def known(session: Session, record: RolloutRecord, now_s: float) -> Known:
    """Return sums, evidence and decision: of this moment while it runs, else the last ones."""
    repository, scoring = RolloutRepository(session), ScoringRepository(session)
    rollup, facts = scoring.rollup(record.id), facts_of(session, record, now_s)
    grading = gather_grading(session, record, rollup, facts, now_s)
    transitions = repository.transitions(record.id)
    if record.is_active:
        head = decision_head(session, record.last_decision_id or "")
        oldest_s = scoring.oldest_due_s(record.id, now_s)
        backlog_s = 0.0 if oldest_s is None else now_s - oldest_s
        evidence = evidence_of(record, rollup, now_s, backlog_s=backlog_s, grading=grading)
        decision = decide(record.spec.plan, evidence)
        return Known(rollup, facts, grading, transitions, head, evidence, decision)
    last = repository.decision(record.last_decision_id or "")
    if last is None:
        return Known(rollup, facts, grading, transitions, last)
    evidence = decode_evidence(last.evidence)
    then = _judges_of(grading, evidence)
    return Known(rollup, facts, then, transitions, last, evidence, decode(last.result))


def segment_evidence(session: Session, record: RolloutRecord, now_s: float) -> Evidence | None:
    """Return the evidence without what no segment has: backlog and grading."""
    if record.is_active:
        return evidence_of(record, ScoringRepository(session).rollup(record.id), now_s)
    last = RolloutRepository(session).decision(record.last_decision_id or "")
    return None if last is None else decode_evidence(last.evidence)


def _judges_of(
    grading: Mapping[str, GradingEvidence], evidence: Evidence
) -> dict[str, GradingEvidence]:
    """Return the counts of `grading`, with the standing that the judges had in the evidence."""
    then = {each.grading.rubric: each.grading for each in evidence.metrics if each.grading}
    return {
        name: msgspec.structs.replace(
            found,
            standing=old.standing,
            reason=old.reason,
            labels=old.labels,
            calibrated_age_s=old.calibrated_age_s,
            drift=old.drift,
        )
        for name, found in grading.items()
        for old in [then.get(name, GradingEvidence(rubric=name))]
    }
