"""Leases of reviews: ended, lost, invented, of gold, of answers that nobody can read."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock, utc
from llm_canary.errors import Conflict
from llm_canary.review.queue import ReviewQueue
from llm_canary.storage.engine import read_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories.sample_facts import replies_between
from llm_canary.storage.repositories.scoring import ScoringRepository
from tests.factories import make_inference
from tests.integration.test_judge_worker import CLOCK_S, OddJudge, drain, worker_of
from tests.integration.test_review_queue import MET, ask, queue_of, state_of


def make_unreadable(engine: Engine, sample_id: str) -> None:
    """Cut the request, as what is too long is cut when it is stored."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE inference SET request_text = :t "
                "WHERE id = (SELECT inference_id FROM sample WHERE id = :i)"
            ),
            {"t": '[{"role": "user", "content": "Where', "i": sample_id},
        )


def test_an_answer_that_cannot_be_read_stops_nobody(engine: Engine) -> None:
    first, second, third = ask(engine, 3)
    make_unreadable(engine, first)
    make_unreadable(engine, second)
    own = queue_of(engine)
    item = own.claim("helpful", "mara")

    assert item is not None
    assert item.sample_id == third
    assert own.claim("helpful", "jon") is None
    assert [state_of(engine, each)[0] for each in (first, second)] == [None, None]
    with engine.connect() as connection:
        seats = connection.execute(text("SELECT sample_id FROM review_seat")).scalars().all()
    assert seats == [third]
    with read_session(engine) as session:
        asked = replies_between(session, "r", "helpful", utc(0.0), utc(CLOCK_S + 1e6))
    assert len(asked) == 1  # nobody could have answered the others


def test_gold_that_cannot_be_read_is_gold_no_more(engine: Engine) -> None:
    first, second = ask(engine, 2)
    own = ReviewQueue(engine, ManualClock(CLOCK_S), gold_rate=1.0)
    own.record([(first, "lead", MET)])
    own.make_gold(first, {"helps": "met"}, by="lead", rationale="")
    make_unreadable(engine, first)
    item = own.claim("helpful", "mara")

    assert item is not None
    assert item.sample_id == second


def test_a_worker_that_cannot_read_an_answer_asks_no_people_about_it(engine: Engine) -> None:
    first, second = ask(engine, 2)
    make_unreadable(engine, first)
    worker = worker_of(engine, OddJudge(), ManualClock(CLOCK_S))
    drain(worker)
    worker.close()

    assert [state_of(engine, each)[0] for each in (first, second)] == [None, "open"]


def test_who_holds_an_answer_gets_it_again_and_no_gold(engine: Engine) -> None:
    gold, other = ask(engine, 2)
    clock = ManualClock(CLOCK_S)
    queue_of(engine, clock).record([(gold, "lead", MET)])
    held = queue_of(engine, clock).claim("helpful", "mara")
    own = ReviewQueue(engine, clock, gold_rate=1.0)
    own.make_gold(gold, {"helps": "met"}, by="lead", rationale="")
    again = own.claim("helpful", "mara")

    assert held is not None
    assert again is not None
    assert (held.sample_id, held.token) == (again.sample_id, again.token) == (other, held.token)


def test_an_answer_that_wants_reviews_by_chance_is_not_made_gold(engine: Engine) -> None:
    [sample] = ask(engine, 1)
    own = queue_of(engine)

    with pytest.raises(Conflict, match="still wants reviews"):
        own.make_gold(sample, {"helps": "met"}, by="lead", rationale="")
    own.record([(sample, "lead", MET)])
    own.make_gold(sample, {"helps": "met"}, by="lead", rationale="")


def test_gold_takes_no_review_without_its_lease(engine: Engine) -> None:
    [gold] = ask(engine, 1)
    own = ReviewQueue(engine, ManualClock(CLOCK_S), gold_rate=1.0)
    own.record([(gold, "lead", MET)])
    own.make_gold(gold, {"helps": "met"}, by="lead", rationale="")

    with pytest.raises(Conflict):
        own.submit(gold, "mara", "invented", MET)


def test_an_earlier_token_of_one_s_own_is_refused_and_the_present_one_is_not(
    engine: Engine,
) -> None:
    [sample] = ask(engine, 1, wanted=2)
    clock = ManualClock(CLOCK_S)
    own = queue_of(engine, clock, lease_s=60.0)
    first = own.claim("helpful", "mara")
    clock.advance(61.0)
    second = own.claim("helpful", "mara")
    assert first is not None
    assert second is not None

    with pytest.raises(Conflict):
        own.submit(sample, "mara", first.token, MET)
    assert own.submit(sample, "mara", second.token, MET).revision == 1


def test_a_token_that_nobody_was_given_is_refused_though_a_seat_is_free(engine: Engine) -> None:
    [sample] = ask(engine, 1, wanted=2)
    own = queue_of(engine)
    item = own.claim("helpful", "mara")
    assert item is not None

    for who, token in (("lee", "invented"), ("lee", item.token)):
        with pytest.raises(Conflict):
            own.submit(sample, who, token, MET)


def test_one_s_own_ended_lease_is_held_or_kept_while_no_other_has_the_seat(engine: Engine) -> None:
    ask(engine, 1)
    clock = ManualClock(CLOCK_S)
    own = queue_of(engine, clock, lease_s=60.0)
    item = own.claim("helpful", "mara")
    assert item is not None
    clock.advance(61.0)
    own.hold(item.sample_id, item.token)
    assert own.claim("helpful", "jon") is None
    clock.advance(61.0)

    assert own.submit(item.sample_id, "mara", item.token, MET).state == "done"


def test_an_import_by_who_holds_a_lease_is_given(engine: Engine) -> None:
    [sample] = ask(engine, 1)
    clock = ManualClock(CLOCK_S)
    own = queue_of(engine, clock)
    assert own.claim("helpful", "mara") is not None
    own.record([(sample, "mara", MET)])

    with engine.connect() as connection:
        until = connection.execute(text("SELECT leased_until FROM review_seat")).scalars().all()
    assert until == [None]


def test_a_request_that_was_cut_counts_as_no_text_and_is_not_drawn(engine: Engine) -> None:
    whole = ['[{"role": "user", "content": "Where?"}]', '"Where?"']
    events = [
        make_inference(request_text=each, response_text="In Graz.")
        for each in (*whole, whole[0][:-3], whole[1][:-1], None)
    ]
    SqlBatchSink(engine).write(events)
    with read_session(engine) as session:
        rows = ScoringRepository(session).inferences({each.id for each in events})

    assert [bool(rows[each.id].has_text) for each in events] == [True, True, False, False, False]
