"""What is to be decided stays on the list until somebody decides, however much is reviewed after it."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock
from llm_canary.review.adjudication import Adjudications
from llm_canary.review.queue import ReviewQueue, Submission
from llm_canary.review.views import disagreements
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories import reviewed
from tests.factories import NOON_S
from tests.support.review_world import LABELS, drawn, judged

MET, UNMET = Submission(LABELS), Submission(LABELS | {"answers_question": "unmet"})
CANNOT = Submission(LABELS | {"answers_question": "cannot_assess"})


class Reviewed:
    """Answers, and what people say of them."""

    def __init__(self, engine: Engine, count: int) -> None:
        self.engine, self.clock = engine, ManualClock(NOON_S)
        self.samples = drawn(engine, [("q", f"a{n}") for n in range(count)], wanted=2)
        self.queue = ReviewQueue(engine, self.clock, gold_rate=0.0)
        self.cases = Adjudications(engine, self.clock)

    def say(self, sample: str, one: Submission, other: Submission | None = None) -> None:
        given = [(sample, "mara", one)]
        self.queue.record(given if other is None else [*given, (sample, "jon", other)])

    def waiting(self) -> list[tuple[str, str]]:
        return [(case.sample_id, case.why) for case in self.cases.cases("support")]


def test_a_disagreement_waits_behind_any_number_of_answers_about_which_all_agree(
    engine: Engine,
) -> None:
    world = Reviewed(engine, 206)
    differs, decided, *agreed = world.samples
    world.say(differs, MET, UNMET)
    world.say(decided, MET, UNMET)
    world.cases.decide(decided, LABELS, by="lead", reason="clear")
    for each in agreed:
        world.clock.advance(1.0)
        world.say(each, MET, MET)

    assert world.waiting() == [(differs, "people")]
    with read_session(engine) as session:
        assert [each.sample_id for each in disagreements(session, "support")] == [differs]


def test_all_that_differs_is_found_over_pages_of_answers_reviewed_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviewed, "_PAGE", 3)
    world = Reviewed(engine, 14)
    for number, each in enumerate(world.samples):
        world.say(each, MET, MET if number % 7 == 6 else UNMET)

    assert sorted(world.waiting()) == sorted(
        (each, "people") for number, each in enumerate(world.samples) if number % 7 != 6
    )
    with read_session(engine) as session:
        assert len(list(reviewed.reviewed_rows(session, "support"))) == 14
        assert len(list(reviewed.reviewed_rows(session, "support", 7))) == 7


def test_what_the_database_leaves_out_is_seen_alike(engine: Engine) -> None:
    world = Reviewed(engine, 6)
    alike, by_judge, unsure, of_other, no_judge, judge_unsure = world.samples
    for each in (alike, by_judge, unsure, of_other):
        judged(engine, each, LABELS)
    judged(engine, judge_unsure, LABELS | {"answers_question": "cannot_assess"})
    world.say(alike, MET, MET)
    world.say(by_judge, UNMET)
    world.say(unsure, CANNOT, MET)
    world.say(of_other, MET, UNMET)
    world.say(no_judge, UNMET)
    world.say(judge_unsure, UNMET, UNMET)

    assert sorted(world.waiting()) == sorted([(by_judge, "judge"), (of_other, "people")])
    with read_session(engine) as session:
        rows = reviewed.reviewed_rows(session, "support", in_doubt=True)
        assert {alike, no_judge}.isdisjoint(row.sample_id for row in rows)
