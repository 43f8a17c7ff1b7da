"""The views of the review pages: facts into words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from llm_canary.clock import utc
from llm_canary.pages.quantity import ABSENT
from llm_canary.pages.review import QueueFacts, queues_page
from llm_canary.pages.review_decide import case_row
from llm_canary.pages.review_item import criteria, exchange, item_page, labels_in
from llm_canary.pages.review_pairs import pair_page, pair_row
from llm_canary.review.adjudication import Case
from llm_canary.review.desk import Entered, Opened
from llm_canary.review.pairs import OpenedPair, pair_report
from llm_canary.review.people import Share, agreement, agreement_by_person
from llm_canary.rubric.sample import Sample
from llm_canary.storage.repositories.desk import Draft
from llm_canary.storage.repositories.pairs import PairCounts, Preferred
from llm_canary.storage.repositories.review_counts import Due
from llm_canary.storage.repositories.reviewed import ReviewedRow
from llm_canary.storage.repositories.reviews import QueueCounts
from tests.factories import NOON_S
from tests.support.review_world import TURNS_1000, rubric

NOW = utc(NOON_S)
GROUNDED = """
schema: llm_canary.rubric/v1
id: grounded
version: 1
criteria:
  - {id: supported, kind: binary, requirement: "In the context.", requires: [context]}
  - id: tone
    kind: choice
    requirement: "How does it sound?"
    options:
      - {label: warm, grade: 1.0, anchor: "friendly"}
      - {label: cold, grade: 0.0, anchor: "curt"}
judges:
  primary: {backend: replay, verdicts: verdicts.jsonl}
"""


def opened(sample=None, **changes):
    facts = {
        "sample_id": "s",
        "rubric": rubric(),
        "sample": sample or Sample("i", "Where?", "In Graz."),
        "token": "t",
        "left_s": 61.5,
        "lease_s": 900.0,
        "draft": None,
        "given": None,
        "revealed_at": None,
    }
    return Opened(**(facts | changes))


def keys(card):
    return [(option.value, option.keys) for option in card.options]


def test_each_label_has_the_key_that_the_page_shows():
    answers, helpfulness, _ = item_page(opened()).criteria

    assert keys(answers) == [("met", ("1", "y")), ("unmet", ("2", "n")), ("cannot_assess", ("x",))]
    assert keys(helpfulness) == [
        ("none", ("1",)), ("some", ("2",)), ("all", ("3",)), ("cannot_assess", ("x",)),
    ]  # fmt: skip
    assert all(option.anchor for card in (answers, helpfulness) for option in card.options)


def test_what_is_must_pass_or_a_fault_is_said_in_words():
    answers, helpfulness, invents = item_page(opened()).criteria

    assert answers.marks == ("must pass",)
    assert helpfulness.marks == ()
    assert invents.marks == ("a fault: met is bad",)


@pytest.mark.parametrize("label", ["all", "2", 2])
def test_a_level_is_chosen_by_its_label_or_value(label):
    page = item_page(opened(), entered=Entered({"helpfulness": label, "answers_question": True}))

    chosen = [option.value for card in page.criteria for option in card.options if option.is_chosen]
    assert chosen == ["met", "all"]


def test_a_criterion_that_cannot_apply_is_filled_in_and_says_why():
    supported, tone = criteria(rubric(GROUNDED).rubric, Sample("i", "q", "a"), {})

    assert [option.is_chosen for option in supported.options] == [False, False, True]
    assert "there is no context" in supported.note
    assert keys(tone)[:2] == [("warm", ("1",)), ("cold", ("2",))]
    assert not any(option.is_chosen for option in tone.options)


def test_a_draft_is_restored_and_what_was_sent_goes_before_it():
    draft = Draft(3, NOW, {"answers_question": "unmet"}, "old", "better", True, 9.0)
    page = item_page(opened(draft=draft))
    sent = item_page(opened(draft=draft), entered=Entered({}, "new"))

    assert (page.comment, page.correction, page.is_flagged, page.revision) == (
        "old",
        "better",
        True,
        3,
    )
    assert page.is_restored
    assert (sent.comment, sent.is_restored) == ("new", False)
    assert not item_page(opened(draft=Draft(0, NOW, {}))).is_restored


def test_of_a_thousand_messages_the_last_few_are_shown_closed_and_the_rest_counted():
    sample = Sample("i", "last", "answer", history=TURNS_1000[:-1])

    shown = exchange(sample, turns=6)

    assert (len(shown.turns), shown.turns_left_out, shown.are_turns_open) == (6, 994, False)
    assert shown.turns[-1].text.raw == "message 999"


def test_the_answer_is_compared_with_the_reference_or_the_answer_before():
    plain = exchange(Sample("i", "q", "a"), turns=6)
    reference = exchange(Sample("i", "q", "new text", reference="old text"), turns=6)
    before = exchange(
        Sample("i", "q", "b", history=[{"role": "assistant", "content": "a"}]), turns=6
    )

    assert plain.diff == ()
    assert [(each.kind, each.text) for each in reference.diff][:2] == [
        ("removed", "old"),
        ("added", "new"),
    ]
    assert before.diff_title == "Compared with the answer before"


def test_labels_are_read_from_the_form_by_their_prefix():
    form = {"label:helps": "met", "labels": "x", "token": "t", "label:": "y"}

    assert labels_in(form) == {"helps": "met", "": "y"}


def facts(**changes):
    values = {
        "counts": [
            QueueCounts("support", "t1", 3, 1, 5, 2, NOW - timedelta(hours=2)),
            QueueCounts("support", "t2", 1, 0, 0, 0, NOW - timedelta(hours=5)),
        ],
        "due": {"support": Due(NOW + timedelta(hours=1), 2)},
        "held": {},
        "mine": {"support": 7},
        "agreements": {"support": Share(9, 10)},
        "pairs": {"chat": PairCounts(4, 1)},
    }
    return QueueFacts(**(values | changes))


def test_a_queue_adds_the_texts_of_its_rubric_and_says_what_is_urgent():
    page = queues_page(facts(), Share(3, 4), [("s", "support", NOW - timedelta(minutes=5))], NOW)

    support, chat = page.cards
    assert {each.name: each.value for each in support.facts} == {
        "Open": "4", "Done": "5", "Yours, 7 days": "7", "Oldest": "5\u202fh",
        "Due": "in 1\u202fh", "Agreement": "90\u202f%",
    }  # fmt: skip
    assert support.to_adjudicate == 2
    assert (chat.rubric, chat.pairs, chat.is_open) == ("chat", 4, False)
    assert (page.done, page.gold) == (7, "75\u202f% of 4")
    assert page.drafts[0][2] == "5\u202fmin ago"


def test_what_is_not_known_is_no_zero():
    page = queues_page(facts(due={}, agreements={}, mine={}), Share(), [], NOW)

    values = {each.name: each.value for each in page.cards[0].facts}
    assert (values["Due"], values["Agreement"], page.gold) == (ABSENT, ABSENT, ABSENT)


def test_agreement_counts_each_comparison_of_two_people_once():
    rows = [
        ReviewedRow("s", None, {}, {"a": {"x": "met", "y": "1"}, "b": {"x": "met", "y": "2"}}),
        ReviewedRow("t", None, {}, {"a": {"x": "met"}, "b": {"x": "cannot_assess"}}),
        ReviewedRow("u", None, {}, {"a": {"x": "met"}}),
    ]

    assert agreement(rows) == Share(1, 2)
    assert agreement_by_person(rows)["a"] == Share(1, 2)


def preferred(pair, reviewer, said, first="a"):
    return Preferred(pair, "canary", "control", reviewer, NOW, first, said, {}, None)


def test_a_pair_is_reported_by_majority_with_the_pull_of_the_side():
    given = [
        preferred("1", "a", "a"), preferred("1", "b", "a", "b"), preferred("1", "c", "b", "b"),
        preferred("2", "a", "tie"), preferred("3", "a", "cannot_assess"),
    ]  # fmt: skip
    report = pair_report(given, 6)
    row = pair_row("support", PairCounts(1, 2), report)

    assert (report.canary, report.control, report.tie, report.pairs) == (1, 0, 1, 2)
    assert report.first_rate is not None
    assert report.first_rate.mean == pytest.approx(2 / 3)
    assert row.win_rate.startswith("100\u202f% (")
    assert "1 by excluded reviewers left out" in row.notes
    assert pair_row("r", PairCounts(), pair_report([], 0)).win_rate == ABSENT


def test_a_pair_s_page_knows_no_arm_and_asks_the_rubric_s_question():
    pair = OpenedPair("p", rubric(), Sample("i", "q", "x"), "x", "y", "t", 10.0, 60.0, None)
    page = pair_page(pair)

    assert page.question == "Which answer serves the customer better?"
    assert [key for _, key, _ in page.choices] == ["a", "b", "t", "0"]
    assert not {"canary", "control"} & set(repr(page).replace("'", " ").split())


@pytest.mark.parametrize("why", ["skips", "flag", "revised", "people", "judge"])
def test_every_reason_to_decide_has_words(why):
    assert case_row(Case("s", why, ())).why
