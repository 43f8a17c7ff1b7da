"""A rollout with hours of traffic in both arms, stored as a gateway's facts are stored."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
from sqlalchemy import insert
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock, utc
from llm_canary.config.load import LoadedConfig
from llm_canary.config.rollout_spec import RolloutSpec
from llm_canary.ids import uuid7
from llm_canary.rollout.reading import RolloutReader
from llm_canary.routing.table import Role, Variant
from llm_canary.storage import rollup_upkeep
from llm_canary.storage.engine import write_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.models.grading import Sample
from llm_canary.storage.repositories.rollouts import (
    RolloutRecord,
    RolloutRepository,
    State,
    TransitionRecord,
)
from llm_canary.telemetry.events import InferenceEvent, Terminal
from tests.factories import NOON_S, make_inference, make_outcome
from tests.support.evidence import plan

HOUR_S = 3_600.0


def rollouts_of(engine: Engine) -> SimpleNamespace:
    """The part of the rollout service that the charts ask, without a configuration."""

    def nothing() -> LoadedConfig:
        raise AssertionError("the charts read no configuration")

    return SimpleNamespace(read=RolloutReader(engine, nothing, ManualClock(NOON_S)), list=tuple)


def add_rollout(engine: Engine, *, name: str = "next", hours: float = 6.0, **changes: Any) -> str:
    """Store a running rollout that began `hours` before noon and changed its stage halfway."""
    started_s = NOON_S - hours * HOUR_S
    facts = {
        "id": "rollout-1",
        "name": name,
        "attempt": 1,
        "build_attempt": 1,
        "route": "support-bot",
        "state": State.RUNNING,
        "salt": "salt",
        "spec": RolloutSpec(
            name=name, route="support-bot", canary=Variant("sim", "new"), plan=plan()
        ),
        "created_at_s": started_s,
        "stage": "broad",
        "share": 0.25,
        "seq": 2,
        "started_at_s": started_s,
        "stage_started_at_s": NOON_S - hours * HOUR_S / 2,
    }
    record = RolloutRecord(**(facts | changes))
    with write_session(engine) as session:
        repository = RolloutRepository(session)
        repository.add(record)
        before = record
        for seq, (stage, share, at_s) in enumerate(
            (("initial", 0.05, started_s), ("broad", 0.25, NOON_S - hours * HOUR_S / 2)), start=3
        ):
            after = RolloutRecord(**(_fields(record) | {"seq": seq, "stage": stage}))
            repository.advance(
                before,
                after,
                TransitionRecord(
                    id=uuid7(),
                    rollout_id=record.id,
                    seq=seq,
                    at_s=at_s,
                    action="start" if stage == "initial" else "promote",
                    actor="robot",
                    reason="",
                    from_state="running",
                    to_state="running",
                    from_stage=None if stage == "initial" else "initial",
                    to_stage=stage,
                    share=share,
                ),
            )
            before = after
    return record.id


def _fields(record: RolloutRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def add_traffic(
    engine: Engine, *, hours: float = 6.0, per_minute: int = 10, pause: tuple[float, float] = (2, 3)
) -> int:
    """Store requests of both arms and some thumbs; none between the hours of `pause`."""
    luck = np.random.default_rng(7)
    events: list[Any] = []
    for number in range(int(hours * 60 * per_minute)):
        at_s = NOON_S - hours * HOUR_S + number * 60 / per_minute
        if pause[0] <= (at_s - NOON_S) / HOUR_S + hours < pause[1]:
            continue
        arm = Role.CANARY if luck.random() < 0.25 else Role.CONTROL
        is_canary = arm is Role.CANARY
        is_error = luck.random() < (0.02 if is_canary else 0.01)
        tokens = int(luck.lognormal(5.2 if is_canary else 5.0, 0.6))
        event = make_inference(
            id=uuid7(),
            at_s=at_s,
            assigned=arm.value,
            served=arm.value,
            stream=True,
            terminal=Terminal.UPSTREAM_ERROR if is_error else Terminal.COMPLETED,
            latency_ms=float(luck.lognormal(6.6 + 0.2 * is_canary, 0.5)),
            ttft_ms=float(luck.lognormal(5.0, 0.4)),
            completion_tokens=tokens,
            cost_nanousd=120 * 250 + tokens * 2_000,
        )
        events.append(event)
        if luck.random() < 0.2:
            thumb = luck.random() < (0.75 if is_canary else 0.8)
            events.append(
                make_outcome(
                    id=uuid7(),
                    target_id=event.id,
                    value=bool(thumb),
                    at_s=at_s + 30,
                    occurred_at_s=at_s + 30,
                )
            )
    sink = SqlBatchSink(engine)
    for begin in range(0, len(events), 2_000):
        sink.write(events[begin : begin + 2_000])
    while rollup_upkeep.count_thumbs(engine, NOON_S):
        pass
    return sum(isinstance(event, InferenceEvent) for event in events)


def add_scores(
    engine: Engine, rubric: str = "helpful", *, hours: float = 6.0, count: int = 300
) -> None:
    """Store judged answers of both arms, drawn by chance."""
    luck = np.random.default_rng(11)
    rows = []
    for number in range(count):
        at = utc(NOON_S - hours * HOUR_S * (1 - number / count))
        arm = Role.CANARY if number % 2 else Role.CONTROL
        rows.append(
            {
                "id": uuid7(),
                "inference_id": f"i{number}",
                "rubric_id": rubric,
                "rubric_text_id": "t",
                "rollout_id": "rollout-1",
                "arm": arm.value,
                "stratum": "all",
                "stream": "probability",
                "rate": 0.1,
                "inclusion": 0.1,
                "drawn_at": at,
                "closes_at": at + timedelta(hours=1),
                "state": "judged",
                "attempts": 1,
                "ready_at": at,
                "judge_score": float(luck.beta(6 + (arm is Role.CANARY), 2)),
                "review_rate": 0.0,
                "reviews_wanted": 0,
            }
        )
    with write_session(engine) as session:
        session.connection().execute(insert(Sample), rows)
