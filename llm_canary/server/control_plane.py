"""Composes the control plane: configuration, database, loops, REST API and pages."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI

from llm_canary.access.audit import Audit
from llm_canary.access.gate import Gate
from llm_canary.access.keys import ApiKeys
from llm_canary.access.oidc import OidcLogin
from llm_canary.access.secret import InstallationSecret
from llm_canary.api.app import ApiServices, create_api
from llm_canary.clock import Clock
from llm_canary.config.load import LoadedConfig, load
from llm_canary.config.settings import Settings
from llm_canary.config.watch import ConfigWatcher
from llm_canary.errors import ConfigError, NotReady, StorageError
from llm_canary.jobs.loops import Loop
from llm_canary.pages.app import add_pages
from llm_canary.pages.services import PageServices
from llm_canary.providers.price_list import lookup
from llm_canary.retention.erase import Eraser
from llm_canary.retention.expire import Expirer, Terms
from llm_canary.review.queue import ReviewQueue
from llm_canary.rollout.analysis import NO_LOSS, Loss
from llm_canary.rollout.controller import Controller
from llm_canary.rollout.forget import forget_units
from llm_canary.rollout.publish import TABLE_FILE, Publisher
from llm_canary.rollout.scoring import score_due
from llm_canary.rollout.service import RolloutService
from llm_canary.rollout.spending import SpendingPublisher
from llm_canary.routing.table import RoutingTable
from llm_canary.server.data_plane import SPENDING_FILE, DataPlane
from llm_canary.server.workers import Workers
from llm_canary.storage import rollup_upkeep, spending
from llm_canary.storage.engine import make_engine
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.migrate import check, upgrade
from llm_canary.storage.repositories.installation import WEB_SECRET
from llm_canary.telemetry.drain import Drain

_log = logging.getLogger(__name__)
_BATCH = 2_000
_PRUNE_EVERY_S = 3_600.0
_TOLD_WITHIN_S = 1.0  # an ended request is in the spool by then
_LAST_BATCHES = 10  # after that the next start goes on


class ControlPlane:
    """Everything beside the data plane, in threads of this process."""

    def __init__(
        self, data_plane: DataPlane | None, clock: Clock, *, with_workers: bool = True
    ) -> None:
        settings = Settings()
        self._data_dir: Path = settings.data_dir
        self._fine_rollup_days = settings.fine_rollup_days
        self._prune_after_s = 0.0
        self._environment = settings.shown()
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._data_plane = data_plane
        self._clock = clock
        self._config = load(settings.config)
        self._config_problem: str | None = None
        self._watcher = ConfigWatcher(settings.config, self._config)
        self._engine = make_engine(settings.database_url.get_secret_value())
        self._schema_ready = False
        self._schema_lock = threading.Lock()
        self._service = RolloutService(
            self._engine, lambda: self._config, clock, on_change=self._publish_now
        )
        self._controller = Controller(self._engine, self._service, clock, loss=self._loss)
        self._publisher = Publisher(
            self._engine,
            lambda: self._config,
            self._data_dir,
            clock=clock,
            price_lookup=lookup,
        )
        self._spending = SpendingPublisher(self._engine, clock, self._data_dir / SPENDING_FILE)
        self._stored_until_s: float | None = None
        self._drain = Drain(self._data_dir / "spool", SqlBatchSink(self._engine))
        self._eraser = Eraser(self._engine, clock)
        self._expirer = Expirer(self._engine, clock, self._terms)
        self._loops = [
            self._loop("drain", self._drain_step, interval_s=0.1),
            self._loop("score", self._score_step, interval_s=0.25),
            self._loop("decide", self._decide_step, interval_s=1.0),
            self._loop("rollups", self._rollup_step, interval_s=2.0),
            self._loop("publish", self._publisher.publish, interval_s=0.25),
            self._loop("spending", self._spending_step, interval_s=1.0),
            self._loop("forget", self._forget_step, interval_s=60.0),
            self._loop("retain", self._retain_step, interval_s=30.0),
            Loop("config", self._config_step, interval_s=0.5, clock=clock),
        ]
        self._workers = (
            Workers(self._engine, lambda: self._config, clock, ensure_schema=self._ensure_schema)
            if with_workers
            else None
        )
        self.app = self._make_app()

    @property
    def is_keyless(self) -> bool:
        """Whether no API key is configured, so that only this machine may call."""
        return not self._config.keys and not self._publisher.stored_keys.any_made

    async def start(self) -> None:
        """Bring the schema up to date where we may, publish the routing table, start the loops."""
        await asyncio.to_thread(self._start)

    async def close(self) -> None:
        """Stop the loops in order and store what is left in the spool, as far as that is quick."""
        await asyncio.to_thread(self._close)

    def _make_app(self) -> FastAPI:
        clock = self._clock
        gate = Gate(
            self._engine, clock, lambda: self._config.keys, lambda: self._publisher.stored_keys
        )
        keys = ApiKeys(self._engine, clock, on_change=self._publish_now)
        reviews = ReviewQueue(self._engine, clock)
        app = create_api(
            ApiServices(
                engine=self._engine,
                rollouts=self._service,
                reviews=reviews,
                eraser=self._eraser,
                gate=gate,
                keys=keys,
                audit=Audit(self._engine, clock, via="api"),
                clock=clock,
                config=lambda: self._config,
                status=self._status,
                ready=self._require_ready,
            )
        )
        add_pages(
            app,
            PageServices(
                engine=self._engine,
                rollouts=self._service,
                reviews=reviews,
                gate=gate,
                keys=keys,
                audit=Audit(self._engine, clock, via="web"),
                clock=clock,
                config=lambda: self._config,
                status=self._status,
                ready=self._require_ready,
                environment=self._environment,
                web_url=lambda: self._config.file.web.url,
                oidc=OidcLogin(
                    lambda: self._config.file.web.oidc,
                    clock,
                    InstallationSecret(self._engine, WEB_SECRET),
                ),
            ),
        )
        return app

    def _start(self) -> None:
        try:
            self._ensure_schema()
            self._service.check_config(self._config)
            self._publisher.publish()
        except StorageError as error:
            if not (self._data_dir / TABLE_FILE).is_file():
                raise
            _log.warning("serving by the last good table: %s", error.message)
        for loop in self._loops:
            loop.start()
        if self._workers is not None:
            self._workers.start()

    def _close(self) -> None:
        if self._workers is not None:
            self._workers.close()
        for loop in self._loops:
            loop.stop()
        # What the data plane has flushed a moment ago need not wait for the next start.
        for _ in range(_LAST_BATCHES):
            if self._drain.drain_once(_BATCH) < _BATCH:
                break
        self._drain.close()
        self._controller.close()
        self._engine.dispose()

    def _loop(self, name: str, step: Callable[[], bool | None], *, interval_s: float) -> Loop:
        """Return a loop whose step finds a current schema."""

        def run() -> bool | None:
            self._ensure_schema()
            return step()

        return Loop(name, run, interval_s=interval_s, clock=self._clock)

    def _ensure_schema(self) -> None:
        with self._schema_lock:
            if self._schema_ready:
                return
            if self._engine.dialect.name == "sqlite":
                upgrade(self._engine)
            check(self._engine)
            self._schema_ready = True

    def _publish_now(self) -> None:
        try:
            self._publisher.publish()
        except (StorageError, OSError) as error:
            # The change is committed; the publish loop tries again in a moment.
            _log.warning("publishing waits: %s", type(error).__name__)

    def _drain_step(self) -> bool:
        began_s = self._clock.now_s()
        drained = self._drain.drain_once(_BATCH)
        if (error := self._drain.stats.last_error) is not None:
            raise StorageError(f"telemetry waits on disk: {error}")
        if drained < _BATCH and self._drain.is_leader:
            self._stored_until_s = began_s - _TOLD_WITHIN_S
        return drained >= _BATCH

    def _spending_step(self) -> bool:
        # One process of those beside a spool knows what of it is stored: the one that drains.
        if self._stored_until_s is not None and _has_budget(self._publisher.table):
            self._spending.publish(self._stored_until_s)
        return False

    def _score_step(self) -> bool:
        # One process enters responses into the sums: the one that decides.
        return self._controller.is_leader and score_due(self._engine, self._clock, _BATCH) >= _BATCH

    def _forget_step(self) -> bool:
        is_leader = self._controller.is_leader
        return is_leader and forget_units(self._engine, self._clock, _BATCH) >= _BATCH

    def _rollup_step(self) -> bool:
        if not self._controller.is_leader:
            return False
        now_s = self._clock.now_s()
        if now_s >= self._prune_after_s:
            rollup_upkeep.prune(self._engine, now_s, self._fine_rollup_days)
            spending.prune(self._engine, now_s)
            self._prune_after_s = now_s + _PRUNE_EVERY_S
        return rollup_upkeep.count_thumbs(self._engine, now_s) >= rollup_upkeep.LIMIT

    def _retain_step(self) -> bool:
        if not self._controller.is_leader:
            return False
        # Both, also where one has much to do.
        is_erasing, is_expiring = self._eraser.step(), self._expirer.step()
        return is_erasing or is_expiring

    def _terms(self) -> dict[str, Terms]:
        return {
            name: Terms(entry.content.retain_days, entry.content.rows_days)
            for name, entry in self._config.file.routes.items()
        }

    def _decide_step(self) -> bool:
        self._controller.tick()
        return False

    def _config_step(self) -> bool:
        polled = self._watcher.poll()
        if isinstance(polled, ConfigError):
            self._refuse("\n".join(polled.problems))
        elif polled is not None:
            self._take_over(polled)
        return False

    def _take_over(self, loaded: LoadedConfig) -> None:
        try:
            self._service.check_config(loaded)
        except ConfigError as error:
            self._refuse("\n".join(error.problems))
            return
        self._config = loaded
        self._config_problem = None

    def _refuse(self, problem: str) -> None:
        self._config_problem = problem
        _log.warning("new configuration refused, the old one stays in force:\n%s", problem)

    def _require_ready(self) -> None:
        try:
            self._ensure_schema()
        except StorageError as error:
            raise NotReady(error.message) from error

    def _loss(self) -> Loss:
        if self._data_plane is None:
            return NO_LOSS
        stats = self._data_plane.writer.stats
        return Loss(stats.accepted, stats.dropped_full + stats.dropped_error)

    def _telemetry(self) -> dict[str, Any] | None:
        if self._data_plane is None:
            return None
        stats = msgspec.structs.asdict(self._data_plane.writer.stats)
        return stats | {"texts_dropped": self._data_plane.state.texts_dropped}

    def _status(self) -> dict[str, Any]:
        return {
            "config_hash": self._config.hash,
            "config_problem": self._config_problem,
            "telemetry": self._telemetry(),
            "limited": self._data_plane.state.meters.refused() if self._data_plane else None,
            "drain": msgspec.structs.asdict(self._drain.stats),
            "loops": [
                asdict(status)
                for status in (
                    *(loop.status for loop in self._loops),
                    *(self._workers.status if self._workers is not None else ()),
                )
            ],
        }


def _has_budget(table: RoutingTable | None) -> bool:
    if table is None:
        return False
    limits = [each.limits for each in table.routes.values()]
    limits += [each.limits for each in table.keys]
    limits += [each.limits for each in table.stored.keys]
    return any(each is not None and each.budget_nanousd_per_day is not None for each in limits)
