"""Compares judges with the people who have reviewed the same live answers.

The same report as `judge calibrate`, from grades that are there already, so it costs nothing. It is
made anew whenever labels have come, and is what the gates of rubrics read.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from sqlalchemy.engine import Engine

from llm_canary.clock import Clock, utc
from llm_canary.errors import ConfigError, DataError
from llm_canary.judging.build import judges_of
from llm_canary.judging.calibrate import compare_stored
from llm_canary.judging.grader import version_of
from llm_canary.judging.judgement import JudgeVersion
from llm_canary.judging.labels import HumanLabel, Labelled, label_set
from llm_canary.judging.trust import ARM_TAG
from llm_canary.rubric.grades import Graded
from llm_canary.rubric.keep import restore
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.sample import Sample
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
        rows = reviewed(session, due.judge_id)
    if not rows:
        return False
    try:
        rubric = restore(text or "")
        version = _version(rubric, due.judge_id)
    except (ConfigError, DataError):
        return False
    labels = label_set(_labelled(row) for row in rows)
    grades = {row.inference_id: msgspec.convert(row.grades, _GRADES) for row in rows}
    report = compare_stored(rubric, labels, version, grades)
    with write_session(engine) as session:
        add_calibration(session, utc(clock.now_s()), msgspec.to_builtins(report), source=SOURCE)
    return True


def _version(rubric: LoadedRubric, judge_id: str) -> JudgeVersion:
    judges = judges_of("primary", rubric, Path())
    version = version_of(rubric, judges.first, judges.second)
    if version is not None and version.id == judge_id:
        return version
    return JudgeVersion(judge_id, "unknown", "unknown", {}, "", rubric.content_hash)


def _labelled(row: Reviewed) -> Labelled:
    labels = tuple(
        HumanLabel(reviewer, criterion, label, at.isoformat())
        for reviewer, at, given in row.reviews
        for criterion, label in given.items()
    )
    tags = {ARM_TAG: row.arm} if row.arm else {}
    # Of the answer itself nothing is looked at: its text may have expired long ago.
    return Labelled(Sample(row.inference_id, "", "", tags=tags), labels)
