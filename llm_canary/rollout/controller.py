"""One tick over all rollouts: gather the evidence, decide, apply.

Only the holder of the lease ticks. A decision, what it leaves behind and the transition it causes
are one transaction, which also checks that the lease is still held: a process that stops anywhere
leaves either all of it or nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable

import msgspec
from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.clock import Clock
from llm_canary.decision.engine import Decision, decide
from llm_canary.decision.evidence import Evidence
from llm_canary.errors import Conflict, DataError
from llm_canary.ids import uuid7
from llm_canary.rollout import replay
from llm_canary.rollout.analysis import NO_LOSS, Loss, gather
from llm_canary.rollout.consequences import after_decision, left_behind
from llm_canary.rollout.service import Act, RolloutService, guarded
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.lease import Held, acquire, release
from llm_canary.storage.repositories.rollouts import (
    ROBOT,
    RolloutRecord,
    RolloutRepository,
)

LEASE = "controller"
_log = logging.getLogger(__name__)


class Controller:
    """Decides about every running rollout, as the one process that may."""

    def __init__(
        self,
        engine: Engine,
        service: RolloutService,
        clock: Clock,
        *,
        holder: str | None = None,
        loss: Callable[[], Loss] = lambda: NO_LOSS,
        lease_ttl_s: float = 15.0,
    ) -> None:
        self._engine = engine
        self._service = service
        self._clock = clock
        self._holder = holder or uuid7()
        self._loss = loss
        self._ttl_s = lease_ttl_s
        self._held: Held | None = None

    @property
    def is_leader(self) -> bool:
        """Whether the last tick held the lease."""
        return self._held is not None

    def tick(self) -> int:
        """Decide about each rollout once; return about how many, 0 when another process leads."""
        self._held = self._lease()
        if self._held is None:
            return 0
        with read_session(self._engine) as session:
            records = RolloutRepository(session).active()
        for done, record in enumerate(records):
            # A tick over many rollouts may outlast the lease.
            if self._held.expires_s - self._clock.now_s() < self._ttl_s / 2.0:
                self._held = self._lease()
            if self._held is None:
                return done
            try:
                self._decide(record, self._held)
            except Conflict as conflict:
                # A person or another leader was faster; the next tick sees what they did.
                _log.info("rollout %s: %s", record.name, conflict.message)
            except DataError as error:  # one rollout that cannot be decided stops no other
                _log.error("rollout %s cannot be decided: %s", record.name, error.message)
        return len(records)

    def close(self) -> None:
        """Give up the lease, so that another process takes over at once."""
        if self._held is not None:
            release(self._engine, self._held)
            self._held = None

    def _lease(self) -> Held | None:
        now_s = self._clock.now_s()
        return acquire(self._engine, LEASE, self._holder, now_s=now_s, ttl_s=self._ttl_s)

    def _decide(self, record: RolloutRecord, held: Held) -> None:
        with read_session(self._engine) as session:
            now = RolloutRepository(session).by_id(record.id)
            if now is None or not now.is_active:
                return
            evidence = gather(session, now, self._clock.now_s(), self._loss())
            last = _last(session, now)
        decision = decide(now.spec.plan, evidence)
        after = after_decision(now, decision, evidence.now_s)
        left = left_behind(now, decision, evidence)
        if left.reminders > now.reminders:
            _remind(left, evidence.now_s)
        is_new = last is None or _essence(last) != _essence(decision)
        if after is None and not is_new and left == now:
            return
        with write_session(self._engine) as session:
            guarded(session, held)
            self._store(session, left, after, decision, evidence)
        if after is not None:
            self._service.changed()

    def _store(
        self,
        session: Session,
        left: RolloutRecord,
        after: RolloutRecord | None,
        decision: Decision,
        evidence: Evidence,
    ) -> None:
        repository = RolloutRepository(session)
        stored = replay.record_of(left.spec.plan, evidence, decision, applied=after is not None)
        repository.add_decision(stored)
        left = msgspec.structs.replace(left, last_decision_id=stored.id)
        repository.touch(left, left)
        if after is None or self._held is None:
            return
        act = Act(
            action=decision.verdict.value,
            actor=ROBOT,
            reason="; ".join(decision.reasons),
            decision_id=stored.id,
            fence=self._held.fence,
        )
        after = after_decision(left, decision, evidence.now_s)
        if after is not None:
            self._service.apply(left, after, act, session)


def _remind(record: RolloutRecord, now_s: float) -> None:
    if record.hold is not None:
        _log.warning(
            "rollout %s is held by %s since %.1f h and waits for a person: %s",
            record.name, record.hold.by, (now_s - record.hold.at_s) / 3_600.0, record.hold.reason,
        )  # fmt: skip


def _last(session: Session, record: RolloutRecord) -> Decision | None:
    if record.last_decision_id is None:
        return None
    stored = RolloutRepository(session).decision(record.last_decision_id)
    return None if stored is None else replay.decode(stored.result)


def _essence(decision: Decision) -> Hashable:
    """Return what must change for a decision to be worth storing: not every digit."""
    return (
        decision.verdict,
        decision.codes,
        tuple((gate.metric, gate.status) for gate in decision.gates),
        tuple(each.code for each in decision.problems),
        tuple((each.metric, each.slice) for each in decision.culprits),
        decision.look,
    )
