"""The page of a rollout in a real browser, over the real service: watched, held, rolled back."""

import pytest

from tests.acceptance.test_page import (
    DESKTOP,
    LEAST_CONTRAST,
    LIVE_MS,
    PHONE,
    chromium,  # noqa: F401 - a fixture
)
from tests.support import schema
from tests.support.browser import listen
from tests.support.control import COOKIE, PASSWORD, Web
from tests.support.rollout_world import QUICK, Arm, World

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
def world(tmp_path):
    engine = schema.sqlite_engine(tmp_path / "world.db")
    made = World(tmp_path, QUICK.replace("PLAN", "quick"), engine=engine)
    made.control = made.canary = Arm(error=0.02)
    made.start()
    made.step(400, 30.0)
    yield made
    engine.dispose()


@pytest.fixture
def web(tmp_path, world):
    made = Web(
        tmp_path, engine=world.engine, clock=world.clock, rollouts=world.service,
        config=lambda: world.config,
    )  # fmt: skip
    made.account("mara", "operator")
    made.cookie, _ = made.gate.log_in("mara", PASSWORD)
    with made.served():
        yield made


@pytest.fixture
def visit(chromium, web):  # noqa: F811
    """Open a path as who is logged in; at the end, complain of what the browser complained of."""
    complaints, contexts = [], []

    def open_page(path="/rollouts/next", viewport=DESKTOP, scheme="light", *, script=True):
        context = chromium.new_context(
            viewport=viewport, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        context.add_cookies([{"name": COOKIE, "value": web.cookie, "url": web.url}])
        page = context.new_page()
        # Both belong to other pages.
        for other in ("charts", "answers"):
            page.route(f"**/rollouts/next/{other}*", lambda route: route.fulfill(body="<p>-</p>"))
        listen(page, complaints)
        page.goto(web.url.rstrip("/") + path)
        return page

    open_page.complaints = complaints
    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def pill(page):
    return page.locator(".lead .pill")


def test_a_rollout_is_seen_to_roll_back_without_reloading(visit, world):
    page = visit()
    page.evaluate("window.sameDocument = true")
    assert pill(page).inner_text() == "Running"

    world.canary = Arm(error=0.9)
    world.step(1_500, 40.0)

    pill(page).get_by_text("Rolled back").wait_for(timeout=LIVE_MS)
    assert page.evaluate("window.sameDocument")
    assert "next rolled back" in page.locator("#announce").text_content()
    assert "global_harm: error_rate is worse" in page.locator(".notice").inner_text()
    assert page.locator("#act-hold").count() == 0
    assert page.locator("#metric-error_rate").get_by_text("watch: worse").count() == 1


def press_to(page, name):
    """Press Tab until the link or button of that name has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    raise AssertionError(f"Tab does not lead to {name!r}")


def test_a_rollout_is_held_and_resumed_by_keyboard_alone(visit, world):
    page = visit()

    for act, word, held in (("Hold", "Held", True), ("Resume", "Running", False)):
        press_to(page, act)
        page.keyboard.press("Enter")
        page.locator("dialog[open] #confirm-title").wait_for()
        assert page.evaluate("document.activeElement.id") == "reason"
        page.keyboard.type("numbers look odd")
        press_to(page, act)
        page.keyboard.press("Enter")
        pill(page).get_by_text(word).wait_for(timeout=LIVE_MS)
        assert (world.service.get("next").hold is not None) == held

    assert world.service.history("next")[0].reason == "numbers look odd"


def test_a_confirmation_that_is_cancelled_does_nothing_and_gives_the_focus_back(visit, world):
    page = visit()

    page.click("#act-rollback")
    dialog = page.locator("dialog[open]")
    dialog.get_by_text("This is one way").wait_for()
    dialog.get_by_role("link", name="Cancel").click()

    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.id") == "act-rollback"
    page.click("#act-hold")
    page.locator("dialog[open]").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert world.service.get("next").state == "running"
    assert world.service.get("next").hold is None


def test_who_was_too_late_is_told_so_on_the_page(visit, world):
    page = visit()
    page.click("#act-promote")
    page.locator("dialog[open] #reason").fill("go")
    world.service.promote("next", actor="jon", reason="I was faster")

    page.locator("dialog[open]").get_by_role("button", name="Promote").click()

    page.locator("#problem").get_by_text("changed meanwhile").wait_for(timeout=LIVE_MS)
    assert page.locator("dialog[open]").count() == 0
    assert world.service.get("next").stage == "broad"
    page.click("#act-promote")
    assert page.locator("dialog[open] #reason").input_value() == "go"
    visit.complaints[:] = [
        each for each in visit.complaints if "409" not in each and "htmx:" not in each
    ]


def test_everything_can_be_done_without_scripts(visit, world):
    page = visit(script=False)

    page.click("#act-rollback")
    assert "from 10" in page.locator(".says").inner_text()
    page.fill("#reason", "no scripts here")
    page.get_by_role("button", name="Roll back").click()

    assert pill(page).inner_text() == "Rolled back"
    assert world.service.get("next").state == "rolled_back"
    assert page.get_by_role("link", name="Show the charts").count() == 1


def test_a_link_to_a_segment_opens_it(visit):
    page = visit("/rollouts/next#segment-tier")

    page.locator("#segment-tier[open]").wait_for()


def test_what_was_unfolded_stays_so_when_the_numbers_change(visit, world):
    page = visit()
    page.locator("#tests > summary").click()
    before = page.locator(".facts").inner_text()

    world.step(300, 5.0)
    page.wait_for_function(
        "before => document.querySelector('.facts').innerText !== before",
        arg=before,
        timeout=LIVE_MS,
    )

    assert page.locator("#tests[open]").count() == 1


PATHS = ("/", "/rollouts/next", "/rollouts/next/act/promote", "DECISION")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pages_fit_the_window_and_can_be_read(visit, world, viewport, scheme):
    decision = world.service.decisions("next")[0].id
    for path in PATHS:
        page = visit(
            path.replace("DECISION", f"/rollouts/next/decisions/{decision}"), viewport, scheme
        )
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")

        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], path
        assert page.evaluate(LEAST_CONTRAST) >= 4.5, path


def test_a_screen_reader_gets_the_metrics_as_a_table_with_a_text_for_each_picture(visit):
    page = visit(viewport=PHONE)
    table = page.get_by_role("table", name="Metrics of next: control against canary")

    assert table.get_by_role("row").count() == 3
    assert table.get_by_role("columnheader", include_hidden=True).count() == 7
    pictures = table.get_by_role("img").all()
    assert pictures
    assert all("worse by" in each.get_attribute("aria-label") for each in pictures)


def test_on_paper_everything_is_unfolded_and_nothing_can_be_pressed(visit):
    page = visit()
    page.locator("#segment-tier").wait_for()

    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")

    assert page.locator("details:not([open]):not(.who)").count() == 0
    assert not page.locator("#act-hold").is_visible()
    assert page.locator("#segment-tier table").first.is_visible()
