"""Everything that changes a rollout: the one writer of transitions.

Each act is one transaction. It names the transition it follows, so two acts at once end with one
done and one `Conflict`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.clock import Clock
from llm_canary.config.load import LoadedConfig
from llm_canary.errors import ConfigError, Conflict, NotFound
from llm_canary.ids import uuid7
from llm_canary.rollout import transitions
from llm_canary.rollout.baseline import freeze_from_history
from llm_canary.rollout.preflight import refuse_unchecked, variant_identity
from llm_canary.rollout.replay import Replay, replay
from llm_canary.rollout.rubrics import keep_rubrics
from llm_canary.rollout.views import (
    EXTEND,
    DecisionView,
    RolloutView,
    TransitionView,
    decision_view,
    rollout_view,
    transition_view,
    unstarted_view,
)
from llm_canary.routing.table import Variant
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.lease import Held, check_fence
from llm_canary.storage.repositories.prompts import served_prompts
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
_OVER = frozenset({State.FINISHED, State.ROLLED_BACK, State.ABORTED})
_SHOWN_HASH = 12  # characters


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """Who does what, why, and on which decision."""

    action: str
    actor: str
    reason: str
    decision_id: str | None = None
    fence: int | None = None


class RolloutService:
    """Creates, starts, holds, resumes, promotes and rolls back rollouts."""

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

    def create(self, name: str, *, actor: str, reason: str) -> RolloutRecord:
        """Make a draft of the file's rollout `name`; a new attempt when the last one is over."""
        with write_session(self._engine) as session:
            record = self._draft(session, name)
            repository = RolloutRepository(session)
            repository.add(msgspec.structs.replace(record, seq=0))
            act = Act(action="create", actor=actor, reason=reason)
            before = msgspec.structs.replace(record, seq=0)
            self._apply(session, before, record, act)
        return record

    def start(self, name: str, *, actor: str, reason: str) -> RolloutRecord:
        """Start the first stage of a draft, with the file's variants and plan as they are now."""
        record = self.get(name) if self._exists(name) else None
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

    def hold(self, name: str, *, actor: str, reason: str) -> RolloutRecord:
        """Stop the rollout where it stands until a person resumes it."""
        hold = Hold(by=_person(actor), at_s=self._clock.now_s(), reason=reason)
        act = Act(action="hold", actor=actor, reason=reason)
        return self._change(name, act, lambda record: transitions.held(record, hold))

    def resume(self, name: str, *, actor: str, reason: str) -> RolloutRecord:
        """Let the rollout go on; what it was held for is accepted."""
        now_s, seen = self._clock.now_s(), self.get(name)
        action = EXTEND if transitions.is_overdue(seen) else "resume"
        act = Act(action=action, actor=actor, reason=reason)
        return self._change(name, act, lambda each: transitions.resumed(each, now_s), seen.seq)

    def promote(self, name: str, *, actor: str, reason: str) -> RolloutRecord:
        """Move to the next stage, whatever the gates say."""
        now_s, seen = self._clock.now_s(), self.get(name)
        act = Act(action="promote", actor=actor, reason=reason)
        return self._change(name, act, lambda each: transitions.promoted(each, now_s), seen.seq)

    def rollback(self, name: str, *, actor: str, reason: str) -> RolloutRecord:
        """Send all traffic to the control and end the rollout."""
        now_s = self._clock.now_s()
        act = Act(action="rollback", actor=actor, reason=reason)
        return self._change(name, act, lambda record: transitions.rolled_back(record, now_s))

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
        config, now_s = self._config(), self._clock.now_s()
        with read_session(self._engine) as session:
            record = RolloutRepository(session).latest(name)
            if record is not None:
                known_control = self._control_of(session, record.route)
                return rollout_view(session, record, known_control or record.spec.canary, now_s)
            spec = config.rollouts.get(name)
            control = None if spec is None else self._control_of(session, spec.route)
        if spec is None or control is None:
            known = ", ".join(sorted(config.rollouts)) or "none"
            raise NotFound(f"there is no rollout {name!r}; {config.path.name} has {known}")
        return unstarted_view(spec, control)

    def list(self) -> tuple[RolloutView, ...]:
        """Return every rollout of SQL, newest first, then those that only the file knows."""
        config, now_s = self._config(), self._clock.now_s()
        views = []
        with read_session(self._engine) as session:
            records = RolloutRepository(session).all()
            for record in records:
                known_control = self._control_of(session, record.route)
                control = known_control or record.spec.canary
                views.append(rollout_view(session, record, control, now_s))
            known = {record.name for record in records}
            for name, spec in config.rollouts.items():
                seed = self._control_of(session, spec.route)
                if name not in known and seed is not None:
                    views.append(unstarted_view(spec, seed))
        return tuple(views)

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
            records = RolloutRepository(session).decisions(found.id, limit=limit)
        return tuple(decision_view(each) for each in records)

    def get_decision(self, decision_id: str) -> DecisionView:
        """Return one decision with plan, evidence and result; raise NotFound."""
        return decision_view(self.decision_record(decision_id), in_full=True)

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
        with read_session(self._engine) as session:
            repository = RolloutRepository(session)
            active, controls = repository.active(), repository.controls()
            served = served_prompts(session)
        problems = [
            problem
            for record in active
            for problem in _edits(record, config, is_seed=record.route not in controls)
        ]
        problems += [
            f"prompt {name!r} was changed after it was first served on "
            f"{served[name].first_served_at:%Y-%m-%d %H:%M} UTC (its text is now "
            f"{changed[:_SHOWN_HASH]}, not {served[name].content_hash[:_SHOWN_HASH]}); "
            "take the change back and write a new version instead"
            for name, changed in sorted(config.prompt_hashes.items())
            if name in served and served[name].content_hash != changed
        ]
        if problems:
            raise ConfigError("; ".join(problems), problems=tuple(problems))

    def _change(
        self,
        name: str,
        act: Act,
        step: Callable[[RolloutRecord], RolloutRecord],
        seq: int | None = None,
    ) -> RolloutRecord:
        """Take a person's step; one that means the transition `seq` is refused after any other.

        Two who promote at once mean the same step, and it is taken once. Holds and rollbacks mean
        the rollout, whatever a controller did a moment before.
        """
        with write_session(self._engine) as session:
            before = self._find(session, name, lock=True)
            if seq not in {None, before.seq}:
                raise Conflict(
                    f"rollout {name!r} was changed meanwhile (after transition {seq}); look again",
                    code="rollout_conflict",
                )
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

    def _control_of(self, session: Session, route: str) -> Variant | None:
        known = self._config().routes.get(route)
        seed = None if known is None else known.control
        return RolloutRepository(session).controls().get(route, seed)

    def _exists(self, name: str) -> bool:
        with read_session(self._engine) as session:
            return RolloutRepository(session).latest(name) is not None

    def _find(self, session: Session, name: str, *, lock: bool = False) -> RolloutRecord:
        found = RolloutRepository(session).latest(name, lock=lock)
        if found is None:
            raise NotFound(f"there is no rollout {name!r}; `rollout create` makes one")
        return found


def is_same(one: Variant, other: Variant) -> bool:
    """Say whether two variants answer alike; prices may differ."""
    return variant_identity(one) == variant_identity(other)


def guarded(session: Session, held: Held) -> None:
    """Raise Conflict when the lease was lost; for robots, inside their transaction."""
    check_fence(session, held)


def _person(actor: str) -> str:
    return f"person:{actor}" if actor == ROBOT else actor


def _edits(record: RolloutRecord, config: LoadedConfig, *, is_seed: bool) -> list[str]:
    where = f"rollout {record.name!r} is {record.state.value}"
    what = "; end the rollout first, or undo the edit and start a new rollout"
    route, spec = config.routes.get(record.route), config.rollouts.get(record.name)
    if route is None:
        return [f"{where} and its route {record.route!r} is gone from the file{what}"]
    found = []
    if spec is not None and not is_same(spec.canary, record.spec.canary):
        found.append(f"{where} and its canary was edited{what}")
    if is_seed and record.control is not None and not is_same(route.control, record.control):
        found.append(f"{where} and the control of route {record.route!r} was edited{what}")
    variants = [record.spec.canary, *([record.control] if record.control else [])]
    gone = sorted({each.upstream for each in variants} - config.upstreams.keys())
    return [
        *found,
        *(f"{where} and its upstream {name!r} is gone from the file{what}" for name in gone),
    ]
