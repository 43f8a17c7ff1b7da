"""Everything that changes a rollout: the one writer of transitions.

Each act is one transaction. It names the transition it follows, so two acts at once end with one
done and one `Conflict`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.clock import Clock
from llm_canary.config.load import LoadedConfig
from llm_canary.errors import Conflict, NotFound
from llm_canary.ids import uuid7
from llm_canary.rollout import transitions
from llm_canary.rollout.baseline import freeze_from_history
from llm_canary.rollout.config_edits import is_same, refuse_edits
from llm_canary.rollout.preflight import refuse_unchecked
from llm_canary.rollout.reading import RolloutReader
from llm_canary.rollout.replay import Replay, replay
from llm_canary.rollout.rubrics import keep_rubrics
from llm_canary.rollout.views import (
    EXTEND,
    DecisionView,
    RolloutView,
    TransitionView,
    decision_view,
    head_view,
    transition_view,
)
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.lease import Held, check_fence
from llm_canary.storage.repositories.rollout_reads import decision_heads
from llm_canary.storage.repositories.rollouts import (
    ROBOT,
    DecisionRecord,
    Hold,
    RolloutRecord,
    RolloutRepository,
    State,
    TransitionRecord,
)

_log = logging.getLogger(__name__)
_ANY = -1  # instead of the number of a transition
_OVER = frozenset({State.FINISHED, State.ROLLED_BACK, State.ABORTED})


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """Who does what, why, and on which decision."""

    action: str
    actor: str
    reason: str
    decision_id: str | None = None
    fence: int | None = None


class Seen(NamedTuple):
    """What a person had before them when they decided: of a name's attempts one, and its state."""

    rollout_id: str | None  # None: there was no attempt yet
    seq: int = 0


class RolloutService:
    """Creates, starts, holds, resumes, promotes and rolls back rollouts.

    Where it is told what a person has `seen`, an act means that attempt of the rollout; a start, a
    resume or a promotion means its very state too and is refused after any other change.
    """

    def __init__(
        self,
        engine: Engine,
        config: Callable[[], LoadedConfig],
        clock: Clock,
        *,
        on_change: Callable[[], None] = lambda: None,
        new_salt: Callable[[], str] = lambda: uuid7()[12:],
    ) -> None:
        self._engine = engine
        self._config = config
        self._clock = clock
        self._new_salt = new_salt  # of a rollout: who is in the canary
        self._on_change = on_change  # after the commit; the publisher's hook
        self.read = RolloutReader(engine, config, clock)

    def create(
        self, name: str, *, actor: str, reason: str, seen: Seen | None = None
    ) -> RolloutRecord:
        """Make a draft of the file's rollout `name`; a new attempt when the last one is over."""
        with write_session(self._engine) as session:
            _refuse_stale(RolloutRepository(session).latest(name), seen, name)
            record = self._draft(session, name)
            repository = RolloutRepository(session)
            repository.add(msgspec.structs.replace(record, seq=0))
            act = Act(action="create", actor=actor, reason=reason)
            before = msgspec.structs.replace(record, seq=0)
            self._apply(session, before, record, act)
        return record

    def start(
        self, name: str, *, actor: str, reason: str, seen: Seen | None = None
    ) -> RolloutRecord:
        """Start the first stage of a draft, with the file's variants and plan as they are now."""
        record = self.get(name) if self._exists(name) else None
        _refuse_stale(record, seen, name)
        if record is None or record.state in _OVER:
            self.create(name, actor=actor, reason=reason)
        act = Act(action="start", actor=actor, reason=reason)
        now_s = self._clock.now_s()
        with write_session(self._engine) as session:
            before = self._find(session, name)
            if before.state is not State.DRAFT:
                raise Conflict(f"rollout {name!r} is already {before.state.value}")
            fresh = self._refreshed(session, before)
            refuse_unchecked(session, fresh.spec)
            after = transitions.started(fresh, now_s)
            self._apply(session, before, after, act)
            freeze_from_history(session, after, now_s)
            keep_rubrics(session, after, self._config().rubrics, now_s)
        self._on_change()
        return after

    def hold(
        self, name: str, *, actor: str, reason: str, seen: Seen | None = None
    ) -> RolloutRecord:
        """Stop the rollout where it stands until a person resumes it."""
        hold = Hold(by=_person(actor), at_s=self._clock.now_s(), reason=reason)
        act = Act(action="hold", actor=actor, reason=reason)
        return self._change(
            name, act, lambda record: transitions.held(record, hold), _any_state(seen)
        )

    def resume(
        self, name: str, *, actor: str, reason: str, seen: Seen | None = None
    ) -> RolloutRecord:
        """Let the rollout go on; what it was held for is accepted."""
        now_s, found = self._clock.now_s(), self.get(name)
        action = EXTEND if transitions.is_overdue(found) else "resume"
        act = Act(action=action, actor=actor, reason=reason)
        seen = seen or Seen(found.id, found.seq)
        return self._change(name, act, lambda each: transitions.resumed(each, now_s), seen)

    def promote(
        self, name: str, *, actor: str, reason: str, seen: Seen | None = None
    ) -> RolloutRecord:
        """Move to the next stage, whatever the gates say."""
        now_s, found = self._clock.now_s(), self.get(name)
        act = Act(action="promote", actor=actor, reason=reason)
        seen = seen or Seen(found.id, found.seq)
        return self._change(name, act, lambda each: transitions.promoted(each, now_s), seen)

    def rollback(
        self, name: str, *, actor: str, reason: str, seen: Seen | None = None
    ) -> RolloutRecord:
        """Send all traffic to the control and end the rollout."""
        now_s = self._clock.now_s()
        act = Act(action="rollback", actor=actor, reason=reason)
        return self._change(
            name, act, lambda record: transitions.rolled_back(record, now_s), _any_state(seen)
        )

    def adopt_control(self, route: str, *, actor: str, reason: str) -> None:
        """Let the file's control of `route` hold again, after promotions have changed it."""
        with write_session(self._engine) as session:
            repository = RolloutRepository(session)
            if any(record.route == route for record in repository.active()):
                raise Conflict(f"a rollout runs on route {route!r}; end it first")
            if not repository.clear_control(route):
                raise Conflict(f"route {route!r} already has the control of the file")
        _log.warning("route %s: the file's control holds again (%s: %s)", route, actor, reason)
        self._on_change()

    def apply(
        self, record: RolloutRecord, after: RolloutRecord, act: Act, session: Session
    ) -> None:
        """Apply a robot's transition in the caller's transaction; call `changed` after it."""
        self._apply(session, record, after, act)

    def changed(self) -> None:
        """Tell the publisher that the effective state has changed."""
        self._on_change()

    def get(self, name: str) -> RolloutRecord:
        """Return the newest attempt of the rollout `name`; raise NotFound when there is none."""
        with read_session(self._engine) as session:
            return self._find(session, name)

    def status(self, name: str) -> RolloutView:
        """Return the rollout as it stands; raise NotFound when neither file nor SQL knows it."""
        return self.read.view(name)

    def list(self) -> tuple[RolloutView, ...]:
        """Return every rollout of SQL, newest first, then those that only the file knows."""
        return self.read.views()

    def history(self, name: str | None = None) -> tuple[TransitionView, ...]:
        """Return the transitions of every attempt of `name`, or of all rollouts, newest first."""
        with read_session(self._engine) as session:
            if name is not None:
                self._find(session, name)
            repository = RolloutRepository(session)
            of = {each.id: each for each in repository.all() if name in (None, each.name)}
            found = [each for each in repository.transitions() if each.rollout_id in of]
        return tuple(transition_view(each, of[each.rollout_id]) for each in reversed(found))

    def decisions(self, name: str, *, limit: int = 100) -> tuple[DecisionView, ...]:
        """Return the decisions of the newest attempt of `name`, newest first."""
        with read_session(self._engine) as session:
            found = self._find(session, name)
            heads = decision_heads(session, found.id, limit=limit)
        return tuple(head_view(each) for each in heads)

    def get_decision(self, decision_id: str) -> DecisionView:
        """Return one decision with plan, evidence and result; raise NotFound."""
        return decision_view(self.decision_record(decision_id))

    def replay(self, decision_id: str) -> Replay:
        """Decide again from the stored evidence; raise DataError when it was altered."""
        return replay(self.decision_record(decision_id))

    def decision_record(self, decision_id: str) -> DecisionRecord:
        """Return one decision as stored; raise NotFound."""
        with read_session(self._engine) as session:
            found = RolloutRepository(session).decision(decision_id)
        if found is None:
            raise NotFound(f"there is no decision {decision_id!r}; `rollout history` lists them")
        return found

    def check_config(self, config: LoadedConfig) -> None:
        """Raise ConfigError when `config` edits what users are served or a rollout compares."""
        refuse_edits(self._engine, config)

    def _change(
        self,
        name: str,
        act: Act,
        step: Callable[[RolloutRecord], RolloutRecord],
        seen: Seen | None,
    ) -> RolloutRecord:
        """Take a person's step; one that means a transition is refused after any other.

        Two who promote at once mean the same step, and it is taken once. Holds and rollbacks mean
        the rollout, whatever a controller did a moment before.
        """
        with write_session(self._engine) as session:
            before = self._find(session, name, lock=True)
            _refuse_stale(before, seen, name)
            after = step(before)
            self._apply(session, before, after, act)
        self._on_change()
        return after

    def _apply(
        self, session: Session, before: RolloutRecord, after: RolloutRecord, act: Act
    ) -> None:
        repository, now_s = RolloutRepository(session), self._clock.now_s()
        transition = TransitionRecord(
            id=uuid7(),
            rollout_id=after.id,
            seq=after.seq,
            at_s=now_s,
            action=act.action,
            actor=act.actor,
            reason=act.reason,
            from_state=before.state,
            to_state=after.state,
            from_stage=before.stage,
            to_stage=after.stage,
            share=after.share,
            decision_id=act.decision_id,
            fence=act.fence,
        )
        repository.advance(before, after, transition)
        if after.state is State.FINISHED:
            repository.set_control(after, now_s)
        _log.info(
            "rollout %s: %s by %s, %s -> %s at share %g",
            after.name, act.action, act.actor, before.stage, after.stage, after.share,
        )  # fmt: skip

    def _draft(self, session: Session, name: str) -> RolloutRecord:
        config = self._config()
        if name not in config.rollouts:
            raise NotFound(
                f"{config.path.name} has no rollout {name!r}; "
                f"it has {', '.join(sorted(config.rollouts)) or 'none'}"
            )
        last = RolloutRepository(session).latest(name)
        if last is not None and last.state not in _OVER:
            raise Conflict(
                f"rollout {name!r} is {last.state.value} already (attempt {last.attempt})"
            )
        spec = config.rollouts[name]
        return RolloutRecord(
            id=uuid7(),
            name=name,
            attempt=1 if last is None else last.attempt + 1,
            build_attempt=1,
            route=spec.route,
            state=State.DRAFT,
            salt=self._new_salt(),
            spec=spec,
            created_at_s=self._clock.now_s(),
            seq=1,
        )

    def _refreshed(self, session: Session, draft: RolloutRecord) -> RolloutRecord:
        config, repository = self._config(), RolloutRepository(session)
        spec = config.rollouts.get(draft.name, draft.spec)
        route = config.routes.get(spec.route)
        if route is None:
            raise NotFound(f"{config.path.name} has no route {spec.route!r}")
        tried = [
            each
            for each in repository.all()
            if each.id != draft.id
            and each.started_at_s is not None
            and each.route == spec.route
            and is_same(each.spec.canary, spec.canary)
        ]
        return msgspec.structs.replace(
            draft,
            spec=spec,
            route=spec.route,
            control=repository.controls().get(spec.route, route.control),
            segments=tuple(sorted(route.segments)),
            build_attempt=1 + len(tried),
        )

    def _exists(self, name: str) -> bool:
        with read_session(self._engine) as session:
            return RolloutRepository(session).latest(name) is not None

    def _find(self, session: Session, name: str, *, lock: bool = False) -> RolloutRecord:
        found = RolloutRepository(session).latest(name, lock=lock)
        if found is None:
            raise NotFound(f"there is no rollout {name!r}; `rollout create` makes one")
        return found


def _any_state(seen: Seen | None) -> Seen | None:
    return None if seen is None else seen._replace(seq=_ANY)


def _refuse_stale(record: RolloutRecord | None, seen: Seen | None, name: str) -> None:
    """Raise Conflict when the rollout is not the one that was seen, or has changed since."""
    if seen is None:
        return
    if (None if record is None else record.id) != seen.rollout_id:
        raise Conflict(
            f"rollout {name!r} has had a new attempt meanwhile; look again", code="rollout_conflict"
        )
    if record is not None and seen.seq not in {_ANY, record.seq}:
        raise Conflict(
            f"rollout {name!r} was changed meanwhile (after transition {seen.seq}); look again",
            code="rollout_conflict",
        )


def guarded(session: Session, held: Held) -> None:
    """Raise Conflict when the lease was lost; for robots, inside their transaction."""
    check_fence(session, held)


def _person(actor: str) -> str:
    return f"person:{actor}" if actor == ROBOT else actor
