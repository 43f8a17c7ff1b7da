"""The page in a real browser: nothing refused by its own policy, live, by keyboard, on a phone."""

from types import SimpleNamespace

import pytest

from llm_canary.clock import ManualClock
from tests.rollout_views import NOW_S, every_state, rollout
from tests.support.browser import chromium_or_skip, listen
from tests.support.control import Web
from tests.support.rollout_reader import ViewReader

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LIVE_MS = 10_000


@pytest.fixture(scope="module")
def chromium():
    with chromium_or_skip() as browser:
        yield browser


@pytest.fixture
def site(tmp_path):
    """The pages on a port, over a list of views that a test may change."""
    views = list(every_state())
    shown = Web(
        tmp_path,
        clock=ManualClock(NOW_S),
        rollouts=SimpleNamespace(read=ViewReader(views)),
    )
    shown.views = views
    with shown.served():
        yield shown
    shown.close()


@pytest.fixture
def visit(chromium, site):
    """Open the page; at the end, complain of whatever the browser complained of."""
    complaints, pages = [], []

    def open_page(viewport=DESKTOP, scheme="light"):
        page = chromium.new_page(viewport=viewport, color_scheme=scheme)
        listen(page, complaints)
        page.goto(site.url)
        pages.append(page)
        return page

    open_page.complaints = complaints
    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def test_a_changed_rollout_appears_without_reloading(visit, site):
    page = visit()
    page.evaluate("window.sameDocument = true")

    site.views[:] = [rollout("support-v13", state="rolled_back", ended_s=NOW_S)]
    page.get_by_text("1 ended", exact=True).wait_for(timeout=LIVE_MS)

    assert page.evaluate("window.sameDocument")
    assert "support-v13 rolled back" in page.locator("#announce").text_content()


def test_an_unchanged_page_is_left_alone(visit):
    page = visit()
    page.evaluate("document.querySelector('.card').dataset.mine = 'yes'")

    with page.expect_response(lambda answer: answer.status == 304, timeout=LIVE_MS):
        pass
    page.wait_for_timeout(200)

    assert page.locator(".card[data-mine]").count() == 1


def test_details_that_were_opened_stay_open_when_the_page_changes(visit, site):
    page = visit()
    page.locator("details summary").first.click()
    name = page.locator("details[open]").get_attribute("id")

    site.views.append(rollout("one-more"))
    page.get_by_role("link", name="one-more").wait_for(timeout=LIVE_MS)

    assert page.locator("details[open]").get_attribute("id") == name


def test_a_lost_server_is_said_and_its_return_too(visit, site):
    page = visit()

    page.route("**/partials/rollouts", lambda route: route.abort())
    page.get_by_text("No connection").first.wait_for(timeout=LIVE_MS)
    page.unroute("**/partials/rollouts")
    page.locator("#live-text", has_text="Live").wait_for(timeout=LIVE_MS)

    page.route("**/partials/rollouts", lambda route: route.fulfill(status=503, body="No database"))
    page.locator("#problem[role=alert]", has_text="No database").wait_for(timeout=LIVE_MS)
    page.unroute("**/partials/rollouts")
    page.locator("#problem:empty").wait_for(state="attached", timeout=LIVE_MS)

    # The browser and htmx themselves report what could not be loaded, which is the point here.
    ours = [
        text
        for text in visit.complaints
        if "ERR_FAILED" not in text and "503" not in text and "htmx:" not in text
    ]
    visit.complaints[:] = ours


def test_everything_can_be_reached_and_opened_by_keyboard(visit):
    page = visit()

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    page.keyboard.press("Enter")

    assert page.locator("details[open]").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_is_wider_than_the_window(visit, viewport, scheme):
    page = visit(viewport, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")

    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_against_what_is_behind_them(visit, scheme):
    page = visit(scheme=scheme)

    assert page.evaluate(LEAST_CONTRAST) >= 4.5  # WCAG 2.2, 1.4.3


def test_a_screen_reader_gets_a_table_with_a_row_for_each_rollout(visit):
    page = visit(PHONE)
    table = page.get_by_role("table", name="Running: one row for each rollout")

    assert table.get_by_role("row").count() == 3
    assert table.get_by_role("columnheader", include_hidden=True).count() == 6
    (picture, *_) = table.get_by_role("img").all()
    assert "latency p95: canary worse by" in picture.get_attribute("aria-label")


# The least contrast of any text node with the first opaque background behind it.
LEAST_CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let least = 21;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    const pair = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))];
    least = Math.min(least, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05));
  }
  return least;
}"""
