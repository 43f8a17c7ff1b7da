"""Everything that is read of rollouts; nothing here changes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.clock import Clock
from llm_canary.config.load import LoadedConfig
from llm_canary.errors import NotFound
from llm_canary.rollout.detail import RolloutDetail, RolloutSlices, detail, slices_of
from llm_canary.rollout.summaries import RolloutSummary, summaries
from llm_canary.rollout.views import RolloutView, rollout_view, unstarted_view
from llm_canary.routing.table import Variant
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories import rollout_reads as rows
from llm_canary.storage.repositories.rollout_reads import Ended
from llm_canary.storage.repositories.rollouts import (
    DecisionRecord,
    RolloutRecord,
    RolloutRepository,
)


class Overview(NamedTuple):
    """Those that are not over, and one page of those that are."""

    open: tuple[RolloutSummary, ...]
    ended: tuple[Ended, ...]
    ended_count: int


class RolloutReader:
    """Reads rollouts from SQL, and from the file those that nobody has created yet."""

    def __init__(self, engine: Engine, config: Callable[[], LoadedConfig], clock: Clock) -> None:
        self._engine = engine
        self._config = config
        self._clock = clock

    def overview(self, *, limit: int, offset: int = 0) -> Overview:
        """Return all rollouts at a glance; `limit` and `offset` cut those that are over."""
        config, now_s = self._config(), self._clock.now_s()
        with read_session(self._engine) as session:
            repository = RolloutRepository(session)
            controls = self._controls(repository)
            found = summaries(session, repository.open(), controls, now_s)
            known = rows.names(session)
            over = rows.ended(session, limit=limit, offset=offset)
            count = rows.count_ended(session)
        only_in_file = (
            RolloutSummary(
                id=name,
                name=name,
                route=spec.route,
                plan=spec.plan.name,
                state="draft",
                control=controls[spec.route].model,
                canary=spec.canary.model,
                stage_count=len(spec.plan.stages),
            )
            for name, spec in config.rollouts.items()
            if name not in known and spec.route in controls
        )
        return Overview((*found, *only_in_file), over, count)

    def detail(self, name: str, attempt: int | None = None) -> RolloutDetail:
        """Return one rollout in full, its newest attempt unless one is named; raise NotFound."""
        with read_session(self._engine) as session:
            record = self._record(session, name, attempt)
            if record is None:
                return RolloutDetail(view=self._unstarted(session, name))
            controls = self._controls(RolloutRepository(session))
            control = controls.get(record.route, record.spec.canary)
            now_s = self._clock.now_s()
            found = detail(session, record, control, now_s)
            return msgspec.structs.replace(found, attempts=rows.attempts(session, name))

    def record(self, name: str, attempt: int | None = None) -> RolloutRecord:
        """Return what is stored of a rollout, as `detail` finds it; raise NotFound."""
        with read_session(self._engine) as session:
            found = self._record(session, name, attempt)
        if found is None:
            raise NotFound(f"there is no rollout {name!r}; `rollout create` makes one")
        return found

    def slices(
        self,
        name: str,
        attempt: int | None = None,
        *,
        only: str | None = None,
        most: int | None = None,
    ) -> RolloutSlices:
        """Return the segments of one rollout, `most` values of each at most; raise NotFound."""
        with read_session(self._engine) as session:
            record = self._record(session, name, attempt)
            if record is None:
                self._unstarted(session, name)
                return RolloutSlices()
            return slices_of(session, record, self._clock.now_s(), only=only, most=most)

    def decision(self, name: str, decision_id: str) -> tuple[RolloutRecord, DecisionRecord]:
        """Return a decision about an attempt of the rollout `name`; raise NotFound."""
        with read_session(self._engine) as session:
            repository = RolloutRepository(session)
            found = repository.decision(decision_id)
            record = None if found is None else repository.by_id(found.rollout_id)
        if found is None or record is None or record.name != name:
            raise NotFound(
                f"there is no decision {decision_id[:80]!r} about rollout {name!r}; "
                "its page lists them"
            )
        return record, found

    def view(self, name: str) -> RolloutView:
        """Return the rollout as it stands; raise NotFound when neither file nor SQL knows it."""
        with read_session(self._engine) as session:
            repository = RolloutRepository(session)
            record = repository.latest(name)
            if record is None:
                return self._unstarted(session, name)
            control = self._controls(repository).get(record.route, record.spec.canary)
            return rollout_view(session, record, control, self._clock.now_s())

    def views(self) -> tuple[RolloutView, ...]:
        """Return every rollout of SQL, newest first, then those that only the file knows."""
        config, now_s = self._config(), self._clock.now_s()
        views = []
        with read_session(self._engine) as session:
            repository = RolloutRepository(session)
            records, controls = repository.all(), self._controls(repository)
            for record in records:
                control = controls.get(record.route, record.spec.canary)
                views.append(rollout_view(session, record, control, now_s))
            known = {record.name for record in records}
            for name, spec in config.rollouts.items():
                if name not in known and spec.route in controls:
                    views.append(unstarted_view(spec, controls[spec.route]))
        return tuple(views)

    def _record(self, session: Session, name: str, attempt: int | None) -> RolloutRecord | None:
        repository = RolloutRepository(session)
        if attempt is None:
            return repository.latest(name)
        record = repository.attempt(name, attempt)
        if record is None:
            raise NotFound(f"rollout {name!r} has no attempt {attempt}; its page lists them")
        return record

    def _unstarted(self, session: Session, name: str) -> RolloutView:
        config = self._config()
        spec = config.rollouts.get(name)
        control = None
        if spec is not None:
            control = self._controls(RolloutRepository(session)).get(spec.route)
        if spec is None or control is None:
            known = ", ".join(sorted(config.rollouts)) or "none"
            raise NotFound(f"there is no rollout {name!r}; {config.path.name} has {known}")
        return unstarted_view(spec, control)

    def _controls(self, repository: RolloutRepository) -> dict[str, Variant]:
        """Return the effective control of each route."""
        seeds = {name: route.control for name, route in self._config().routes.items()}
        return seeds | repository.controls()
