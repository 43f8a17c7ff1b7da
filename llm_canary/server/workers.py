"""Composes the workers that grade: in the server's own process, or in processes of their own."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType

from sqlalchemy.engine import Engine

from llm_canary.clock import Clock, SystemClock
from llm_canary.config.load import LoadedConfig, load
from llm_canary.config.settings import Settings
from llm_canary.config.watch import ConfigWatcher
from llm_canary.errors import ConfigError
from llm_canary.jobs.loops import Loop, LoopStatus
from llm_canary.judging.live_trust import compare_judges
from llm_canary.judging.worker import JudgeWorker, WorkerTerms
from llm_canary.storage.engine import make_engine
from llm_canary.storage.migrate import check, upgrade

_log = logging.getLogger(__name__)
_NANO = 1_000_000_000
_COMPARE_EVERY_S = 20.0


class Workers:
    """The loops that grade answers and compare judges with people."""

    def __init__(
        self,
        engine: Engine,
        config: Callable[[], LoadedConfig],
        clock: Clock,
        *,
        ensure_schema: Callable[[], None],
    ) -> None:
        self._worker = JudgeWorker(engine, clock, lambda: _terms(config()))

        def judge() -> bool:
            ensure_schema()
            return self._worker.step()

        def compare() -> bool:
            ensure_schema()
            compare_judges(engine, clock)
            return False

        self._loops = [
            Loop("judge", judge, interval_s=0.25, clock=clock),
            Loop("compare", compare, interval_s=_COMPARE_EVERY_S, clock=clock),
        ]

    def start(self) -> None:
        """Start the loops."""
        for loop in self._loops:
            loop.start()

    def close(self) -> None:
        """End the loops; what is claimed and not graded goes to others."""
        self._worker.end()
        for loop in self._loops:
            loop.stop()
        self._worker.close()

    @property
    def status(self) -> list[LoopStatus]:
        """Return how the loops are doing."""
        return [loop.status for loop in self._loops]


def run_workers() -> None:
    """Grade until a signal ends the process; it serves nothing and opens no port."""
    settings, clock = Settings(), SystemClock()
    current = [load(settings.config)]
    watcher = ConfigWatcher(settings.config, current[0])
    engine = make_engine(settings.database_url.get_secret_value())
    if engine.dialect.name == "sqlite":
        upgrade(engine)
    check(engine)

    def follow() -> bool:
        polled = watcher.poll()
        if isinstance(polled, ConfigError):
            _log.warning("new configuration refused:\n%s", "\n".join(polled.problems))
        elif polled is not None:
            current[0] = polled
        return False

    workers = Workers(engine, lambda: current[0], clock, ensure_schema=lambda: None)
    following = Loop("config", follow, interval_s=0.5, clock=clock)
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, end)
    following.start()
    workers.start()
    ended.wait()
    following.stop()
    workers.close()
    engine.dispose()


def _terms(config: LoadedConfig) -> WorkerTerms:
    entry = config.file.judging
    limit = entry.max_cost_usd_per_day
    return WorkerTerms(entry.concurrency, None if limit is None else round(limit * _NANO))
