"""What a decision does to its rollout; pure, for the controller and for rehearsals alike."""

from __future__ import annotations

import msgspec

from llm_canary.decision.engine import Decision, Verdict
from llm_canary.decision.evidence import Evidence
from llm_canary.rollout import transitions
from llm_canary.storage.repositories.rollouts import ROBOT, Hold, RolloutRecord

FIRST_REMINDER_S, NEXT_REMINDERS_S = 4 * 3_600.0, 86_400.0


def after_decision(record: RolloutRecord, decision: Decision, now_s: float) -> RolloutRecord | None:
    """Return the rollout after the decision; None when nothing changes.

    A robot never acts against a person's hold, and out of its own hold it may only roll back.
    """
    is_held = record.hold is not None
    if record.hold is not None and record.hold.is_human:
        return None
    if decision.verdict is Verdict.ROLLBACK:
        return transitions.rolled_back(record, now_s)
    if is_held or decision.verdict is Verdict.WAIT:
        return None
    if decision.verdict is Verdict.PROMOTE:
        return transitions.promoted(record, now_s)
    reason = "; ".join(decision.reasons)
    return transitions.held(record, Hold(by=ROBOT, at_s=now_s, reason=reason, codes=decision.codes))


def left_behind(record: RolloutRecord, decision: Decision, evidence: Evidence) -> RolloutRecord:
    """Return the rollout with what the decision uses up: looks, proofs, alarms, reminders."""
    progress = record.progress
    if not record.hold:
        progress = msgspec.structs.replace(
            progress,
            looks_done=max(progress.looks_done, decision.look),
            shown={**progress.shown, **decision.shown},
        )
    if decision.verdict is Verdict.ROLLBACK and not progress.harm:
        progress = msgspec.structs.replace(progress, harm=decision.reasons)
    reminders = record.reminders
    if record.hold is not None:
        age_s = evidence.now_s - record.hold.at_s
        reminders += age_s >= FIRST_REMINDER_S + NEXT_REMINDERS_S * reminders
    return msgspec.structs.replace(record, progress=progress, reminders=reminders)
