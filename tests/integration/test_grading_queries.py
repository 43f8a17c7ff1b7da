"""What workers, reviewers and scoring ask for again and again does not read the samples of all time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, text
from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.clock import utc
from llm_canary.ids import uuid7
from llm_canary.storage.engine import write_session
from llm_canary.storage.models.grading import ReviewSeat, Sample
from llm_canary.storage.repositories.review_seats import claim_review, held_by
from llm_canary.storage.repositories.reviewed import compared
from llm_canary.storage.repositories.sample_facts import label_moments, replies_between
from llm_canary.storage.repositories.samples import (
    claim,
    fail_poison,
    lapse,
    rubrics_with_work,
    waiting,
)

NOW = utc(1_800_000_000.0)
COUNT, OPEN = 20_000, 400
ASKS: dict[str, Callable[[Session], object]] = {
    "rubrics-with-work": lambda session: rubrics_with_work(session, NOW),
    "fail-poison": lambda session: fail_poison(session, NOW),
    "lapse": lambda session: lapse(session, NOW),
    "claim": lambda session: claim(session, "t19", NOW, lease_s=60, limit=8),
    "claim-again": lambda session: claim(session, "t19", NOW, lease_s=60, limit=8, new_first=False),
    "waiting": waiting,
    "held": lambda session: held_by(session, "helpful", "mara", NOW),
    "claim-review": lambda session: claim_review(session, "helpful", "mara", NOW, lease_s=60),
    "claim-late-review": lambda session: claim_review(
        session, "helpful", "mara", NOW + timedelta(hours=3), lease_s=60
    ),
    "label-moments": lambda session: label_moments(session, "j7", NOW),
    "replies": lambda session: replies_between(session, "r7", "helpful", utc(0.0), NOW),
    "compared": lambda session: compared(session, "reviews"),
}


def row(number: int) -> dict[str, Any]:
    """One in twenty was asked about and graded; the last few hundred wait for judge and people."""
    is_old = number < COUNT - OPEN
    is_asked = number % 20 == 0 or not is_old
    group = number * 20 // COUNT
    return {
        "id": uuid7(),
        "inference_id": f"i{number}",
        "rubric_id": "helpful",
        "rubric_text_id": f"t{group}",
        "rollout_id": f"r{group}",
        "arm": "canary",
        "stratum": "all",
        "stream": "probability",
        "rate": 0.1,
        "inclusion": 0.1,
        "drawn_at": NOW,
        "closes_at": NOW - timedelta(hours=2 if is_old else -2),
        "state": "judged" if is_old else "waiting",
        "attempts": int(is_old),
        "ready_at": NOW - timedelta(hours=1),
        "judge_id": f"j{group}" if is_old else None,
        "judge_score": 0.5 if is_old else None,
        "review_stream": "probability" if is_asked else None,
        "review_rate": 0.05,
        "reviews_wanted": int(is_asked),
        "review_state": ("done" if is_old else "open") if is_asked else None,
        "human_score": 0.5 if is_asked and is_old else None,
        "reviewed_at": NOW - timedelta(hours=3) if is_asked and is_old else None,
    }


@pytest.fixture
def full(engine: Engine) -> Engine:
    rows = [row(number) for number in range(COUNT)]
    seats = [
        {"sample_id": each["id"], "seat": 0, "reviewer": "jon", "token": "t", "leased_until": None}
        for each in rows
        if each["review_state"] == "done"
    ]
    with engine.begin() as connection:
        connection.execute(insert(Sample), rows)
        connection.execute(insert(ReviewSeat), seats)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    return engine


@contextmanager
def statements(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    seen: list[tuple[str, Any]] = []

    def note(_connection, _cursor, statement, parameters, _context, _many) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def plan_of(engine: Engine, statement: str, parameters: Any) -> str:
    """Return the database's plan, each step on a line."""
    how = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute(how + statement, parameters)
        return "\n".join(str(each[-1]) for each in cursor.fetchall())
    finally:
        raw.close()


def test_no_question_of_the_queues_reads_every_sample(full: Engine) -> None:
    """A step that walks a whole table is a scan without an index, or of the primary key's."""
    read_all = re.compile(r"Seq Scan on sample|SCAN sample(?! USING)|SCAN sample .*autoindex")
    found = {}
    for name, ask in ASKS.items():
        with write_session(full) as session, statements(full) as seen:
            ask(session)
        plans = [plan_of(full, *each) for each in seen]
        found[name] = [plan for plan in plans if read_all.search(plan)]

    assert {name: plans for name, plans in found.items() if plans} == {}


def test_a_claim_sorts_nothing(full: Engine) -> None:
    """Of hundreds of open answers the next one is read from an index that has their order."""
    with write_session(full) as session, statements(full) as seen:
        assert ASKS["claim-review"](session) is not None

    plans = [plan_of(full, *each) for each in seen if "substr" in each[0]]
    assert len(plans) == 1
    assert "ix_sample_review_turns" in plans[0]
    assert not re.search(r"Sort|TEMP B-TREE", plans[0])
