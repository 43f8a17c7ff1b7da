"""Whether a judge is trusted: the newest comparison of each source counts, and none pushes another out."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.clock import utc
from llm_canary.ids import uuid7
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.models.grading import CalibrationRun
from llm_canary.storage.repositories.sample_facts import Standing, standing_of

NOW = utc(1_800_000_000.0)


def compare(
    session: Session, source: str, standing: str, labelled: int, ago: timedelta, **report: int
) -> None:
    session.add(
        CalibrationRun(
            id=uuid7(),
            at=NOW - ago,
            rubric_id="r",
            rubric_hash="h",
            judge_id="j",
            label_hash="l",
            labelled=labelled,
            standing=standing,
            source=source,
            report={"reasons": [f"{source} say so"], **report},
        )
    )


def test_many_reports_of_one_source_do_not_push_another_s_distrust_out(engine: Engine) -> None:
    with write_session(engine) as session:
        compare(session, "labels", "trusted", 250, timedelta(days=9))
        compare(session, "labels", "untrusted", 300, timedelta(days=3))
        for k in range(60):
            compare(session, "reviews", "trusted", 120 + k, timedelta(hours=60 - k))
    with read_session(engine) as session:
        found = standing_of(session, "j")

    assert found == Standing("untrusted", "labels say so", 300, NOW - timedelta(days=3))


def test_trust_is_as_old_as_the_newest_comparison_that_gives_it(engine: Engine) -> None:
    with write_session(engine) as session:
        compare(session, "labels", "trusted", 300, timedelta(days=40))
        compare(session, "reviews", "trusted", 120, timedelta(hours=1))
    with read_session(engine) as session:
        found = standing_of(session, "j")

    assert found == Standing("trusted", "reviews say so", 120, NOW - timedelta(hours=1))
    with read_session(engine) as session:
        assert standing_of(session, "another") == Standing()


def test_the_labels_that_are_told_are_those_of_the_reason(engine: Engine) -> None:
    """A judge may fail on some, and another source may have fewer."""
    with write_session(engine) as session:
        compare(session, "labels", "not_enough", 150, timedelta(days=4), compared=96)
        compare(session, "reviews", "not_enough", 40, timedelta(hours=1), compared=40)
    with read_session(engine) as session:
        found = standing_of(session, "j")

    assert found == Standing("not_enough", "labels say so", 96, NOW - timedelta(days=4))
