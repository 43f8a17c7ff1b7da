"""What a claim and a submission ask of the database: thirty people at once wait for each statement."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from llm_canary.errors import NotFound
from llm_canary.review.queue import Submission
from llm_canary.review.standing import stored_rubric
from llm_canary.storage.engine import read_session
from tests.integration.test_review_queue import ask, queue_of

MOST_OF_A_CLAIM, MOST_OF_A_SUBMISSION = 6, 9


def statements(engine: Engine, act: Callable[[], object]) -> list[str]:
    sent: list[str] = []

    def note(*call) -> None:
        if not call[2].startswith(("PRAGMA", "BEGIN")):
            sent.append(call[2])

    event.listen(engine, "before_cursor_execute", note)
    act()
    event.remove(engine, "before_cursor_execute", note)
    return sent


def test_a_claim_and_a_submission_are_a_few_statements(engine: Engine) -> None:
    ask(engine, 3, wanted=2)
    queue = queue_of(engine)
    queue.claim("helpful", "ida")  # the rubric is read once

    claimed = statements(engine, lambda: queue.claim("helpful", "jon"))
    item = queue.claim("helpful", "jon")
    assert item is not None
    given = Submission({"helps": "met"})
    submitted = statements(engine, lambda: queue.submit(item.sample_id, "jon", item.token, given))

    assert len(claimed) <= MOST_OF_A_CLAIM, claimed
    assert len(submitted) <= MOST_OF_A_SUBMISSION, submitted


def test_a_rubric_that_is_not_stored_is_asked_for_again(engine: Engine) -> None:
    for _ in range(2):
        with read_session(engine) as session, pytest.raises(NotFound):
            stored_rubric(session, "0" * 64)
