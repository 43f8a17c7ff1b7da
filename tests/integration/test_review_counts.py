"""The counts of reviewers' work, from databases with revisions of reviews."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.engine import Engine

from llm_canary.clock import utc
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.review_counts import (
    Work,
    done_since,
    rubrics_asked,
    work_since,
)
from llm_canary.storage.repositories.reviews import add_review
from tests.integration.test_judge_worker import CLOCK_S
from tests.integration.test_review_queue import ask

NOW = utc(CLOCK_S)


def test_of_revisions_the_last_counts_and_equal_times_count_as_often_as_they_were_taken(
    engine: Engine,
) -> None:
    one, two, three, four = ask(engine, 4)
    given = [
        (one, "jon", "submitted", 30.0),
        (one, "jon", "submitted", 10.0),
        (two, "jon", "submitted", 10.0),
        (three, "jon", "submitted", None),
        (four, "jon", "submitted", 20.0),
        (one, "ann", "submitted", 5.0),
        (one, "ann", "retracted", None),
        (two, "ann", "skipped", None),
        (three, "ann", "submitted", 10.0),
    ]
    with write_session(engine) as session:
        for minute, (sample_id, reviewer, status, seconds) in enumerate(given):
            add_review(
                session, sample_id=sample_id, reviewer=reviewer, status=status, labels={},
                at=NOW + timedelta(minutes=minute), seconds_active=seconds,
            )  # fmt: skip
    with read_session(engine) as session:
        ann, jon = work_since(session, NOW)
        later = work_since(session, NOW + timedelta(minutes=7))

    assert ann == Work("ann", reviews=1, skips=1, retracted=1, seconds=(10.0,))
    assert jon._replace(seconds=tuple(sorted(jon.seconds))) == Work(
        "jon", reviews=4, skips=0, retracted=0, seconds=(10.0, 10.0, 20.0)
    )
    with read_session(engine) as session:
        assert done_since(session, "ann", NOW) == {"helpful": 1}  # not what she has undone
    assert later == [Work("ann", reviews=1, skips=1, retracted=0, seconds=(10.0,))]


def test_rubrics_are_those_of_which_anything_was_to_be_reviewed(engine: Engine) -> None:
    with read_session(engine) as session:
        assert rubrics_asked(session) == []
    ask(engine, 2)
    with read_session(engine) as session:
        assert rubrics_asked(session) == ["helpful"]
