"""Controllers as processes of their own on one PostgreSQL database, and rollouts to steer.

`python -m tests.support.controllers URL HOLDER [decide]` is one controller: the loops of the
server that decide and score, with a short lease.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.engine import Engine

from llm_canary.clock import SystemClock
from llm_canary.config.load import LoadedConfig, load
from llm_canary.jobs.loops import Loop
from llm_canary.rollout.controller import Controller
from llm_canary.rollout.scoring import score_due
from llm_canary.rollout.service import RolloutService
from llm_canary.routing.assign import SplitRule, Unit, assign
from llm_canary.routing.bucket import canary_buckets, unit_hash
from llm_canary.routing.table import Role
from llm_canary.storage.engine import make_engine, read_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories.rollouts import RolloutRecord, RolloutRepository
from llm_canary.telemetry.events import Terminal
from tests.factories import make_inference

ROOT = Path(__file__).parents[2]
LEASE_S = 1.2
UNITS = 600
MOST_UNSCORED = 300

# What was written and by whom, as the database saw it, and waits that widen the moments between
# two writes of one transaction.
WITNESS = """
CREATE TABLE witness (
    number bigserial, what text, id text, rollout_id text, writer text, holder text, fence bigint);
CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE present lease%ROWTYPE;
BEGIN
    SELECT * INTO present FROM lease WHERE name = 'controller';
    INSERT INTO witness (what, id, rollout_id, writer, holder, fence) VALUES (
        TG_TABLE_NAME, NEW.id, NEW.rollout_id, current_setting('application_name'),
        present.holder, present.fence);
    PERFORM pg_sleep(random() * 0.03);
    RETURN NULL;
END $$;
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(random() * 0.03);
    RETURN NULL;
END $$;
CREATE TRIGGER witness AFTER INSERT ON decision FOR EACH ROW EXECUTE FUNCTION witness();
CREATE TRIGGER witness AFTER INSERT ON transition FOR EACH ROW EXECUTE FUNCTION witness();
CREATE TRIGGER linger AFTER DELETE ON score_task FOR EACH STATEMENT EXECUTE FUNCTION linger();
"""

_PLANS = """
    full_cycle: 0s
    warmup: 0s
    settle: 0s
    gates:
      error_rate: {kind: guardrail, margin: 25pp}
    stages:
      - {name: initial, share: 30%, min: 500ms, max: MAX, min_units: 20}
      - {name: broad, share: 50%, min: 500ms, max: MAX, min_units: 20}
      - {name: full, holdback: 20%}
      - {name: standby, for: STANDBY}
"""
# The kind of a rollout is the beginning of its name: what its canary does, and its plan.
KINDS = {"good": "quick", "bad": "quick", "late": "patient", "held": "quick", "idle": "brief"}


def config_text(names: list[str]) -> str:
    """Return a configuration in which each rollout has a route of its own."""
    lines = ["version: 1", "upstreams:", '  sim: {kind: openai, base_url: "http://127.0.0.1:9"}']
    lines += ["routes:", *(f"  {name}: {{control: {{upstream: sim, model: a}}}}" for name in names)]
    lines += ["rollouts:"]
    for name in names:
        plan = KINDS[name.partition("-")[0]]
        lines.append(
            f"  {name}: {{route: {name}, canary: {{upstream: sim, model: b}}, plan: {plan}}}"
        )
    lines += ["plans:"]
    for plan, longest, standby in (
        ("quick", "10m", "1s"), ("patient", "10m", "10m"), ("brief", "2s", "1s"),
    ):  # fmt: skip
        lines.append(f"  {plan}:{_PLANS.replace('MAX', longest).replace('STANDBY', standby)}")
    return "\n".join(lines)


@dataclass
class Process:
    """One controller, started again under a new name after each death."""

    url: str
    log: Path
    name: str
    mode: str = "all"
    lives: int = 0
    child: subprocess.Popen[bytes] | None = None

    @property
    def holder(self) -> str:
        return f"{self.name}-{self.lives}"

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    def start(self) -> None:
        self.lives += 1
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, self.url, self.holder, self.mode],
                cwd=ROOT,
                env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        if self.child is not None:
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()
            self.child = None


@dataclass
class Fleet:
    """Rollouts with traffic, and the processes that steer them; moved on by `step`."""

    directory: Path
    url: str
    names: list[str]
    seed: int = 1
    controllers: tuple[str, ...] = ("one", "two")
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        path = self.directory / "canary.yaml"
        path.write_text(config_text(self.names))
        self.config: LoadedConfig = load(path)
        self.engine: Engine = make_engine(self.url)
        self.draw = random.Random(self.seed)
        self.service = RolloutService(
            self.engine,
            lambda: self.config,
            SystemClock(),
            new_salt=lambda: f"salt-{self.draw.getrandbits(32):x}",
        )
        self.waiting = list(self.names)
        self.sink = SqlBatchSink(self.engine)
        self.monitor: psycopg.Connection[Any] = psycopg.connect(self.url, autocommit=True)
        for name in self.controllers:
            self.processes.append(Process(self.url, self.directory / f"{name}.log", name))

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
        self.monitor.close()
        self.engine.dispose()

    def ask(self, query: str, *values: object) -> list[Any]:
        return self.monitor.execute(query, values).fetchall()

    def leader(self) -> Process | None:
        """Return the process whose lease is in force."""
        found = self.ask("SELECT holder FROM lease WHERE expires_at > clock_timestamp()")
        return next((each for each in self.processes if (each.holder,) in found), None)

    def is_writing(self, process: Process) -> bool:
        """Say whether the process is between two writes of one transaction."""
        query = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event = %s"
        return bool(self.ask(query, process.holder, "PgSleep"))

    def active(self) -> tuple[RolloutRecord, ...]:
        with read_session(self.engine) as session:
            return RolloutRepository(session).active()

    def step(self, at_once: int = 8) -> None:
        """Start what may start, send every active rollout some requests, let a moment pass."""
        active = self.active()
        busy = [each for each in active if each.hold is None]
        for name in self.waiting[: max(at_once - len(busy), 0)]:
            self.service.start(name, actor="mara", reason="try it")
            if name.startswith("held"):
                self.service.hold(name, actor="mara", reason="let me look")
        self.waiting = self.waiting[max(at_once - len(busy), 0) :]
        # A scorer that falls behind would be shown what has been long ago.
        [(unscored,)] = self.ask("SELECT count(*) FROM score_task")
        if unscored < MOST_UNSCORED:
            self.sink.write([
                self._request(record)
                for record in active
                if not record.name.startswith("idle") and not self._is_settled(record)
                for _ in range(12)
            ])  # fmt: skip
        time.sleep(0.05)

    def is_done(self) -> bool:
        """Say whether every rollout has come to its end or waits for a person."""
        return not self.waiting and all(self._is_settled(each) for each in self.active())

    def _is_settled(self, record: RolloutRecord) -> bool:
        if record.name.startswith("held"):
            return bool(record.progress.harm)
        return record.hold is not None

    def _request(self, record: RolloutRecord) -> Any:
        user = f"user-{self.draw.randrange(UNITS)}"
        rule = SplitRule(record.salt, canary_buckets(record.share))
        unit = Unit(user, "header:x-canary-user")
        role = assign(rule, unit, pin=None, is_eligible=True).role
        is_bad = record.name.startswith(("bad", "held")) or (
            record.name.startswith("late") and record.stage == "standby"
        )
        failed = role is Role.CANARY and is_bad and self.draw.random() < 0.6
        return make_inference(
            at_s=time.time(),
            route=record.route,
            rollout_id=record.id,
            stage=record.stage,
            share=record.share,
            assigned=role.value,
            served=role.value,
            unit_hash=unit_hash(b"secret", user),
            segments={},
            status=500 if failed else 200,
            terminal=Terminal.UPSTREAM_ERROR if failed else Terminal.COMPLETED,
            latency_ms=5.0,
            response_id=None,
            body_hash=None,
        )


def control(url: str, holder: str, mode: str) -> None:
    """Run as one controller until killed."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {holder} %(message)s")
    engine = make_engine(url)

    @event.listens_for(engine, "connect")
    def name(connection: Any, _: object) -> None:
        connection.execute(f"SET application_name TO '{holder}'")
        connection.commit()

    clock = SystemClock()
    service = RolloutService(engine, lambda: sys.exit("a controller needs no file"), clock)
    controller = Controller(engine, service, clock, holder=holder, lease_ttl_s=LEASE_S)

    def decide() -> bool:
        controller.tick()
        return False

    def score() -> bool:
        return controller.is_leader and score_due(engine, clock, 200) >= 200

    loops = [Loop("decide", decide, interval_s=0.05, clock=clock)]
    if mode == "all":
        loops.append(Loop("score", score, interval_s=0.05, clock=clock))
    for loop in loops:
        loop.start()
    signal.pause()


if __name__ == "__main__":
    control(*sys.argv[1:])
