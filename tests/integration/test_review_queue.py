"""People review: nobody gets an item twice, no item more reviews than it wants, and no work is lost silently."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.api.app import ApiServices, create_api
from llm_canary.clock import ManualClock, utc
from llm_canary.errors import Conflict, DataError, NotFound
from llm_canary.review.queue import ReviewQueue, Submission
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.sample_facts import sample_facts
from llm_canary.storage.repositories.samples import NewSample, add_samples
from tests.integration.test_judge_worker import CLOCK_S, TEXT, OddJudge, fill, worker_of
from tests.support.asgi import AsgiClient
from tests.support.control import api_services

MET = Submission({"helps": "met"})


def ask(engine: Engine, count: int, *, wanted: int = 1) -> list[str]:
    """Draw answers for people; return their samples."""
    names = fill(engine, count)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE sample SET review_stream = 'probability', review_rate = 1.0, "
                "reviews_wanted = :n, review_state = 'open'"
            ),
            {"n": wanted},
        )
        rows = connection.execute(text("SELECT inference_id, id FROM sample")).all()
    ids = dict(tuple(row) for row in rows)
    return [ids[name] for name in names]


def queue_of(engine: Engine, clock: ManualClock | None = None, **more) -> ReviewQueue:
    return ReviewQueue(engine, clock or ManualClock(CLOCK_S), gold_rate=0.0, **more)


def state_of(engine: Engine, sample_id: str) -> tuple:
    query = "SELECT review_state, human_score, human_passed FROM sample WHERE id = :i"
    with engine.connect() as connection:
        row = connection.execute(text(query), {"i": sample_id}).one()
    return row[0], row[1], None if row[2] is None else bool(row[2])


def test_twenty_reviewers_give_each_of_two_hundred_answers_exactly_two_reviews(
    engine: Engine,
) -> None:
    ask(engine, 200, wanted=2)
    given: list[tuple[str, str]] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        own, reviewer = queue_of(engine), f"reviewer-{number}"
        while True:
            try:
                item = own.claim("helpful", reviewer)
            except Conflict:
                continue
            if item is None:
                return
            own.submit(item.sample_id, reviewer, item.token, MET)
            with lock:
                given.append((item.sample_id, reviewer))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert not any(thread.is_alive() for thread in threads)
    assert len(given) == 400
    assert len(set(given)) == 400
    assert set(Counter(name for name, _ in given).values()) == {2}
    with engine.connect() as connection:
        done = connection.execute(text("SELECT count(*) FROM sample WHERE review_state = 'done'"))
        assert done.scalar_one() == 200


def test_who_finds_the_last_answer_locked_waits_instead_of_being_sent_away(engine: Engine) -> None:
    """Another reviewer is taking one of its two seats at this moment."""
    [sample] = ask(engine, 1, wanted=2)
    found: list[str | None] = []

    def work() -> None:
        item = queue_of(engine).claim("helpful", "mara")
        found.append(None if item is None else item.sample_id)

    thread = threading.Thread(target=work)
    with engine.begin() as connection:
        locked = "" if engine.dialect.name == "sqlite" else " FOR UPDATE"
        connection.execute(text(f"SELECT id FROM sample{locked}"))
        thread.start()
        thread.join(0.5)
        assert found == []
    thread.join(20)

    assert found == [sample]


def test_who_comes_back_gets_the_item_that_they_hold(engine: Engine) -> None:
    ask(engine, 2)
    own = queue_of(engine)
    first = own.claim("helpful", "mara")
    again = own.claim("helpful", "mara")
    other = own.claim("helpful", "jon")

    assert first is not None
    assert again is not None
    assert other is not None
    assert (first.sample_id, first.token) == (again.sample_id, again.token)
    assert other.sample_id != first.sample_id
    assert own.claim("helpful", "ann") is None


def test_a_lease_that_ended_is_another_s_and_the_late_review_is_refused(engine: Engine) -> None:
    ask(engine, 1)
    clock = ManualClock(CLOCK_S)
    own = queue_of(engine, clock, lease_s=60.0)
    late = own.claim("helpful", "mara")
    clock.advance(61.0)
    quick = own.claim("helpful", "jon")
    assert late is not None
    assert quick is not None
    own.submit(quick.sample_id, "jon", quick.token, MET)

    with pytest.raises(Conflict, match="has all its reviews"):
        own.submit(late.sample_id, "mara", late.token, MET)
    with pytest.raises(Conflict):
        own.hold(late.sample_id, late.token)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM review")).scalar_one() == 1


def test_a_late_review_counts_while_a_seat_is_free(engine: Engine) -> None:
    ask(engine, 1, wanted=2)
    clock = ManualClock(CLOCK_S)
    own = queue_of(engine, clock, lease_s=60.0)
    late = own.claim("helpful", "mara")
    clock.advance(61.0)
    quick = own.claim("helpful", "jon")
    assert late is not None
    assert quick is not None
    own.submit(quick.sample_id, "jon", quick.token, MET)

    assert own.submit(late.sample_id, "mara", late.token, MET).state == "done"


def test_a_held_lease_lives_on(engine: Engine) -> None:
    ask(engine, 1)
    clock = ManualClock(CLOCK_S)
    own = queue_of(engine, clock, lease_s=60.0)
    item = own.claim("helpful", "mara")
    assert item is not None
    for _ in range(5):
        clock.advance(40.0)
        own.hold(item.sample_id, item.token)

    assert own.claim("helpful", "jon") is None


def test_three_skips_ask_for_a_decision_and_nobody_gets_it_twice(engine: Engine) -> None:
    [sample] = ask(engine, 1)
    own = queue_of(engine)
    for reviewer in ("mara", "jon", "ann"):
        item = own.claim("helpful", reviewer)
        assert item is not None
        own.skip(item.sample_id, reviewer, item.token, "cannot tell")
        assert own.claim("helpful", reviewer) is None

    assert state_of(engine, sample)[0] == "adjudicate"


def test_the_human_score_is_what_most_people_say(engine: Engine) -> None:
    [sample] = ask(engine, 1, wanted=3)
    own = queue_of(engine)
    for reviewer, label in (("mara", "met"), ("jon", "unmet"), ("ann", "unmet")):
        item = own.claim("helpful", reviewer)
        assert item is not None
        own.submit(item.sample_id, reviewer, item.token, Submission({"helps": label}))

    assert state_of(engine, sample) == ("done", 0.0, False)


def test_the_points_of_two_who_are_divided_are_the_mean(engine: Engine) -> None:
    [sample] = ask(engine, 1, wanted=2)
    own = queue_of(engine)
    for reviewer, label in (("mara", "met"), ("jon", "unmet")):
        item = own.claim("helpful", reviewer)
        assert item is not None
        own.submit(item.sample_id, reviewer, item.token, Submission({"helps": label}))

    assert state_of(engine, sample)[:2] == ("done", 0.5)


def test_a_review_without_points_is_no_answer_until_another_gives_some(engine: Engine) -> None:
    ids = ask(engine, 3, wanted=2)
    clock = ManualClock(CLOCK_S)
    worker = worker_of(engine, OddJudge(), clock)
    while worker.step():
        pass
    worker.close()
    own = queue_of(engine, clock)

    def answered() -> int:
        with read_session(engine) as session:
            facts = sample_facts(session, "r", "helpful", utc(CLOCK_S + 10 * 86_400))
        return facts.arms["canary"].answered

    for _ in ids:
        item = own.claim("helpful", "mara")
        assert item is not None
        own.submit(item.sample_id, "mara", item.token, Submission({"helps": "cannot_assess"}))
    assert answered() == 0

    own.record([(ids[0], "jon", MET)])
    assert answered() == 1

    clock.advance(2 * 86_400)  # its window has closed
    own.record([(ids[1], "jon", MET)])
    assert answered() == 1


def test_a_person_s_later_review_is_a_revision_that_counts(engine: Engine) -> None:
    [sample] = ask(engine, 1)
    own = queue_of(engine)
    item = own.claim("helpful", "mara")
    assert item is not None
    own.submit(item.sample_id, "mara", item.token, MET)
    again = own.submit(item.sample_id, "mara", item.token, Submission({"helps": "unmet"}))

    assert again.revision == 2
    assert state_of(engine, sample) == ("done", 0.0, False)


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        ({"helps": "perhaps"}, "perhaps"),
        ({"other": "met", "helps": "met"}, "other"),
        ({}, "'helps' has no label"),
    ],
)
def test_labels_that_do_not_fit_the_rubric_are_refused(engine: Engine, labels, part) -> None:
    [sample] = ask(engine, 1)
    own = queue_of(engine)
    item = own.claim("helpful", "mara")
    assert item is not None

    with pytest.raises(DataError, match=part):
        own.submit(sample, "mara", item.token, Submission(labels))
    own.submit(sample, "mara", item.token, MET)  # the lease is still theirs


def test_a_label_for_an_unknown_sample_stores_nothing_of_the_file(engine: Engine) -> None:
    [sample] = ask(engine, 1)
    own = queue_of(engine)

    with pytest.raises(NotFound, match="no sample nowhere, so nothing was stored"):
        own.record([(sample, "mara", MET), ("nowhere", "mara", MET)])
    with pytest.raises(DataError, match=f"sample {sample} by mara"):
        own.record([(sample, "jon", MET), (sample, "mara", Submission({"helps": "x"}))])
    assert state_of(engine, sample) == ("open", None, None)

    assert own.record([(sample, "mara", MET), (sample, "mara", MET)]) == 2
    assert state_of(engine, sample) == ("done", 1.0, True)


def test_gold_looks_like_any_other_and_measures_the_reviewer(engine: Engine) -> None:
    gold, _ = ask(engine, 2)
    clock = ManualClock(CLOCK_S)
    own = ReviewQueue(engine, clock, gold_rate=1.0)
    own.record([(gold, "lead", MET)])
    own.make_gold(gold, {"helps": "met"}, by="lead", rationale="it names the town")
    item = own.claim("helpful", "mara")
    assert item is not None
    assert item.sample_id == gold
    own.submit(gold, "mara", item.token, Submission({"helps": "unmet"}, seconds_active=12.0))

    client = AsgiClient(create_api(services(engine, own, clock)))
    _, mara = client.get("/api/v1/reviews/reviewers").json()
    assert mara == {
        "reviewer": "mara",
        "reviews": 1,
        "gold": 1,
        "gold_accuracy": 0.0,
        "median_seconds": 12.0,
    }
    assert state_of(engine, gold) == ("done", 1.0, True)  # a test of the reviewer, no grade
    with pytest.raises(Conflict):
        own.submit(gold, "mara", item.token, MET)  # who knows that it was gold knows the answer


def services(engine: Engine, own: ReviewQueue, clock: ManualClock) -> ApiServices:
    return api_services(engine, clock, reviews=own)


def test_the_queue_over_http(engine: Engine) -> None:
    _, second = ask(engine, 2, wanted=2)
    clock = ManualClock(CLOCK_S)
    worker = worker_of(engine, OddJudge(), clock)
    while worker.step():
        pass
    worker.close()
    client = AsgiClient(create_api(services(engine, queue_of(engine, clock), clock)))
    who = {"rubric": "helpful", "reviewer": "mara"}

    item = client.post("/api/v1/reviews/claim", json=who).json()["item"]
    assert item["prompt"] == "Where is it?"
    assert item["response"] == "In Graz."
    assert [each["label"] for each in item["criteria"][0]["labels"]] == ["met", "unmet"]
    assert not {"arm", "model", "cost", "judge"} & item.keys()
    base = f"/api/v1/reviews/{item['sample_id']}"
    assert client.post(f"{base}/hold", json={"token": item["token"]}).status_code == 200
    body = {
        "reviewer": "mara",
        "token": item["token"],
        "labels": {"helps": "unmet"},
        "corrected_response": "In Graz, since noon.",
    }
    wrong = client.post(f"{base}/submit", json=body | {"labels": {"helps": "maybe"}})
    done = client.post(f"{base}/submit", json=body)
    other = client.post("/api/v1/reviews/claim", json=who | {"reviewer": "jon"}).json()["item"]
    lost = client.post(f"{base}/submit", json=body | {"reviewer": "ann", "token": "made up"})
    skipped = client.post(
        f"/api/v1/reviews/{second}/skip",
        json={"reviewer": "jon", "token": "made up", "reason": "late"},
    )
    unknown = client.post("/api/v1/reviews/nowhere/hold", json={"token": "t"})
    [queue] = client.get("/api/v1/reviews/queues").json()
    found = client.get("/api/v1/reviews/disagreements?rubric=helpful").json()

    assert wrong.status_code == 422
    assert "maybe" in wrong.json()["error"]["message"]
    assert done.json() == {"revision": 1, "state": "open"}
    assert other["sample_id"] == item["sample_id"]
    assert lost.status_code == 409  # mara has one seat, jon holds the other
    assert lost.json()["error"]["code"] == "lease_lost"
    assert skipped.status_code == 409
    assert unknown.status_code == 404
    assert (queue["open"], queue["leased"], queue["done"]) == (2, 1, 0)
    [differ] = found
    assert differ["kind"] == "judge"
    assert {each["who"]: each["label"] for each in differ["said"]} == {
        "mara": "unmet",
        "judge": "met",
    }
    assert [better for _, better in queue_of(engine).corrections("helpful")] == [
        "In Graz, since noon."
    ]


def test_a_sample_of_another_rubric_is_not_claimed(engine: Engine) -> None:
    ask(engine, 1)
    with write_session(engine) as session:
        add_samples(
            session,
            [
                NewSample(
                    "i", "other", TEXT.id, None, None, "all", "probability", 1.0, 1.0,
                    utc(CLOCK_S) + timedelta(days=1), "probability", 1.0, 1,
                )
            ],
            utc(CLOCK_S),
        )  # fmt: skip
    own = queue_of(engine)
    item = own.claim("helpful", "mara")

    assert item is not None
    with read_session(engine):
        assert own.claim("helpful", "jon") is None
