"""Reviewing in a real browser: by keyboard only, with lost leases, hostile texts and two people."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from llm_canary.clock import ManualClock
from llm_canary.review.queue import ReviewQueue
from tests.acceptance.test_page import DESKTOP, LEAST_CONTRAST, PHONE, chromium  # noqa: F401
from tests.factories import NOON_S
from tests.support import schema
from tests.support.browser import listen
from tests.support.control import PASSWORD, Web
from tests.support.review_world import HOSTILE, LABELS, TURNS_1000, drawn, judged

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
def site(tmp_path):
    """The pages over a database with answers to review, and a clock that a test moves."""
    engine = schema.sqlite_engine(tmp_path / "web.db")
    clock = ManualClock(NOON_S + 60.0)
    queue = ReviewQueue(engine, clock, gold_rate=0.0)
    made = Web(tmp_path, engine=engine, clock=clock, reviews=queue)
    made.account("mara", "reviewer")
    made.account("jon", "reviewer")
    made.account("lead", "operator")
    with made.served():
        yield made
    made.close()
    engine.dispose()


@pytest.fixture
def visit(chromium, site):  # noqa: F811
    """Open a page as somebody; at the end, complain of whatever the browser complained of."""
    complaints, contexts = [], []

    def log_in(name="mara", viewport=DESKTOP, scheme="light"):
        context = chromium.new_context(viewport=viewport, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        listen(page, complaints)
        page.on("request", lambda request: request.url.startswith((site.url, "data:")) or complaints.append(request.url))  # fmt: skip
        page.goto(f"{site.url}login?next=/review")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Review", exact=True).wait_for()
        return page

    log_in.complaints = complaints
    yield log_in
    for context in contexts:
        context.close()
    assert complaints == []


def go(page, site, path):
    page.goto(site.url.rstrip("/") + path)


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def submit(page):
    """Submit by keyboard, and wait for the page that comes then."""
    with page.expect_navigation():
        page.keyboard.press("Control+Enter")


def saved(page):
    page.locator("#saved", has_text="Draft saved").wait_for()


def reviews(site):
    query = "SELECT sample_id, reviewer, status, labels, comment, corrected_response FROM review ORDER BY id"
    with site.engine.connect() as connection:
        return [row._asdict() for row in connection.execute(text(query))]


def test_ten_answers_are_graded_by_keyboard_only(visit, site):
    drawn(site.engine, [(f"question {n}", f"answer {n}") for n in range(10)])
    page = visit()
    page.keyboard.press("Tab")
    for _ in range(30):
        if page.evaluate("document.activeElement.textContent").strip() == "Start reviewing":
            break
        page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")

    for number in range(10):
        page.locator(".answer", has_text=f"answer {number}").wait_for()
        press(page, "y", "3", "2")
        submit(page)

    page.get_by_role("heading", name="Nothing left for you here").wait_for()
    given = reviews(site)
    assert len(given) == len({row["sample_id"] for row in given}) == 10
    assert all(json.loads(row["labels"]) == LABELS for row in given)


def test_every_key_does_what_the_sheet_says(visit, site):
    drawn(site.engine, [("question", "**answer**"), ("other", "other answer")])
    page = visit()
    go(page, site, "/review/support/next")
    chosen = "[...document.querySelectorAll('.criterion :checked')].map((e) => e.value).join()"

    press(page, "n", "k", "x", "k", "k", "j", "j", "1")
    assert page.evaluate(chosen) == "cannot_assess,met"
    press(page, "k", "2")
    assert page.evaluate(chosen) == "cannot_assess,some,met"
    press(page, "f")
    assert page.locator("[name=flag]").is_checked()
    press(page, "r")
    assert page.get_by_text("**answer**").first.is_visible()
    press(page, "c")
    page.keyboard.type("just yes 1 2 3 s u r")
    assert page.evaluate(chosen) == "cannot_assess,some,met"
    press(page, "Escape", "e")
    page.keyboard.type("better")
    press(page, "Escape", "?")
    assert page.get_by_role("dialog").is_visible()
    press(page, "y", "s")
    assert page.evaluate(chosen) == "cannot_assess,some,met"
    press(page, "Escape")
    assert not page.get_by_role("dialog").is_visible()
    page.evaluate(
        """() => {
          const key = (init) => document.body.dispatchEvent(new KeyboardEvent("keydown", {bubbles: true, ...init}));
          key({key: "y", isComposing: true});
          key({key: "y", ctrlKey: true});
          key({key: "Enter", ctrlKey: true, altKey: true, modifierAltGraph: true});
        }"""
    )
    assert page.evaluate(chosen) == "cannot_assess,some,met"
    press(page, "j")
    page.evaluate(
        """() => document.body.dispatchEvent(new KeyboardEvent("keydown",
          {bubbles: true, key: "n", ctrlKey: true, altKey: true, modifierAltGraph: true}))"""
    )
    assert page.evaluate(chosen) == "cannot_assess,some,unmet"
    press(page, "s")
    assert page.evaluate("document.activeElement.id") == "reason"
    press(page, "Escape")
    submit(page)
    page.get_by_text("other answer").first.wait_for()
    [row] = reviews(site)
    assert json.loads(row["labels"])["helpfulness"] == "some"
    assert row["corrected_response"] == "better"


def test_an_unfinished_review_is_not_sent(visit, site):
    drawn(site.engine, [("question", "answer")])
    page = visit()
    go(page, site, "/review/support/next")

    press(page, "y", "Control+Enter")
    page.wait_for_timeout(300)

    assert reviews(site) == []
    assert page.evaluate("document.activeElement.name") == "label:helpfulness"


def test_the_last_review_is_undone_and_given_again(visit, site):
    first, _ = drawn(site.engine, [("one", "answer one"), ("two", "answer two")])
    page = visit()
    go(page, site, "/review/support/next")
    press(page, "y", "3", "2", "c")
    page.keyboard.type("a remark")
    submit(page)
    page.get_by_text("answer two").first.wait_for()

    with page.expect_navigation():
        press(page, "u")

    page.get_by_text("answer one").first.wait_for()
    assert page.get_by_label("Comment").input_value() == "a remark"
    press(page, "n")
    submit(page)
    page.get_by_text("answer two").first.wait_for()
    states = [row["status"] for row in reviews(site)]
    assert states == ["submitted", "retracted", "submitted"]
    assert {row["sample_id"] for row in reviews(site)} == {first}
    assert json.loads(reviews(site)[-1]["labels"])["answers_question"] == "unmet"


def test_a_lost_lease_keeps_the_draft_and_the_item_is_claimed_again(visit, site):
    drawn(site.engine, [("question", "answer")])
    page = visit()
    go(page, site, "/review/support/next")
    press(page, "y", "2")
    saved(page)

    site.clock.advance(16 * 60.0)
    page.reload()
    page.get_by_role("heading", name="no longer reserved").wait_for()
    press(page, "j", "2")
    with page.expect_navigation():
        page.get_by_role("button", name="Claim it again").click()

    assert not page.get_by_role("heading", name="no longer reserved").is_visible()
    assert page.locator(".criterion :checked").count() == 3
    submit(page)
    assert len(reviews(site)) == 1


def test_a_lease_that_another_took_is_said_with_the_draft_kept(visit, site):
    [sample] = drawn(site.engine, [("question", "answer")])
    page = visit()
    go(page, site, "/review/support/next")
    site.clock.advance(16 * 60.0)
    other = visit("lead")
    go(other, site, "/review/support/next")
    press(other, "n", "1", "1")
    submit(other)

    press(page, "y", "3", "2")
    submit(page)
    assert page.get_by_text("has all its reviews").is_visible()
    assert page.locator(".criterion :checked").count() == 3
    go(page, site, f"/review/item/{sample}")
    assert page.locator(".criterion :checked").count() == 3
    assert [row["reviewer"] for row in reviews(site)] == ["lead"]
    visit.complaints[:] = [each for each in visit.complaints if " 409 " not in each]


def test_a_draft_outlives_the_login(visit, site):
    drawn(site.engine, [("question", "answer")])
    page = visit()
    go(page, site, "/review/support/next")
    press(page, "y", "3", "c")
    page.keyboard.type("half way")
    saved(page)
    page.get_by_text("mara", exact=True).click()
    page.get_by_role("button", name="Log out").click()

    again = visit()
    go(again, site, "/review/support/next")

    assert again.get_by_label("Comment").input_value() == "half way"
    assert again.locator(".criterion :checked").count() == 2


def page_of_an_ended_session(visit, site):
    drawn(site.engine, [("question", "answer")])
    page = visit()
    go(page, site, "/review/support/next")
    press(page, "y")
    saved(page)
    site.gate.accounts.set_password("mara", PASSWORD)  # every session ends
    return page


def test_a_session_that_ends_while_grading_is_said_and_loses_nothing(visit, site):
    page = page_of_an_ended_session(visit, site)

    press(page, "3")
    page.get_by_text("You are logged out").wait_for()

    assert page.locator(".criterion :checked").count() == 2
    visit.complaints[:] = [each for each in visit.complaints if " 401 " not in each]


def test_after_a_new_login_in_another_tab_one_goes_on_where_one_was(visit, site):
    page = page_of_an_ended_session(visit, site)
    press(page, "3", "1", "c")
    page.keyboard.type("typed after the end")
    page.keyboard.press("Control+Enter")
    trouble = page.locator("#trouble")
    trouble.get_by_text("You are logged out").wait_for()  # and the page has not been left

    log_in_in_another_tab(page, site, "jon")
    trouble.get_by_text("Somebody else is logged in here now").wait_for(timeout=20_000)
    log_in_in_another_tab(page, site, "mara")
    submit(page)

    [row] = reviews(site)
    assert (row["reviewer"], row["comment"]) == ("mara", "typed after the end")
    expected = (" 401 ", " 403 ", " 404 ")  # 404: to jon the answer is not there
    visit.complaints[:] = [
        each for each in visit.complaints if not any(e in each for e in expected)
    ]


def test_what_one_has_typed_is_never_saved_as_somebody_else(visit, site):
    [sample] = drawn(site.engine, [("question", "answer")], wanted=2)
    page = visit()
    go(page, site, "/review/support/next")
    go(visit("jon"), site, "/review/support/next")  # the same answer is theirs to grade, too
    log_in_in_another_tab(page, site, "jon")
    page.locator("#comment").fill("typed by mara")

    page.locator("#trouble").get_by_text("Somebody else is logged in here now").wait_for()

    query = "SELECT reviewer, comment FROM review_draft WHERE sample_id = :sample"
    with site.engine.connect() as connection:
        drafts = connection.execute(text(query), {"sample": sample}).all()
    assert "typed by mara" not in {comment for _, comment in drafts}
    visit.complaints[:] = [each for each in visit.complaints if " 403 " not in each]


def log_in_in_another_tab(page, site, name):
    other = page.context.new_page()
    other.context.clear_cookies()
    other.goto(f"{site.url}login")
    other.get_by_label("Name").fill(name)
    other.get_by_label("Password").fill(PASSWORD)
    other.keyboard.press("Enter")
    other.get_by_role("heading", name="Review", exact=True).wait_for()
    other.close()


def test_a_flag_and_a_comment_are_kept_by_a_skip_at_once_by_keyboard(visit, site):
    [sample, _] = drawn(site.engine, [("q", "upsetting"), ("q", "next")])
    page = visit()
    go(page, site, "/review/support/next")

    press(page, "y", "c")
    page.keyboard.type("names a street")
    press(page, "Escape", "f", "s", "Tab")
    page.keyboard.type("upsets me")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.locator(".answer", has_text="next").wait_for()

    with site.engine.connect() as connection:
        flagged = connection.execute(text("SELECT sample_id FROM review_flag")).scalars().all()
        said = connection.execute(text("SELECT status, comment FROM review")).one()
    assert flagged == [sample]
    assert tuple(said) == ("skipped", "upsets me: names a street")
    go(page, site, "/review")
    assert not page.get_by_text("Drafts that you have left").is_visible()


def test_hostile_texts_are_shown_and_do_nothing(visit, site):
    drawn(site.engine, [*HOSTILE.values(), (TURNS_1000, "the end")])
    page = visit(viewport=PHONE)
    seen = set()
    for _ in range(len(HOSTILE) + 1):
        go(page, site, "/review/support/next")
        seen.add(page.url)
        assert page.evaluate("window.tripped") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert (
            page.locator(".text a, .text img, .text iframe, .text svg, .text [style]").count() == 0
        )
        assert page.evaluate("document.body.textContent.length") < 200_000
        page.locator("#skip-part summary").click()
        page.get_by_label("Or in your words").fill("<b>hostile</b>")
        page.get_by_role("button", name="Give it to others").click()
    assert len(seen) == len(HOSTILE) + 1


def test_the_whole_of_a_long_text_can_be_read(visit, site):
    [sample, _] = drawn(site.engine, [HOSTILE["huge"], (TURNS_1000, "the end")])
    page = visit()
    go(page, site, "/review/support/next")
    assert "180,000 more" in page.locator(".more").text_content()
    go(page, site, f"/review/item/{sample}/text/response")
    assert page.locator(".whole").text_content() == HOSTILE["huge"][1]
    page.go_back()
    press(page, "y", "1", "2")
    submit(page)

    summary = page.locator("#history")
    assert not page.locator(".turn").first.is_visible()
    assert "1000" in summary.locator("summary").text_content()


def test_two_answers_are_compared_by_keyboard(visit, site):
    drawn(site.engine, [("q one", "in Graz"), ("q one", "in Linz"), ("q two", "x"), ("q two", "y")])
    page = visit()
    page.get_by_role("link", name="Compare pairs").click()
    page.get_by_role("heading", name="Which answer serves").or_(
        page.get_by_text("Which answer serves")
    ).first.wait_for()

    press(page, "b", "t", "a")
    submit(page)
    press(page, "0")
    submit(page)

    page.get_by_role("heading", name="Nothing left").wait_for()
    with site.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT preferred, shown_first FROM pair_preference ORDER BY id")
        ).all()
    assert rows[0][0] == rows[0][1]
    assert rows[1][0] == "both_bad"
    lead = visit("lead")
    go(lead, site, "/review/pairs")
    assert "1 both bad" in lead.locator("tbody").text_content()


def test_a_disagreement_is_decided_and_its_correction_becomes_a_dataset(visit, site):
    [sample] = drawn(site.engine, [("question", "answer")], wanted=2)
    judged(site.engine, sample, LABELS)
    for name, keys in (("mara", ("y", "3", "2")), ("lead", ("n", "1", "2"))):
        page = visit(name)
        go(page, site, "/review/support/next")
        press(page, *keys, "e")
        page.keyboard.type(f"better, says {name}")
        submit(page)
    page.get_by_role("link", name="Disagreements").click()
    page.get_by_role("link", name="Decide").click()
    assert page.get_by_role("columnheader", name="Judge").is_visible()
    assert "canary" not in page.locator("main").text_content()
    press(page, "y", "2", "2")
    page.get_by_label("Reason").fill("the town is named, the day is not")
    page.get_by_role("checkbox", name="helpfulness").check()
    submit(page)

    assert page.get_by_text("Nothing to decide").is_visible()
    assert page.get_by_role("row", name="support helpfulness 1").is_visible()
    page.get_by_role("link", name="Datasets").click()
    page.get_by_role("checkbox").first.check()
    page.get_by_label("Dataset").fill("golden")
    page.get_by_role("button", name="Add to the dataset").click()
    page.get_by_role("button", name="Freeze golden").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="JSONL of golden version 1").click()
    row = json.loads(download.value.path().read_text())
    assert row["reference"].startswith("better, says ")
    with site.engine.connect() as connection:
        state = connection.execute(text("SELECT review_state, human_score FROM sample")).one()
        acts = (
            connection.execute(text("SELECT action FROM audit_entry ORDER BY id")).scalars().all()
        )
    assert state[0] == "done"
    assert {"review.submit", "review.adjudicate", "dataset.promote", "dataset.freeze"} <= set(acts)


PAGES = (
    "/review", "/review/support/next", "/review/history", "/review/disagreements",
    "/review/reviewers", "/review/pairs", "/review/datasets", "/review/pairs/support/next",
)  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_page_is_wider_than_the_window_or_hard_to_read(visit, site, viewport, scheme):
    drawn(site.engine, [HOSTILE["rtl"], HOSTILE["rtl"], ("q", "a"), ("q", "b")])
    page = visit("lead", viewport, scheme)
    for path in PAGES:
        go(page, site, path)
        page.evaluate(
            "document.querySelectorAll('main details').forEach((each) => { each.open = true; })"
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], path
        assert page.evaluate(LEAST_CONTRAST) >= 4.5, path
