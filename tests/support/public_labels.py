"""Calibrations and looks at drift from the public labels of tests/data/human-labels, spread over past days."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from sqlalchemy.engine import Engine

from llm_canary.clock import utc
from llm_canary.judging.anchors import anchor_verdicts, people_verdicts
from llm_canary.judging.calibrate import calibrate
from llm_canary.judging.drift import compare
from llm_canary.judging.grader import Grader
from llm_canary.judging.labels import LabelSet, label_set, read_labels
from llm_canary.judging.probes import probe_pairs
from llm_canary.judging.replay import ReplayJudge, recorded_beside_labels
from llm_canary.rubric.load import rubric_of
from llm_canary.storage.engine import write_session
from llm_canary.storage.repositories.grading import add_calibration, add_drift, add_probes

ROOT = Path(__file__).resolve().parents[2]
LABELS = ROOT / "tests" / "data" / "human-labels" / "pandalm_pairwise.jsonl"
JUDGES = ("gpt-3.5-turbo", "pandalm-7b")
DAY_S = 86_400.0
DAYS = 4
ITEMS = 160


def add_public_calibrations(engine: Engine, now_s: float) -> None:
    """Store what two recorded judges came to as labels arrived, and daily looks at the first one."""
    rubric = rubric_of("pairwise_preference", ROOT)
    # Without tags: a stratum each would take most of the time.
    found = label_set(
        item._replace(sample=item.sample._replace(tags={}))
        for item in read_labels(LABELS, rubric).items[:ITEMS]
    )
    for judge_name in JUDGES:
        recorded = recorded_beside_labels(found, judge_name)  # one version of it on every day
        judge = ReplayJudge(judge_name, recorded, rubric)
        with write_session(engine) as session:
            add_probes(
                session,
                utc(now_s - 5_400.0),
                rubric_id=rubric.rubric.id,
                rubric_hash=rubric.content_hash,
                judge_id=judge.version.id,
                label_hash=found.hash,
                probes=msgspec.to_builtins(asyncio.run(probe_pairs(found, judge))),
            )
        for day in range(1, DAYS + 1):
            part = label_set(found.items[: len(found.items) * day // DAYS])
            report = asyncio.run(calibrate(rubric, part, judge, Grader(rubric, judge)))
            with write_session(engine) as session:
                at = utc(now_s - (DAYS - day) * DAY_S - 7_200.0)
                add_calibration(session, at, msgspec.to_builtins(report))
    _looks(engine, now_s, found)


def _looks(engine: Engine, now_s: float, found: LabelSet) -> None:
    """Store three quiet looks, and one at which another judge answers."""
    rubric = rubric_of("pairwise_preference", ROOT)
    anchors = label_set(found.items[:120])
    verdicts = {}
    for name in JUDGES:
        judge = ReplayJudge(name, recorded_beside_labels(anchors, name), rubric)
        verdicts[name] = asyncio.run(anchor_verdicts(anchors, judge, Grader(rubric, judge)))
    first, right = verdicts[JUDGES[0]], people_verdicts(rubric, anchors)
    for look, name in enumerate((JUDGES[0], JUDGES[0], JUDGES[0], JUDGES[1])):
        made = compare(msgspec.structs.replace(first, looks=look), verdicts[name], right=right)
        with write_session(engine) as session:
            add_drift(
                session,
                utc(now_s - (4 - look) * DAY_S),
                rubric_id=rubric.rubric.id,
                rubric_hash=rubric.content_hash,
                judge_id=verdicts[name].judge_id,
                drift=made.drift,
                report=msgspec.to_builtins(made),
            )
