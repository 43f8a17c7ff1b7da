"""Lets texts and rows grow old as each route's `content` says; sums and decisions stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy.engine import Engine

from llm_canary.clock import Clock, utc
from llm_canary.rollout.late import id_at
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.erasing import ErasingRepository
from llm_canary.storage.repositories.rollouts import RolloutRepository

_BATCH = 500
_DAY_S = 86_400.0
# Comments come later than requests: so long newer ones are compared with the policy of what they
# are about, which the gateway did not know when it took them.
_NEW = timedelta(days=2)


class Terms(NamedTuple):
    """For how many days a route's texts and rows are kept; None = for ever."""

    texts_days: int | None
    rows_days: int | None


class Expirer:
    """Removes what is older than the terms in force; `step` does a part of the work."""

    def __init__(
        self, engine: Engine, clock: Clock, terms: Callable[[], Mapping[str, Terms]]
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._terms = terms
        self._day = -1
        self._positions: dict[str, str] = {}  # by route, the last row that was looked at

    def step(self) -> bool:
        """Remove one batch of each route; True = there is more."""
        terms = self._terms()
        now_s = self._clock.now_s()
        if (day := int(now_s // _DAY_S)) != self._day:
            # Rows that waited on a disk have come behind the position.
            self._day, self._positions = day, {}
        more = [
            self._texts(route, now_s - each.texts_days * _DAY_S)
            for route, each in terms.items()
            if each.texts_days is not None
        ]
        more += [
            self._rows(route, now_s - each.rows_days * _DAY_S)
            for route, each in terms.items()
            if each.rows_days is not None
        ]
        self._comments(terms, now_s)
        return any(more)

    def _texts(self, route: str, before_s: float) -> bool:
        with read_session(self._engine) as session:
            ids = ErasingRepository(session).with_text(route, utc(before_s), _BATCH)
        if ids:
            with write_session(self._engine) as session:
                ErasingRepository(session).clear_texts(ids)
        return len(ids) == _BATCH

    def _rows(self, route: str, before_s: float) -> bool:
        span = (self._positions.get(route, ""), id_at(before_s))
        with read_session(self._engine) as session:
            rollouts = RolloutRepository(session)
            # Of these a response may still be scored, and gates read their samples.
            unfinished = [*rollouts.active(), *rollouts.ended_with_units()]
            keep = {record.id for record in unfinished}
            ids = ErasingRepository(session).rows_before(route, span, keep, _BATCH)
        if ids:
            with write_session(self._engine) as session:
                ErasingRepository(session).delete_rows(ids)
        self._positions[route] = ids[-1] if len(ids) == _BATCH else span[1]
        return len(ids) == _BATCH

    def _comments(self, terms: Mapping[str, Terms], now_s: float) -> None:
        days = [each.texts_days for each in terms.values() if each.texts_days is not None]
        # A comment on a session is no route's: the shortest term counts.
        before = utc(now_s - min(days) * _DAY_S) if days else utc(0.0)
        with write_session(self._engine) as session:
            ErasingRepository(session).clear_comments(before, utc(now_s) - _NEW)
