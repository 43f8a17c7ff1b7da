"""What the day has cost becomes a file that the gateways beside it follow."""

from __future__ import annotations

from pathlib import Path

import msgspec
from sqlalchemy.engine import Engine

from llm_canary.clock import Clock
from llm_canary.rollout.publish import write_private
from llm_canary.routing.limits import Spending
from llm_canary.storage import spending


class SpendingPublisher:
    """Keeps the file up to date."""

    def __init__(self, engine: Engine, clock: Clock, path: Path) -> None:
        self._engine = engine
        self._clock = clock
        self._path = path

    def publish(self, until_s: float) -> None:
        """Write what today has cost; what ended before `until_s` is known to be in the database."""
        day = spending.day_of(self._clock.now_s())
        with self._engine.connect() as connection:
            spent = spending.read(connection, day)
        keys, routes = spent[spending.KEY], spent[spending.ROUTE]
        write_private(self._path, msgspec.json.encode(Spending(day, keys, routes, until_s)))
