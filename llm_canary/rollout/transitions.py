"""The state machine of a rollout: one value in, the next value out.

draft -> running -> promoted (full) -> standby -> finished, or -> rolled_back from any running
state. A hold stops a rollout where it stands; the share stays.
"""

from __future__ import annotations

import msgspec

from llm_canary.decision.evidence import Progress
from llm_canary.decision.plan import Stage, stage_index
from llm_canary.decision.problem import outlasts_stage
from llm_canary.errors import Conflict
from llm_canary.storage.repositories.rollouts import Hold, RolloutRecord, State

OVERDUE = "overdue"


def current_stage(record: RolloutRecord) -> Stage:
    """Return the stage the rollout is in."""
    plan = record.spec.plan
    return plan.stages[stage_index(plan, record.stage or "")]


def started(record: RolloutRecord, now_s: float) -> RolloutRecord:
    """Return the draft as it starts its first stage."""
    if record.state is not State.DRAFT:
        raise Conflict(f"rollout {record.name!r} is {record.state.value}; only a draft can start")
    return _entered(
        msgspec.structs.replace(record, started_at_s=now_s), record.spec.plan.stages[0], now_s
    )


def held(record: RolloutRecord, hold: Hold) -> RolloutRecord:
    """Return the rollout as it stops; a person's hold replaces a robot's."""
    require_active(record, "held")
    if record.hold is not None and (record.hold.is_human or not hold.is_human):
        raise Conflict(f"rollout {record.name!r} is already held by {record.hold.by}; resume it")
    return _next(record, hold=hold, reminders=0)


def is_overdue(record: RolloutRecord) -> bool:
    """Say whether the rollout is held because its stage has not been proven in its time."""
    return record.hold is not None and OVERDUE in record.hold.codes


def resumed(record: RolloutRecord, now_s: float) -> RolloutRecord:
    """Return the rollout as a person lets it go on.

    What it was held for is accepted; a stage held for being overdue is extended by its minimum.
    """
    require_active(record, "resumed")
    if record.hold is None:
        raise Conflict(f"rollout {record.name!r} is not held; nothing to resume")
    progress, codes = record.progress, record.hold.codes
    if is_overdue(record):
        stage, age_s = current_stage(record), now_s - (record.stage_started_at_s or now_s)
        longer_s = age_s + max(stage.min_s, record.spec.plan.full_cycle_s)
        progress = msgspec.structs.replace(progress, extended_until_s=longer_s)
    accepted = tuple(dict.fromkeys([*progress.accepted, *(c for c in codes if c != OVERDUE)]))
    progress = msgspec.structs.replace(progress, accepted=accepted)
    return _next(record, hold=None, reminders=0, progress=progress)


def promoted(record: RolloutRecord, now_s: float) -> RolloutRecord:
    """Return the rollout in its next stage, or finished after its last."""
    require_active(record, "promoted")
    stages = record.spec.plan.stages
    position = stage_index(record.spec.plan, record.stage or "") + 1
    if position < len(stages):
        return _entered(record, stages[position], now_s)
    return _next(
        record,
        state=State.FINISHED,
        share=1.0,
        ended_at_s=now_s,
        outcome="promoted",
        hold=None,
        reminders=0,
    )


def rolled_back(record: RolloutRecord, now_s: float) -> RolloutRecord:
    """Return the rollout with all traffic on the control; a draft is dropped."""
    if record.state is State.DRAFT:
        return _next(record, state=State.ABORTED, ended_at_s=now_s, outcome="aborted")
    require_active(record, "rolled back")
    return _next(
        record,
        state=State.ROLLED_BACK,
        share=0.0,
        ended_at_s=now_s,
        outcome="rolled_back",
        hold=None,
        reminders=0,
    )


def require_active(record: RolloutRecord, act: str) -> None:
    """Raise Conflict unless the rollout takes part in routing."""
    if not record.is_active:
        raise Conflict(
            f"rollout {record.name!r} is {record.state.value} and cannot be {act}; "
            "start it, or create a new one"
        )


def _entered(record: RolloutRecord, stage: Stage, now_s: float) -> RolloutRecord:
    state = State.RUNNING
    if not stage.is_measured:
        state = State.STANDBY if stage.for_s > 0 else State.PROMOTED
    return _next(
        record,
        state=state,
        stage=stage.name,
        share=stage.share,
        stage_started_at_s=now_s,
        progress=Progress(
            harm=record.progress.harm,
            accepted=tuple(code for code in record.progress.accepted if outlasts_stage(code)),
        ),
        hold=None,
        reminders=0,
    )


def _next(record: RolloutRecord, **changes: object) -> RolloutRecord:
    after: RolloutRecord = msgspec.structs.replace(record, seq=record.seq + 1, **changes)
    return after
