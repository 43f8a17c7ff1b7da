"""A rollout on SQL without a server: simulated responses as events, the clock moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock
from llm_canary.config.load import load
from llm_canary.ids import uuid7
from llm_canary.rollout.controller import Controller
from llm_canary.rollout.publish import Publisher
from llm_canary.rollout.scoring import score_due
from llm_canary.rollout.service import RolloutService
from llm_canary.routing.bucket import in_canary, unit_bucket, unit_hash
from llm_canary.storage.engine import make_engine
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.migrate import metadata
from llm_canary.telemetry.events import (
    InferenceEvent,
    OutcomeEvent,
    TargetKind,
    Terminal,
    UsageSource,
)

QUICK = """
version: 1
upstreams:
  sim: {kind: openai, base_url: "http://127.0.0.1:9"}
routes:
  bot:
    control: {upstream: sim, model: good}
    segments: {tier: "header:x-canary-segment-tier"}
rollouts:
  next: {route: bot, canary: {upstream: sim, model: new}, plan: PLAN}
plans:
  quick:
    full_cycle: 0s
    warmup: 0s
    settle: 1s
    stages:
      - {name: initial, share: 10%, min: 60s, max: 180s, min_units: 20}
      - {name: broad, share: 50%, min: 60s, max: 180s, min_units: 20}
      - {name: full, holdback: 1%}
      - {name: standby, for: 120s}
    gates:
      error_rate: {kind: guardrail, margin: 5pp}
      cost_per_request: {kind: goal, margin: 25%}
metrics:
  thumbs_up_rate: {window: 1h}
"""


@dataclass
class Arm:
    """How one variant answers."""

    error: float = 0.0
    latency_ms: float = 800.0
    cost_nanousd: float = 400_000.0
    thumbs_up: float | None = None
    rated: float = 0.0


@dataclass
class World:
    """Engine, service, controller and a stream of simulated requests."""

    directory: Path
    config_text: str
    seed: int = 1
    units: int = 2_000
    engine: Engine | None = None
    clock: ManualClock = field(default_factory=ManualClock)
    control: Arm = field(default_factory=Arm)
    canary: Arm = field(default_factory=Arm)
    arm_of: Callable[[InferenceEvent], bool] | None = None  # a broken split: keep the event?

    def __post_init__(self) -> None:
        path = self.directory / "canary.yaml"
        path.write_text(self.config_text)
        self.config = load(path)
        if self.engine is None:
            self.engine = make_engine(f"sqlite:///{self.directory}/world.db")
            metadata().create_all(self.engine)
        self.sink = SqlBatchSink(self.engine)
        self.publisher = Publisher(self.engine, lambda: self.config, self.directory)
        self.service = RolloutService(
            self.engine,
            lambda: self.config,
            self.clock,
            on_change=self.publisher.publish,
            new_salt=lambda: f"salt-{self.seed}",
        )
        self.controller = Controller(self.engine, self.service, self.clock, holder="one")
        self.publisher.publish()
        self.rng = np.random.default_rng(self.seed)

    def start(self, name: str = "next") -> None:
        self.service.start(name, actor="mara", reason="try it")

    def step(self, requests: int, seconds: float, *, tick: bool = True) -> None:
        """Let `seconds` pass with `requests` requests spread over them, then score and decide."""
        start_s = self.clock.now_s()
        events = []
        for offset in np.sort(self.rng.uniform(0.0, seconds, requests)):
            events += self.request(start_s + float(offset))
        if events:
            self.sink.write(events)
        self.clock.advance(seconds)
        self.score()
        if tick:
            self.controller.tick()

    def score(self) -> None:
        while score_due(self.engine, self.clock, 2_000):
            pass

    def request(self, at_s: float, **changes: Any) -> list[Any]:
        table = self.publisher.table
        route = table.routes["bot"]
        user = f"user-{int(self.rng.integers(self.units))}"
        canary, split = False, route.split
        if split is not None:
            canary = in_canary(unit_bucket(split.salt, user), split.share)
        arm = self.canary if canary else self.control
        failed = bool(self.rng.random() < arm.error)
        cost = round(arm.cost_nanousd * float(self.rng.lognormal(0.0, 0.3)))
        values: dict[str, Any] = {
            "id": uuid7(),
            "at_s": at_s,
            "endpoint": "chat.completions",
            "route": "bot",
            "rollout_id": split.rollout_id if split else None,
            "stage": split.stage if split else None,
            "share": split.share if split else None,
            "assigned": ("canary" if canary else "control") if split else None,
            "served": "canary" if canary else "control",
            "reason": "hash" if split else "no_rollout",
            "eligible": split is not None,
            "unit_hash": unit_hash(b"secret", user),
            "segments": {"tier": "free" if int(user[5:]) % 3 else "paid"},
            "upstream": "sim",
            "model": "new" if canary else "good",
            "reported_model": "new-1" if canary else "good-1",
            "status": 400 if failed else 200,
            "terminal": Terminal.UPSTREAM_ERROR if failed else Terminal.COMPLETED,
            "latency_ms": float(arm.latency_ms * self.rng.lognormal(0.0, 0.5)),
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "usage_source": UsageSource.PROVIDER,
            "cost_nanousd": None if failed else cost,
            "uncached_cost_nanousd": None if failed else cost,
            "empty": None if failed else False,
        }
        event = InferenceEvent(**(values | changes))
        if self.arm_of is not None and not self.arm_of(event):
            return []
        events: list[Any] = [event]
        if not failed and arm.thumbs_up is not None and self.rng.random() < arm.rated:
            events.append(self.thumb(event, up=bool(self.rng.random() < arm.thumbs_up)))
        return events

    def thumb(self, event: InferenceEvent, *, up: bool, after_s: float = 1.0) -> OutcomeEvent:
        return OutcomeEvent(
            id=uuid7(),
            target_kind=TargetKind.REQUEST,
            target_id=event.id,
            metric="thumbs",
            value=up,
            at_s=event.at_s + after_s,
            occurred_at_s=event.at_s + after_s,
        )

    @property
    def view(self) -> Any:
        return self.service.status("next")

    def actions(self) -> list[tuple[str, str | None]]:
        """(action, stage entered), oldest first."""
        return [(each.action, each.to_stage) for each in reversed(self.service.history("next"))]
