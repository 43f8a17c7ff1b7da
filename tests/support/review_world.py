"""Answers that wait for people, over a database: plain ones and hostile ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.clock import utc
from llm_canary.rubric.keep import keep
from llm_canary.rubric.load import LoadedRubric, parse_rubric
from llm_canary.storage.engine import write_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories.rubrics import keep_rubric
from llm_canary.storage.repositories.samples import NewSample, add_samples
from tests.factories import NOON_S, make_inference

SUPPORT = """
schema: llm_canary.rubric/v1
id: support
version: 3
instructions: |
  Judge by what the customer can do after reading the answer.
criteria:
  - id: answers_question
    kind: binary
    requirement: "The answer is about what the user asked, and gives it."
    must_pass: true
    anchors: {met: "The question is answered.", unmet: "It is answered in part, or not at all."}
  - id: helpfulness
    kind: ordinal
    requirement: "How far does the answer get the user?"
    levels:
      - {value: 0, label: none, anchor: "Nowhere."}
      - {value: 1, label: some, anchor: "A part of the way; the user has to ask again."}
      - {value: 2, label: all, anchor: "All the way."}
  - id: invents
    kind: binary
    polarity: negative
    weight: -1
    requirement: "The answer states something that nobody can know."
    anchors: {met: "A date, a name or a rule is made up.", unmet: "Nothing is made up."}
judges:
  primary: {backend: replay, verdicts: verdicts.jsonl}
pairwise: {question: "Which answer serves the customer better?"}
"""
LABELS = {"answers_question": "met", "helpfulness": "all", "invents": "unmet"}
TURNS_1000 = [
    {"role": "user" if number % 2 == 0 else "assistant", "content": f"message {number}"}
    for number in range(1_001)
]
XSS = (
    "<script>window.tripped=1</script><img src=x onerror='window.tripped=1'>"
    "[link](javascript:window.tripped=1) ![p](https://evil.example/p.png) "
    "<svg onload=window.tripped=1> \"><iframe srcdoc='<script>parent.tripped=1</script>'>"
)
HOSTILE: dict[str, Any] = {
    "script": (XSS, XSS),
    "huge": ("q", "word " * 40_000),
    "rtl": ("متى يصل الطرد؟", "يصل الطرد غدًا. \u202eevil\u202c " + "שלום " * 20),
    "zalgo": ("zalgo", "Z" + "\u0300\u0301\u0302\u0303" * 300 + "algo"),
    "markdown": ("broken", "```py\n[x](<\n| a | b\n**_~~` " + "> " * 300 + "\n\n" + "*_" * 500),
    "control": ("bell", "a\x07b\x1b[31mc\x7fd\x85e\ufeff"),
    "unbroken": ("long", "x" * 5_000),
}


_LOTS = count()


def rubric(source: str = SUPPORT) -> LoadedRubric:
    return parse_rubric(source)


def drawn(
    engine: Engine,
    answers: Sequence[tuple[Any, str]],
    *,
    wanted: int = 1,
    source: str = SUPPORT,
    arms: Sequence[str] = ("control", "canary"),
    now_s: float = NOON_S,
) -> list[str]:
    """Draw answers for people, each a (prompt or messages, response); return their samples."""
    loaded = rubric(source)
    kept, now = keep(loaded), utc(now_s)
    events = [
        make_inference(
            rollout_id="r",
            request_text=json.dumps(
                prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
            ),
            response_text=response,
        )
        for prompt, response in answers
    ]
    SqlBatchSink(engine).write(events)
    with write_session(engine) as session:
        keep_rubric(
            session,
            text_id=kept.id,
            rubric_id=loaded.rubric.id,
            version=loaded.rubric.version,
            content_hash=loaded.content_hash,
            text=kept.text,
            at=now,
        )
        for number, each in enumerate(events):
            add_samples(
                session,
                [
                    NewSample(
                        each.id, loaded.rubric.id, kept.id, "r", arms[number % len(arms)], "all",
                        "probability", 1.0, 1.0, now + timedelta(hours=6), "probability", 1.0,
                        wanted,
                    )
                ],
                now,
            )  # fmt: skip
    return [_asked_in_turn(engine, each.id) for each in events]


def _asked_in_turn(engine: Engine, inference: str) -> str:
    """Change the lot in the sample's id so that it is asked for after all before it; return the id."""
    with engine.begin() as connection:
        which = {"inference": inference}
        query = text("SELECT id FROM sample WHERE inference_id = :inference")
        old: str = connection.execute(query, which).scalar_one()
        which["id"] = f"{old[:24]}{next(_LOTS):07x}{old[31:]}"
        connection.execute(
            text("UPDATE sample SET id = :id WHERE inference_id = :inference"), which
        )
    return which["id"]


def judged(engine: Engine, sample_id: str, labels: dict[str, str]) -> None:
    """Let a judge have graded a sample."""
    from llm_canary.ids import uuid7
    from llm_canary.storage.models.grading import Judgement

    grades = {
        name: {"type": "grade", "label": label, "value": 1.0, "passed": True}
        for name, label in labels.items()
    }
    with write_session(engine) as session:
        session.add(
            Judgement(
                id=uuid7(), sample_id=sample_id, judge_id="judge-1", at=utc(NOON_S),
                status="ok", score=1.0, passed=True, grades=grades,
            )
        )  # fmt: skip
        session.flush()
        session.execute(
            text("UPDATE sample SET judge_id = 'judge-1', judge_score = 1.0 WHERE id = :i"),
            {"i": sample_id},
        )
