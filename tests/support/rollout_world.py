"""A rollout on SQL without a server: simulated responses as events, the clock moved by hand."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock
from llm_canary.config.load import load
from llm_canary.rollout.controller import Controller
from llm_canary.rollout.publish import Publisher
from llm_canary.rollout.scoring import score_due
from llm_canary.rollout.service import RolloutService
from llm_canary.routing.assign import Assignment, SplitRule, Unit, assign
from llm_canary.routing.bucket import canary_buckets, unit_hash
from llm_canary.routing.table import Role, Split
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.telemetry.events import (
    InferenceEvent,
    OutcomeEvent,
    TargetKind,
    Terminal,
    UsageSource,
)
from tests.support import schema

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
    # Outcome -> how often it comes, of `crowd`; what does not come is not sent.
    outcomes: dict[str, float] = field(default_factory=dict)


class Luck(NamedTuple):
    """What chance adds to one request."""

    failure: float  # uniform
    cost: float  # factors
    latency: float


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
    visitors: int = 0  # users of `crowd` so far
    exposed: int = 0  # those whom the canary served

    def __post_init__(self) -> None:
        path = self.directory / "canary.yaml"
        path.write_text(self.config_text)
        self.config = load(path)
        if self.engine is None:
            self.engine = schema.sqlite_engine(self.directory / "world.db")
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
        self._id_rng = np.random.default_rng([self.seed, 7])

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
        while score_due(self.engine, self.clock, 10_000):
            pass

    def request(self, at_s: float, **changes: Any) -> list[Any]:
        """Return a request of some returning user, and perhaps its thumb."""
        user = f"user-{int(self.rng.integers(self.units))}"
        luck = Luck(self.rng.random(), self.rng.lognormal(0.0, 0.3), self.rng.lognormal(0.0, 0.5))
        values = self.routed(user, at_s, luck)
        event = InferenceEvent(**(values | changes))
        if self.arm_of is not None and not self.arm_of(event):
            return []
        events: list[Any] = [event]
        arm = self.canary if event.served == Role.CANARY else self.control
        if (
            event.terminal is Terminal.COMPLETED
            and arm.thumbs_up is not None
            and self.rng.random() < arm.rated
        ):
            events.append(self.thumb(event, up=bool(self.rng.random() < arm.thumbs_up)))
        return events

    def crowd(self, requests: int, seconds: float) -> None:
        """Like `step`, with one request of each of so many new users, drawn in bulk."""
        gc.disable()  # a third of the time would go into looking for garbage among the new rows
        try:
            self._crowd(requests, seconds)
        finally:
            gc.enable()

    def _crowd(self, requests: int, seconds: float) -> None:
        start_s = self.clock.now_s()
        ats = start_s + np.sort(self.rng.uniform(0.0, seconds, requests))
        luck = zip(
            self.rng.random(requests),
            self.rng.lognormal(0.0, 0.3, requests),
            self.rng.lognormal(0.0, 0.5, requests),
            strict=True,
        )
        events: list[Any] = []
        for at_s, chance in zip(ats.tolist(), luck, strict=True):
            self.visitors += 1
            event = InferenceEvent(**self.routed(f"visitor-{self.visitors}", at_s, Luck(*chance)))
            events.append(event)
            self.exposed += event.served == Role.CANARY
            arm = self.canary if event.served == Role.CANARY else self.control
            events += [
                self.outcome(event, name, value=True)
                for name, rate in arm.outcomes.items()
                if self.rng.random() < rate
            ]
        self.sink.write(events)
        self.clock.advance(seconds)
        self.score()
        self.controller.tick()

    def assigned(self, user: str) -> tuple[Split | None, Assignment]:
        """Return the split in force and the user's arm, as the gateway would."""
        table = self.publisher.table
        split = table.routes["bot"].split if table is not None else None
        rule = None if split is None else SplitRule(split.salt, canary_buckets(split.share))
        unit = Unit(user, "header:x-canary-user")
        return split, assign(rule, unit, pin=None, is_eligible=True)

    def routed(self, user: str, at_s: float, luck: Luck) -> dict[str, Any]:
        """Return the facts of the user's request: assigned, served, answered or failed."""
        split, assignment = self.assigned(user)
        is_canary = assignment.role is Role.CANARY
        arm = self.canary if is_canary else self.control
        failed = luck.failure < arm.error
        cost = None if failed else round(arm.cost_nanousd * luck.cost)
        return {
            "id": self._id(at_s),
            "at_s": at_s,
            "endpoint": "chat.completions",
            "route": "bot",
            "rollout_id": split.rollout_id if split else None,
            "stage": split.stage if split else None,
            "share": split.share if split else None,
            "settle_s": split.settle_s if split else 0.0,
            "assigned": assignment.role.value if split else None,
            "served": assignment.role.value,
            "reason": assignment.reason.value,
            "eligible": assignment.eligible,
            "unit_hash": unit_hash(b"secret", user),
            "segments": {"tier": "free" if int(user.rpartition("-")[2]) % 3 else "paid"},
            "upstream": "sim",
            "model": "new" if is_canary else "good",
            "reported_model": "new-1" if is_canary else "good-1",
            "status": 400 if failed else 200,
            "terminal": Terminal.UPSTREAM_ERROR if failed else Terminal.COMPLETED,
            "latency_ms": float(arm.latency_ms * luck.latency),
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "usage_source": UsageSource.PROVIDER,
            "cost_nanousd": cost,
            "uncached_cost_nanousd": cost,
            "empty": None if failed else False,
        }

    def _id(self, at_s: float) -> str:
        """Return a UUIDv7 of that time; like all chance here it is the seed's, for ids are hashed into samples."""
        digits = self._id_rng.bytes(9).hex()
        return f"{int(at_s * 1000):012x}7{digits[:3]}8{digits[3:]}"

    def thumb(self, event: InferenceEvent, *, up: bool, after_s: float = 1.0) -> OutcomeEvent:
        return self.outcome(event, "thumbs", value=up, after_s=after_s)

    def outcome(
        self, event: InferenceEvent, metric: str, *, value: bool, after_s: float = 1.0
    ) -> OutcomeEvent:
        return OutcomeEvent(
            id=self._id(event.at_s + after_s),
            target_kind=TargetKind.REQUEST,
            target_id=event.id,
            metric=metric,
            value=value,
            at_s=event.at_s + after_s,
            occurred_at_s=event.at_s + after_s,
        )

    @property
    def view(self) -> Any:
        return self.service.status("next")

    def actions(self) -> list[tuple[str, str | None]]:
        """(action, stage entered), oldest first."""
        return [(each.action, each.to_stage) for each in reversed(self.service.history("next"))]
