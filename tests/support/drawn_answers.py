"""Drawn answers of both arms on SQL, judged and reviewed, without living through their traffic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock, utc
from llm_canary.ids import uuid7
from llm_canary.review.queue import ReviewQueue, Submission
from llm_canary.rubric.keep import keep
from llm_canary.rubric.load import parse_rubric
from llm_canary.storage.engine import write_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories.rubrics import keep_rubric
from llm_canary.storage.repositories.samples import (
    NewSample,
    SampleState,
    Saved,
    add_samples,
    claim,
    save,
)
from tests.factories import make_inference
from tests.support.graded_world import RUBRIC

KIND = parse_rubric(RUBRIC)
TEXT = keep(KIND)
NOON_S = 1_800_000_000.0
JUDGE = "judge-version-1"


class Drawn(NamedTuple):
    """One answer that is to be drawn, and what is to be said of it; None: nothing."""

    arm: str = "canary"
    judge: bool | None = None
    human: bool | None = None
    stream: str = "probability"
    prompt: Any = "Where is it?"
    answer: str | None = "In Graz."
    rollout_id: str = "r"
    at_s: float = NOON_S


def draw(engine: Engine, drawn: Sequence[Drawn]) -> list[str]:
    """Store the answers, draw, judge and review them; return the ids of their inferences."""
    events = [_event(each) for each in drawn]
    SqlBatchSink(engine).write(events)
    noon = utc(NOON_S)
    with write_session(engine) as session:
        keep_rubric(
            session, text_id=TEXT.id, rubric_id="helpful", version=1,
            content_hash=KIND.content_hash, text=TEXT.text, at=noon,
        )  # fmt: skip
    for event, each in zip(events, drawn, strict=True):
        _draw(engine, event.id, each)
    return [event.id for event in events]


def _event(each: Drawn) -> Any:
    messages = each.prompt
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return make_inference(
        at_s=each.at_s,
        assigned=each.arm,
        served=each.arm,
        rollout_id=each.rollout_id,
        response_id=f"chatcmpl-{uuid7()}",
        content_store="none" if each.answer is None else "redacted",
        request_text=None if each.answer is None else json.dumps(messages),
        response_text=each.answer,
    )


def _draw(engine: Engine, inference_id: str, each: Drawn) -> None:
    at = utc(each.at_s)
    asked = each.human is not None
    sample = NewSample(
        inference_id, "helpful", TEXT.id, each.rollout_id, each.arm, "all", each.stream, 0.5, 0.5,
        at + timedelta(days=1),
        review_stream="probability" if asked else None,
        review_rate=0.25,
        reviews_wanted=1 if asked else 0,
    )  # fmt: skip
    with write_session(engine) as session:
        add_samples(session, [sample], at)
        if each.judge is not None:
            _judge(session, at, each)
    if asked:
        queue = ReviewQueue(engine, ManualClock(each.at_s), gold_rate=0.0)
        item = queue.claim("helpful", "mara")
        assert item is not None
        label = "met" if each.human else "unmet"
        queue.submit(item.sample_id, "mara", item.token, Submission({"helps": label}, comment="so"))


def _judge(session: Any, at: datetime, each: Drawn) -> None:
    score = 1.0 if each.judge else 0.0
    label = {"type": "grade", "label": "met" if each.judge else "unmet", "value": score}
    grades = {"helps": label | {"passed": each.judge}}
    while claimed := claim(session, TEXT.id, at, lease_s=60, limit=100):
        rows = [
            Saved(
                found,
                SampleState.JUDGED,
                {
                    "judge_id": JUDGE, "status": "ok", "score": score, "passed": each.judge,
                    "grades": grades, "detail": "",
                },
            )
            for found in claimed
        ]  # fmt: skip
        save(session, rows, at)
