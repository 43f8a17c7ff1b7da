"""Rollouts, transitions, decisions and effective controls, as values."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import delete, exists, insert, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from llm_canary.clock import utc
from llm_canary.config.rollout_spec import RolloutSpec
from llm_canary.decision.evidence import Progress
from llm_canary.errors import Conflict
from llm_canary.routing.table import Variant
from llm_canary.storage.models.rollouts import Decision, Rollout, RouteControl, Transition
from llm_canary.storage.models.scoring import UnitStat

ROBOT = "robot"


class State(StrEnum):
    """Where a rollout stands; a hold is beside it, see `RolloutRecord.hold`."""

    DRAFT = "draft"
    RUNNING = "running"
    PROMOTED = "promoted"
    STANDBY = "standby"
    FINISHED = "finished"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"


ACTIVE = (State.RUNNING, State.PROMOTED, State.STANDBY)


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Who stopped the rollout, when and why; `codes` are what a resume accepts."""

    by: str
    at_s: float
    reason: str
    codes: tuple[str, ...] = ()

    @property
    def is_human(self) -> bool:
        """Whether a person holds it, so that no robot may act."""
        return self.by != ROBOT


class RolloutRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout as stored."""

    id: str
    name: str
    attempt: int
    build_attempt: int
    route: str
    state: State
    salt: str
    spec: RolloutSpec
    created_at_s: float
    stage: str | None = None
    share: float = 0.0
    seq: int = 0
    control: Variant | None = None
    segments: tuple[str, ...] = ()
    progress: Progress = Progress()
    started_at_s: float | None = None
    stage_started_at_s: float | None = None
    ended_at_s: float | None = None
    outcome: str | None = None
    hold: Hold | None = None
    reminders: int = 0
    last_decision_id: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether it takes part in routing."""
        return self.state in ACTIVE


class TransitionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One applied change."""

    id: str
    rollout_id: str
    seq: int
    at_s: float
    action: str
    actor: str
    reason: str
    from_state: str
    to_state: str
    from_stage: str | None
    to_stage: str | None
    share: float
    decision_id: str | None = None
    fence: int | None = None


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A stored decision; plan, evidence and result are canonical JSON."""

    id: str
    rollout_id: str
    at_s: float
    stage: str
    verdict: str
    reasons: tuple[str, ...]
    plan: bytes
    evidence: bytes
    evidence_hash: str
    result: bytes
    applied: bool


class RolloutRepository:
    """Reads and writes on one session; every write of a rollout names the `seq` it has seen."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, record: RolloutRecord) -> None:
        """Insert a new rollout; raise Conflict when its attempt is there already."""
        try:
            self.session.connection().execute(
                insert(Rollout).values(id=record.id, name=record.name, **_columns(record))
            )
        except IntegrityError as error:
            raise Conflict(
                f"rollout {record.name!r} has just been created by someone else; look again",
                code="rollout_conflict",
            ) from error

    def latest(self, name: str, *, lock: bool = False) -> RolloutRecord | None:
        """Return the newest attempt of the rollout `name`; `lock` keeps others from changing it.

        What was read without the lock may have learned something since, which a write of the whole
        row would undo.
        """
        query = select(Rollout).where(col(Rollout.name) == name)
        newest = query.order_by(col(Rollout.attempt).desc()).limit(1)
        row = self.session.exec(newest.with_for_update() if lock else newest).first()
        return None if row is None else _record(row)

    def attempt(self, name: str, number: int) -> RolloutRecord | None:
        """Return one attempt of the rollout `name`."""
        query = select(Rollout).where(col(Rollout.name) == name, col(Rollout.attempt) == number)
        row = self.session.exec(query).one_or_none()
        return None if row is None else _record(row)

    def open(self) -> tuple[RolloutRecord, ...]:
        """Return the rollouts that are not over, drafts too."""
        query = select(Rollout).where(col(Rollout.ended_at).is_(None))
        return tuple(_record(row) for row in self.session.exec(query.order_by(col(Rollout.id))))

    def by_id(self, rollout_id: str) -> RolloutRecord | None:
        """Return the rollout with the id."""
        row = self.session.exec(select(Rollout).where(col(Rollout.id) == rollout_id)).one_or_none()
        return None if row is None else _record(row)

    def all(self, *, limit: int = 500) -> tuple[RolloutRecord, ...]:
        """Return rollouts, newest first."""
        query = select(Rollout).order_by(col(Rollout.created_at).desc(), col(Rollout.id).desc())
        return tuple(_record(row) for row in self.session.exec(query.limit(limit)))

    def active(self) -> tuple[RolloutRecord, ...]:
        """Return the rollouts that take part in routing, held ones too."""
        query = select(Rollout).where(col(Rollout.state).in_([str(each) for each in ACTIVE]))
        return tuple(_record(row) for row in self.session.exec(query.order_by(col(Rollout.id))))

    def ended_with_units(self) -> tuple[RolloutRecord, ...]:
        """Return the rollouts that are over and of which units are still remembered."""
        has_units = exists().where(col(UnitStat.rollout_id) == col(Rollout.id))
        query = select(Rollout).where(col(Rollout.ended_at).is_not(None), has_units)
        return tuple(_record(row) for row in self.session.exec(query))

    def advance(
        self, before: RolloutRecord, after: RolloutRecord, transition: TransitionRecord
    ) -> None:
        """Apply a transition exactly once; raise Conflict when another one came first."""
        try:
            self._update(before, after)
            self.session.connection().execute(
                insert(Transition).values(
                    **{
                        name: value
                        for name, value in msgspec.structs.asdict(transition).items()
                        if name != "at_s"
                    },
                    at=utc(transition.at_s),
                )
            )
        except IntegrityError as error:
            raise Conflict(
                f"rollout {before.name!r} cannot go to {after.state.value!r}: another rollout runs "
                f"on route {before.route!r}, or this one has just been changed; look again",
                code="rollout_conflict",
            ) from error

    def touch(self, before: RolloutRecord, after: RolloutRecord) -> None:
        """Store what is no transition (looks taken, reminders, last decision)."""
        self._update(before, after)

    def transitions(self, rollout_id: str | None = None) -> tuple[TransitionRecord, ...]:
        """Return transitions, oldest first; of all rollouts without an id."""
        query = select(Transition).order_by(col(Transition.at), col(Transition.seq))
        if rollout_id is not None:
            query = query.where(col(Transition.rollout_id) == rollout_id)
        return tuple(_transition(row) for row in self.session.exec(query))

    def add_decision(self, record: DecisionRecord) -> None:
        """Insert a decision."""
        values = msgspec.structs.asdict(record)
        values.update(at=utc(values.pop("at_s")), reasons=list(record.reasons))
        self.session.connection().execute(insert(Decision).values(**values))

    def decision(self, decision_id: str) -> DecisionRecord | None:
        """Return one decision."""
        row = self.session.get(Decision, decision_id)
        return None if row is None else _decision(row)

    def decisions(self, rollout_id: str, *, limit: int = 100) -> tuple[DecisionRecord, ...]:
        """Return decisions, newest first."""
        query = select(Decision).where(col(Decision.rollout_id) == rollout_id)
        newest = query.order_by(col(Decision.at).desc(), col(Decision.id).desc()).limit(limit)
        return tuple(_decision(row) for row in self.session.exec(newest))

    def controls(self) -> dict[str, Variant]:
        """Return the controls that rollouts have changed, by route."""
        rows = self.session.exec(select(RouteControl)).all()
        return {row.route: msgspec.convert(row.variant, Variant) for row in rows}

    def set_control(self, record: RolloutRecord, at_s: float) -> None:
        """Make the rollout's canary the control of its route."""
        self.clear_control(record.route)
        self.session.connection().execute(
            insert(RouteControl).values(
                route=record.route,
                variant=msgspec.to_builtins(record.spec.canary),
                rollout_id=record.id,
                since=utc(at_s),
            )
        )

    def clear_control(self, route: str) -> bool:
        """Let the file's control hold again; return whether it did not."""
        gone = delete(RouteControl).where(col(RouteControl.route) == route)
        return bool(self.session.connection().execute(gone).rowcount)

    def _update(self, before: RolloutRecord, after: RolloutRecord) -> None:
        result = self.session.connection().execute(
            update(Rollout)
            .where(col(Rollout.id) == before.id, col(Rollout.seq) == before.seq)
            .values(**_columns(after))
        )
        if result.rowcount != 1:
            raise Conflict(
                f"rollout {before.name!r} was changed meanwhile (after transition {before.seq}); "
                "look again",
                code="rollout_conflict",
            )


def _columns(record: RolloutRecord) -> dict[str, Any]:
    hold = record.hold
    return {
        "attempt": record.attempt,
        "build_attempt": record.build_attempt,
        "route": record.route,
        "active_route": record.route if record.is_active else None,
        "state": record.state.value,
        "stage": record.stage,
        "share": record.share,
        "salt": record.salt,
        "seq": record.seq,
        "spec": msgspec.to_builtins(record.spec),
        "control": None if record.control is None else msgspec.to_builtins(record.control),
        "segments": list(record.segments),
        "progress": msgspec.to_builtins(record.progress),
        "created_at": utc(record.created_at_s),
        "started_at": _utc(record.started_at_s),
        "stage_started_at": _utc(record.stage_started_at_s),
        "ended_at": _utc(record.ended_at_s),
        "outcome": record.outcome,
        "hold_by": hold.by if hold else None,
        "hold_at": _utc(hold.at_s) if hold else None,
        "hold_reason": hold.reason if hold else None,
        "hold_codes": list(hold.codes) if hold else [],
        "reminders": record.reminders,
        "last_decision_id": record.last_decision_id,
    }


def _record(row: Rollout) -> RolloutRecord:
    hold = None
    if row.hold_by is not None and row.hold_at is not None:
        hold = Hold(
            by=row.hold_by,
            at_s=row.hold_at.timestamp(),
            reason=row.hold_reason or "",
            codes=tuple(row.hold_codes),
        )
    return RolloutRecord(
        id=row.id,
        name=row.name,
        attempt=row.attempt,
        build_attempt=row.build_attempt,
        route=row.route,
        state=State(row.state),
        salt=row.salt,
        spec=msgspec.convert(row.spec, RolloutSpec),
        created_at_s=row.created_at.timestamp(),
        stage=row.stage,
        share=row.share,
        seq=row.seq,
        control=None if row.control is None else msgspec.convert(row.control, Variant),
        segments=tuple(row.segments),
        progress=msgspec.convert(row.progress, Progress),
        started_at_s=_seconds(row.started_at),
        stage_started_at_s=_seconds(row.stage_started_at),
        ended_at_s=_seconds(row.ended_at),
        outcome=row.outcome,
        hold=hold,
        reminders=row.reminders,
        last_decision_id=row.last_decision_id,
    )


def _transition(row: Transition) -> TransitionRecord:
    values = {
        name: getattr(row, name) for name in TransitionRecord.__struct_fields__ if name != "at_s"
    }
    return TransitionRecord(at_s=row.at.timestamp(), **values)


def _decision(row: Decision) -> DecisionRecord:
    return DecisionRecord(
        id=row.id,
        rollout_id=row.rollout_id,
        at_s=row.at.timestamp(),
        stage=row.stage,
        verdict=row.verdict,
        reasons=tuple(row.reasons),
        plan=row.plan,
        evidence=row.evidence,
        evidence_hash=row.evidence_hash,
        result=row.result,
        applied=row.applied,
    )


def _utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else utc(seconds)


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
