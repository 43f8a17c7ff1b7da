"""A reviewer at the item: drafts outlive everything, undo is honest, and what is not blind does not count."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock
from llm_canary.errors import Conflict, DataError, NotFound
from llm_canary.review.adjudication import Adjudications
from llm_canary.review.desk import Desk, Entered
from llm_canary.review.people import People
from llm_canary.review.queue import ReviewQueue, Submission
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.reviewed import reviewed_rows
from tests.factories import NOON_S, make_inference
from tests.support.review_world import LABELS, SUPPORT, drawn, judged

GOOD = Entered(LABELS, "fine", "", False, 12.0)
NOTHING = Entered({})
BAD = Entered(LABELS | {"answers_question": "unmet", "helpfulness": "none"})


class Bench:
    """Answers, a clock, and desks for everybody."""

    def __init__(self, engine: Engine, count: int = 1, *, wanted: int = 1) -> None:
        self.engine = engine
        self.clock = ManualClock(NOON_S)
        self.samples = drawn(engine, [("Where is it?", f"In Graz {n}.") for n in range(count)], wanted=wanted)  # fmt: skip
        self.queue = ReviewQueue(engine, self.clock, gold_rate=0.0, lease_s=60.0)
        self.desk = Desk(engine, self.clock, self.queue, lease_s=60.0)

    def claim(self, who: str) -> str:
        name = self.desk.next("support", who)
        assert name is not None
        return name

    def token(self, name: str, who: str) -> str:
        return self.desk.open(name, who).token or ""

    def review(self, who: str, entered: Entered = GOOD) -> str:
        name = self.claim(who)
        self.desk.submit(name, who, self.token(name, who), entered)
        return name

    def skip(self, who: str, entered: Entered = NOTHING) -> str:
        name = self.claim(who)
        self.desk.skip(name, who, self.token(name, who), "cannot tell", entered)
        return name

    def state(self, name: str) -> tuple:
        query = "SELECT review_state, human_score, reviewed_at FROM sample WHERE id = :i"
        with self.engine.connect() as connection:
            row = connection.execute(text(query), {"i": name}).one()
        return row[0], row[1], row[2] is not None

    def count(self, table: str) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


@pytest.fixture
def bench(engine: Engine) -> Bench:
    return Bench(engine)


def test_a_draft_outlives_its_lease_and_is_there_when_the_item_is_claimed_again(
    bench: Bench,
) -> None:
    name = bench.claim("mara")
    entered = Entered({"answers_question": "met"}, "so far", "better", True, 7.0)
    bench.desk.keep(name, "mara", entered, known=0)
    bench.clock.advance(61.0)
    opened = bench.desk.open(name, "mara")
    assert opened.left_s is None

    bench.desk.claim_again(name, "mara")

    again = bench.desk.open(name, "mara")
    assert again.left_s == 60.0
    assert again.draft is not None
    assert Entered(*again.draft[2:]) == entered


def test_a_criterion_of_one_route_is_graded_by_people_too(engine: Engine) -> None:
    """The judge knows the route of an answer; where people did not, it was left out of their score."""
    route = make_inference().route
    source = SUPPORT.replace(
        "polarity: negative", f"polarity: negative\n    when: {{route: {route}}}"
    )
    [name] = drawn(engine, [("Where is it?", "In Graz.")], source=source)
    queue = ReviewQueue(engine, ManualClock(NOON_S), gold_rate=0.0)
    item = queue.claim("support", "mara")
    assert item is not None
    assert item.sample.tags["route"] == route
    queue.submit(name, "mara", item.token, Submission({**LABELS, "invents": "met"}))

    with engine.connect() as connection:
        score = connection.execute(text("SELECT human_score FROM sample")).scalar_one()
    assert score == 0.5  # (1 + 1 - 1) / 2


def test_a_draft_of_an_older_tab_does_not_overwrite_a_newer_one(bench: Bench) -> None:
    name = bench.claim("mara")
    first = bench.desk.keep(name, "mara", GOOD, known=0)
    bench.desk.keep(name, "mara", BAD, known=first)

    with pytest.raises(Conflict, match="newer draft"):
        bench.desk.keep(name, "mara", GOOD, known=first)
    draft = bench.desk.open(name, "mara").draft
    assert draft is not None
    assert draft.labels == BAD.labels


def test_an_item_of_somebody_else_takes_no_draft_and_tells_nothing(bench: Bench) -> None:
    name = bench.claim("mara")
    token = bench.token(name, "mara")

    with pytest.raises(NotFound):
        bench.desk.open(name, "jon")
    with pytest.raises(NotFound):
        bench.desk.keep(name, "jon", GOOD, known=None)
    with pytest.raises(NotFound):
        bench.desk.submit(name, "jon", token, GOOD)
    with pytest.raises(NotFound):
        bench.desk.skip(name, "jon", token, "not mine", GOOD)
    with pytest.raises(Conflict):
        bench.desk.hold(name, "jon")
    with pytest.raises(NotFound):
        bench.desk.claim_again(name, "jon")
    assert (bench.count("review"), bench.count("review_draft")) == (0, 1)  # mara's, empty


def test_a_lost_item_keeps_the_draft_and_says_so(bench: Bench) -> None:
    name = bench.claim("mara")
    token = bench.token(name, "mara")
    bench.clock.advance(61.0)
    assert bench.review("jon") == name

    with pytest.raises(Conflict, match="has all its reviews"):
        bench.desk.submit(name, "mara", token, GOOD)
    with pytest.raises(Conflict, match="your draft stays"):
        bench.desk.claim_again(name, "mara")
    draft = bench.desk.open(name, "mara").draft
    assert draft is not None
    assert draft.labels == LABELS
    assert bench.count("review") == 1


def test_a_form_that_is_sent_twice_is_one_review(bench: Bench) -> None:
    name = bench.claim("mara")
    token = bench.token(name, "mara")
    problems: list[Exception] = []

    def send() -> None:
        try:
            bench.desk.submit(name, "mara", token, GOOD)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    assert bench.count("review") == 1
    assert bench.count("review_draft") == 0


def test_a_draft_that_arrives_after_the_submission_leaves_nothing(bench: Bench) -> None:
    name = bench.review("mara")

    with pytest.raises(Conflict, match="submitted already"):
        bench.desk.autosave(name, "mara", BAD, known=0)
    assert bench.count("review_draft") == 0


def test_a_skip_keeps_the_flag_and_the_comment_and_drops_the_rest(bench: Bench) -> None:
    name = bench.skip("mara", Entered(LABELS, "it names my street", "better", True, 9.0))

    [case] = Adjudications(bench.engine, bench.clock).cases("support")
    assert (case.sample_id, case.why) == (name, "flag")
    [given] = Adjudications(bench.engine, bench.clock).open(name).reviews
    assert (given.status, given.comment) == ("skipped", "cannot tell: it names my street")
    assert (dict(given.labels), given.corrected_response) == ({}, None)
    assert bench.count("review_draft") == 0


def test_a_draft_that_arrives_after_the_skip_leaves_nothing(bench: Bench) -> None:
    name = bench.skip("mara")

    with pytest.raises(Conflict, match="given this answer to others"):
        bench.desk.autosave(name, "mara", GOOD, known=0)
    with pytest.raises(Conflict, match="given this answer to others"):
        bench.desk.skip(name, "mara", "sent twice", "cannot tell", GOOD)
    assert bench.count("review_draft") == 0
    bench.desk.claim_again(name, "mara")
    assert bench.desk.autosave(name, "mara", GOOD, known=0) == 1


def test_wrong_labels_are_refused_and_kept_as_a_draft(bench: Bench) -> None:
    name = bench.claim("mara")
    wrong = Entered(LABELS | {"helpfulness": "perhaps"}, "c")

    with pytest.raises(DataError, match="perhaps"):
        bench.desk.submit(name, "mara", bench.token(name, "mara"), wrong)
    draft = bench.desk.open(name, "mara").draft
    assert draft is not None
    assert draft.comment == "c"


def test_undo_takes_back_the_review_reopens_the_item_and_gives_back_what_was_said(
    bench: Bench,
) -> None:
    name = bench.review("mara")
    assert bench.state(name) == ("done", 1.0, True)

    assert bench.desk.undo("mara").sample_id == name

    assert bench.state(name) == ("open", None, False)
    opened = bench.desk.open(name, "mara")
    assert opened.left_s == 60.0
    assert opened.draft is not None
    assert (dict(opened.draft.labels), opened.draft.comment) == (LABELS, "fine")
    bench.desk.submit(name, "mara", opened.token or "", BAD)
    assert bench.state(name)[:2] == ("done", 0.0)
    with read_session(bench.engine) as session:
        [row] = reviewed_rows(session, "support", 10)
    assert row.reviews["mara"]["answers_question"] == "unmet"


def test_undo_takes_back_the_review_before_a_skip_once(engine: Engine) -> None:
    bench = Bench(engine, 3)
    bench.review("mara")
    bench.clock.advance(1.0)
    name = bench.review("mara")
    bench.clock.advance(1.0)
    bench.skip("mara")
    bench.clock.advance(1.0)

    assert bench.desk.undo("mara").sample_id == name
    assert bench.state(name) == ("open", None, False)
    draft = bench.desk.open(name, "mara").draft
    assert draft is not None
    assert draft.seconds_active == GOOD.seconds_active
    with pytest.raises(Conflict, match="to undo"):
        bench.desk.undo("mara")


def test_what_is_gold_no_more_takes_no_more_reviews_than_it_wants(bench: Bench) -> None:
    name = bench.claim("mara")
    bench.clock.advance(61.0)
    bench.review("jon")
    bench.queue.make_gold(name, LABELS, by="lead", rationale="clear")

    assert bench.queue.retire_gold(name)
    assert not bench.queue.retire_gold(name)
    with pytest.raises(Conflict, match="all its reviews"):
        bench.desk.claim_again(name, "mara")


def test_an_undone_review_counts_nowhere(bench: Bench) -> None:
    bench.review("mara", GOOD._replace(corrected_response="In Graz, since noon."))
    bench.desk.undo("mara")

    with read_session(bench.engine) as session:
        assert all(not row.reviews for row in reviewed_rows(session, "support", 10))
    assert bench.queue.corrections("support") == []
    assert People(bench.engine, bench.clock).report(7)[0].reviews == 0


def test_undo_ends_after_a_quarter_of_an_hour_and_with_the_reveal(bench: Bench) -> None:
    name = bench.review("mara")
    bench.desk.reveal(name, "mara")
    with pytest.raises(Conflict, match="to undo"):
        bench.desk.undo("mara")

    other = Bench(bench.engine, 1)
    other.review("jon")
    other.clock.advance(901.0)
    with pytest.raises(Conflict, match="to undo"):
        other.desk.undo("jon")
    with pytest.raises(Conflict, match="to undo"):
        other.desk.undo("nobody")


def test_what_others_said_is_shown_after_one_s_own_review_only(engine: Engine) -> None:
    bench = Bench(engine, wanted=2)
    name = bench.review("jon", BAD)
    judged(engine, name, {"answers_question": "met"})
    bench.claim("mara")

    with pytest.raises(Conflict):
        bench.desk.reveal(name, "mara")
    with pytest.raises(Conflict):
        bench.desk.revealed(name, "mara")
    bench.desk.submit(name, "mara", bench.token(name, "mara"), GOOD)
    with pytest.raises(Conflict, match="once you ask"):
        bench.desk.revealed(name, "mara")
    bench.desk.reveal(name, "mara")
    found = bench.desk.revealed(name, "mara")

    assert [each.reviewer for each in found.others] == ["jon"]
    assert found.judge is not None
    assert found.judge["answers_question"]["label"] == "met"


def test_a_blind_revision_counts_and_one_after_the_reveal_asks_for_a_decision(bench: Bench) -> None:
    name = bench.review("mara")
    bench.clock.advance(1.0)
    assert bench.desk.revise(name, "mara", BAD).state == "done"
    assert bench.state(name)[1] == 0.0

    bench.desk.reveal(name, "mara")
    bench.clock.advance(1.0)
    informed = bench.desk.revise(name, "mara", GOOD)

    assert (informed.revision, informed.state) == (3, "adjudicate")
    assert bench.state(name)[:2] == ("adjudicate", 0.0)
    with read_session(bench.engine) as session:
        [row] = reviewed_rows(session, "support", 10)
    assert row.reviews["mara"]["answers_question"] == "unmet"
    [case] = Adjudications(bench.engine, bench.clock).cases("support")
    assert case.why == "revised"


def test_final_labels_are_the_human_score_and_outlast_later_reviews(engine: Engine) -> None:
    bench = Bench(engine, wanted=2)
    cases = Adjudications(engine, bench.clock)
    name = bench.review("mara")
    bench.review("jon", BAD)
    [case] = cases.cases("support")
    assert (case.why, case.sample_id) == ("people", name)

    cases.decide(
        name, LABELS | {"helpfulness": "some"}, by="lead", reason="half", unclear=["helpfulness"]
    )

    decided = bench.state(name)
    assert decided[0] == "done"
    assert decided[1] == pytest.approx(0.75)
    assert cases.cases("support") == []
    bench.desk.revise(name, "mara", BAD)
    assert bench.state(name) == decided
    [issue] = cases.issues()
    assert (issue.rubric, issue.criterion, issue.times) == ("support", "helpfulness", 1)
    with read_session(engine) as session:
        [row] = reviewed_rows(session, "support", 10)
    assert set(row.reviews) == {"mara", "jon"}  # who decides has seen the judge: no label of theirs


def test_what_three_have_skipped_and_what_is_flagged_waits_for_a_decision(engine: Engine) -> None:
    bench = Bench(engine, 2)
    cases = Adjudications(engine, bench.clock)
    for who in ("mara", "jon", "ann"):
        name = bench.skip(who)
    flagged = bench.review("eve", GOOD._replace(is_flagged=True))

    assert [(case.why, case.sample_id) for case in cases.cases("support")] == [
        ("skips", name),
        ("flag", flagged),
    ]
    assert cases.look(flagged) == 1
    bench.clock.advance(1.0)
    bench.desk.revise(flagged, "eve", BAD._replace(is_flagged=True))
    assert ("flag", flagged) in [(case.why, case.sample_id) for case in cases.cases("support")]
    assert cases.look(flagged) == 1
    cases.decide(name, LABELS, by="lead", reason="clear")
    assert cases.cases("support") == []
    assert bench.state(name)[:2] == ("done", 1.0)


@pytest.mark.parametrize("unclear", [["nothing"], ["helpfulness", "x'; DROP TABLE sample"]])
def test_a_decision_about_no_criterion_is_refused_as_a_whole(
    bench: Bench, unclear: list[str]
) -> None:
    name = bench.review("mara")
    cases = Adjudications(bench.engine, bench.clock)

    with pytest.raises(Exception, match="no criterion"):
        cases.decide(name, LABELS, by="lead", reason="x", unclear=unclear)
    with pytest.raises(DataError):
        cases.decide(name, {}, by="lead", reason="x")
    assert bench.count("adjudication") == 0


def test_an_excluded_reviewer_s_labels_count_no_more_and_the_item_is_open_again(
    engine: Engine,
) -> None:
    bench = Bench(engine, wanted=2)
    people = People(engine, bench.clock)
    name = bench.review("mara")
    bench.review("jon", BAD)
    assert bench.state(name)[0] == "done"

    assert people.exclude("jon", by="lead", reason="random labels") == 1

    assert bench.state(name)[:2] == ("open", 1.0)
    with pytest.raises(Conflict, match="do not count"):
        bench.desk.next("support", "jon")
    with read_session(engine) as session:
        [row] = reviewed_rows(session, "support", 10)
    assert set(row.reviews) == {"mara"}
    jon = next(each for each in people.report(7) if each.reviewer == "jon")
    assert jon.exclusion is not None
    assert jon.reviews == 1
    bench.review("ann")
    assert bench.state(name)[:2] == ("done", 1.0)
    assert people.include("jon") == 1
    assert bench.desk.next("support", "jon") is None
    with pytest.raises(Conflict):
        people.include("jon")
    with pytest.raises(NotFound):
        people.exclude("nobody", by="lead", reason="x")


def test_the_last_label_that_is_excluded_leaves_no_score(bench: Bench) -> None:
    name = bench.review("mara")

    People(bench.engine, bench.clock).exclude("mara", by="lead", reason="bot")

    assert bench.state(name) == ("open", None, False)


def test_labels_that_count_again_were_given_when_they_were_given(bench: Bench) -> None:
    name = bench.review("mara")
    people, query = (
        People(bench.engine, bench.clock),
        "SELECT reviewed_at FROM sample WHERE id = :i",
    )
    with bench.engine.connect() as connection:
        before = connection.execute(text(query), {"i": name}).scalar_one()

    people.exclude("mara", by="lead", reason="a mistake")
    bench.clock.advance(86_400.0)
    people.include("mara")

    assert bench.state(name)[:2] == ("done", 1.0)
    with bench.engine.connect() as connection:
        assert connection.execute(text(query), {"i": name}).scalar_one() == before


def test_gold_and_agreement_are_reported_by_the_last_revision(engine: Engine) -> None:
    bench = Bench(engine, 2, wanted=2)
    with engine.begin() as connection:  # no gate waits for it
        connection.execute(text("UPDATE sample SET review_stream = 'targeted'"))
    bench.queue.make_gold(bench.samples[0], LABELS | {"helpfulness": 2}, by="lead", rationale="all")
    own = ReviewQueue(engine, bench.clock, gold_rate=1.0)
    desk = Desk(engine, bench.clock, own)
    gold = desk.next("support", "mara")
    assert gold == bench.samples[0]
    desk.submit(gold, "mara", desk.open(gold, "mara").token or "", BAD)
    bench.clock.advance(1.0)
    desk.undo("mara")
    desk.submit(
        gold,
        "mara",
        desk.open(gold, "mara").token or "",
        GOOD._replace(labels=LABELS | {"invents": "met"}),
    )

    [mara] = People(engine, bench.clock).report(7)

    assert (mara.gold.part, mara.gold.total) == (2, 3)
    assert mara.agreement.value is None

    desk.reveal(gold, "mara")
    bench.clock.advance(1.0)
    desk.revise(gold, "mara", GOOD._replace(labels=LABELS | {"helpfulness": 2}))
    [informed] = People(engine, bench.clock).report(7)
    assert (informed.gold.part, informed.gold.total) == (2, 3)


def test_agreement_is_of_the_labels_that_two_people_gave(engine: Engine) -> None:
    bench = Bench(engine, wanted=3)
    bench.review("mara")
    bench.review("jon")
    bench.review("ann", Entered(LABELS | {"answers_question": "unmet", "invents": "cannot_assess"}))

    report = {each.reviewer: each.agreement for each in People(engine, bench.clock).report(7)}

    assert tuple(report["mara"]) == (4, 5)  # 3 of 3 with jon, 1 of 2 with ann
    assert tuple(report["ann"]) == (2, 4)
