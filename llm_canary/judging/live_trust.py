"""Compares judges with the people who have reviewed the same live answers.

The same report as `judge calibrate`, from grades that are there already, so it costs nothing. It is
made anew whenever labels have come, and is what the gates of rubrics read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
from sqlalchemy.engine import Engine

from llm_canary.clock import Clock, utc
from llm_canary.errors import ConfigError, DataError
from llm_canary.judging.build import judges_of
from llm_canary.judging.calibrate import calibrate
from llm_canary.judging.grader import Grader
from llm_canary.judging.judgement import (
    Judge,
    Judgement,
    JudgeVersion,
    Order,
    Pair,
    Preference,
    Status,
)
from llm_canary.judging.labels import HumanLabel, Labelled, label_set
from llm_canary.judging.material import recorded_sample
from llm_canary.judging.trust import ARM_TAG
from llm_canary.rubric.grades import Graded
from llm_canary.rubric.keep import restore
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import AskedCriterion
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.grading import add_calibration
from llm_canary.storage.repositories.reviewed import Compared, Reviewed, compared, reviewed
from llm_canary.storage.repositories.rubrics import rubric_text

SOURCE = "reviews"
_AT_LEAST_S = 3_600.0
_GRADES = dict[str, Graded]


def compare_judges(engine: Engine, clock: Clock) -> int:
    """Store a report for each judge version that has new labels; return how many."""
    with read_session(engine) as session:
        due = [each for each in compared(session, SOURCE) if _is_due(each, clock.now_s())]
    return sum(_compare(engine, clock, each) for each in due)


def _is_due(each: Compared, now_s: float) -> bool:
    """Say whether a tenth more labels have come, or any within the last hour."""
    if each.known is None or each.known_at is None or each.labelled >= 1.1 * each.known:
        return each.labelled != each.known
    return each.labelled != each.known and now_s - each.known_at.timestamp() >= _AT_LEAST_S


def _compare(engine: Engine, clock: Clock, due: Compared) -> bool:
    with read_session(engine) as session:
        text = rubric_text(session, due.rubric_text_id)
        rows = reviewed(session, due.rubric_text_id, due.judge_id)
    try:
        rubric = restore(text or "")
        judge = _StoredJudge(due.judge_id, rows, _version(text or "", due.judge_id))
    except (ConfigError, DataError):
        return False
    items = [item for row in rows if (item := _labelled(row)) is not None]
    if not items:
        return False
    grader = Grader(rubric, judge)
    report = asyncio.run(calibrate(rubric, label_set(items), judge, grader))
    plain = msgspec.to_builtins(report) | {"labelled": due.labelled}
    with write_session(engine) as session:
        add_calibration(session, utc(clock.now_s()), plain, source=SOURCE)
    return True


class _StoredJudge:
    """Answers with the judgements that are stored."""

    def __init__(self, judge_id: str, rows: Sequence[Reviewed], version: JudgeVersion) -> None:
        self.version = version
        self._grades = {row.inference_id: row.grades for row in rows}
        self._judge_id = judge_id

    async def grade(self, sample: Sample, criteria: Sequence[AskedCriterion]) -> Judgement:
        grades = msgspec.convert(self._grades[sample.id], _GRADES)
        asked = {each.id: grades[each.id] for each in criteria if each.id in grades}
        return Judgement(sample.id, self._judge_id, Status.OK, asked)

    async def compare(self, pair: Pair, order: Order) -> Preference:
        return Preference(pair.sample.id, self._judge_id, order, Status.MISSING)


def _version(text: str, judge_id: str) -> JudgeVersion:
    rubric = restore(text)
    judge: Judge | None = judges_of("primary", rubric, Path()).first
    if judge is not None and judge.version.id == judge_id:
        return judge.version
    return JudgeVersion(judge_id, "unknown", "unknown", {}, "", rubric.content_hash)


def _labelled(row: Reviewed) -> Labelled | None:
    tags = {ARM_TAG: row.arm} if row.arm else {}
    sample = recorded_sample(row.inference_id, row.request, row.response, tags=tags)
    if sample is None:
        return None
    labels = tuple(
        HumanLabel(reviewer, criterion, label, at.isoformat())
        for reviewer, at, given in row.reviews
        for criterion, label in given.items()
    )
    return Labelled(sample, labels)
