"""Charts in a real browser: drawn, exported, by keyboard, in both themes, without a complaint."""

import csv
import hashlib
import io
from pathlib import Path

import pytest

from llm_canary.clock import ManualClock
from tests.acceptance.test_page import LEAST_CONTRAST
from tests.factories import NOON_S
from tests.support.browser import chromium_or_skip, listen
from tests.support.control import Web
from tests.support.series_world import add_rollout, add_scores, add_traffic, rollouts_of

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
HOSTILE = "</th><img src=x onerror=window.hit=1>"
# How many pixels of a chart are not the most frequent colour.
INK = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const counts = new Map();
  for (let at = 0; at < data.length; at += 4) {
    const colour = data.slice(at, at + 4).join();
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  return data.length / 4 - Math.max(...counts.values());
}"""


TOPS = "[...document.querySelectorAll('figure')].map((each) => each.offsetTop)"
SHIFT = """new Promise((done) => new PerformanceObserver((list) => done(
  list.getEntries().reduce((sum, each) => sum + each.value, 0))).observe({ type: "layout-shift", buffered: true }) ?? setTimeout(done, 500, 0))"""


@pytest.fixture(scope="module")
def chromium():
    with chromium_or_skip() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("charts")
    shown = Web(folder, clock=ManualClock(NOON_S))
    object.__setattr__(shown.site.services, "rollouts", rollouts_of(shown.engine))
    add_rollout(shown.engine)
    add_traffic(shown.engine, per_minute=5)
    add_scores(shown.engine, HOSTILE)
    with shown.served():
        yield shown
    shown.close()


@pytest.fixture
def visit(chromium, site):
    """Open the charts; at the end, complain of whatever the browser complained of."""
    complaints, pages = [], []

    def open_page(viewport=DESKTOP, scheme="light", path="rollouts/next/charts"):
        page = chromium.new_page(viewport=viewport, color_scheme=scheme, accept_downloads=True)
        listen(page, complaints)
        page.goto(site.url + path)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def scroll_through(page):
    """Look at every chart: each is drawn when it comes into sight."""
    for figure in page.locator("figure").all():
        figure.scroll_into_view_if_needed()
        figure.locator("canvas").wait_for()


def inks(page):
    return [canvas.evaluate(INK) for canvas in page.locator(".chart canvas").element_handles()]


def pictures(page):
    return [
        hashlib.sha256(canvas.evaluate("(canvas) => canvas.toDataURL()").encode()).hexdigest()
        for canvas in page.locator(".chart canvas").element_handles()
    ]


def test_every_chart_is_drawn_and_nothing_hostile_runs(visit):
    page = visit()
    scroll_through(page)

    assert page.locator("figure").count() == page.locator(".chart canvas").count() == 12
    assert min(inks(page)) > 500
    assert page.evaluate("window.hit") is None
    assert page.locator("h3", has_text="onerror").count() == 2


def test_charts_out_of_sight_wait_and_nothing_moves_when_they_are_drawn(visit):
    page = visit()
    page.locator(".chart canvas").first.wait_for()
    page.wait_for_timeout(500)
    waiting = 12 - page.locator(".chart canvas").count()
    tops = page.evaluate(TOPS)

    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")

    assert waiting > 0
    assert page.locator(".chart canvas").count() == 12
    assert page.evaluate(TOPS) == tops
    assert page.evaluate(SHIFT) < 0.01


def test_on_paper_every_chart_is_drawn(visit):
    page = visit()

    page.emulate_media(media="print")

    page.wait_for_function("document.querySelectorAll('.chart canvas').length === 12")
    assert min(inks(page)) > 300


def test_the_theme_redraws_the_charts(visit):
    page = visit()
    scroll_through(page)
    light = pictures(page)

    page.locator("#theme").click()
    dark = pictures(page)
    page.locator("#theme").click()

    assert all(one != other for one, other in zip(light, dark, strict=True))
    assert pictures(page) == light


def test_the_systems_theme_redraws_the_charts(visit):
    page = visit()
    scroll_through(page)
    light = pictures(page)

    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(100)

    assert all(one != other for one, other in zip(light, pictures(page), strict=True))


def test_charts_follow_the_width_of_the_window(visit):
    page = visit()

    page.set_viewport_size(PHONE)
    page.wait_for_timeout(200)

    width = page.locator(".chart .uplot").first.evaluate("(each) => each.clientWidth")
    assert 250 < width < 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert min(inks(page)) > 300


def test_the_keyboard_walks_through_the_values(visit):
    page = visit()
    figure = page.locator("figure", has=page.get_by_role("heading", name="Latency ms", exact=True))
    figure.locator(".chart-plot").focus()
    values = figure.locator("tbody tr")

    page.keyboard.press("End")
    last = figure.locator("output").all_text_contents()
    page.keyboard.press("ArrowLeft")
    before = figure.locator("output").all_text_contents()

    assert [each.replace(",", "") for each in last] == values.last.locator("td").all_text_contents()
    assert [each.replace(",", "") for each in before] == values.nth(-2).locator(
        "td"
    ).all_text_contents()
    page.keyboard.press("Escape")
    assert set(figure.locator("output").all_text_contents()) == {""}


def test_every_control_is_reached_by_tab(visit):
    page = visit()
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.outerHTML.slice(0, 300)"))

    assert sum("chart-plot" in each for each in reached) == 12
    assert sum('data-export="png"' in each for each in reached) == 12
    assert sum("range-" in each for each in reached) == 4


def test_a_chart_is_saved_as_csv_and_png(visit, tmp_path):
    page = visit()
    figure = page.locator("figure", has=page.get_by_role("heading", name="Error rate"))

    figure.locator("tbody tr").first.locator("td").evaluate_all(
        "cells => { [cells[0].textContent, cells[1].textContent] = ['-0.12', '-1+cmd']; }"
    )
    with page.expect_download() as table:
        figure.get_by_role("button", name="Save Error rate as CSV").click()
    with page.expect_download() as picture:
        figure.get_by_role("button", name="Save Error rate as PNG").click()

    rows = list(csv.reader(io.StringIO(Path(table.value.path()).read_text())))
    assert table.value.suggested_filename == "next-error-rate.csv"
    assert rows[0] == ["Time (UTC)", "Control", "Canary"]
    assert rows[1][-2:] == ["-0.12", "'-1+cmd"]  # a number stays one, a formula becomes text
    assert len(rows) == figure.locator("tbody tr").count() + 1
    assert Path(picture.value.path()).read_bytes().startswith(b"\x89PNG")
    assert Path(picture.value.path()).stat().st_size > 2_000


def test_a_range_is_chosen_without_leaving_the_page(visit):
    page = visit()
    page.evaluate("window.sameDocument = true")

    page.get_by_role("link", name="1 hour").click()
    page.get_by_text("One point per minute").wait_for()
    scroll_through(page)

    assert page.evaluate("window.sameDocument")
    assert page.locator("[aria-current=true]").text_content() == "1 hour"
    assert min(inks(page)) > 500
    assert page.locator(".chart canvas").count() == page.locator("figure").count()


def test_a_gap_in_the_traffic_is_a_gap_in_the_line(visit):
    page = visit()
    figure = page.locator("figure", has=page.get_by_role("heading", name="Requests per minute"))

    empty = figure.locator("canvas").evaluate(
        """(canvas) => {
          const pen = canvas.getContext("2d");
          const first = Math.floor(canvas.width * 0.4), last = Math.floor(canvas.width * 0.52);
          const { data } = pen.getImageData(first, 20, last - first, canvas.height * 0.7);
          let inked = 0; // of the control's blue
          for (let at = 0; at < data.length; at += 4) {
            if (data[at + 3] > 200 && data[at + 2] > data[at] + 20) inked += 1;
          }
          return inked;
        }"""
    )

    assert empty == 0


def test_without_scripts_the_numbers_are_there(chromium, site):
    context = chromium.new_context(java_script_enabled=False, viewport=DESKTOP)
    page = context.new_page()
    page.goto(site.url + "rollouts/next/charts")

    page.get_by_text("Numbers", exact=True).first.click()

    assert page.get_by_role("table").count() == 1
    assert page.get_by_role("row").count() > 20
    page.get_by_role("link", name="24 hours").click()
    assert page.locator("[aria-current=true]").text_content() == "24 hours"
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_and_can_be_read(visit, viewport, scheme):
    page = visit(viewport, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")

    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert page.evaluate(LEAST_CONTRAST) >= 4.5


def test_each_picture_has_its_main_fact_as_text(visit):
    page = visit()

    for picture in page.locator("figure").get_by_role("img").all():
        label = picture.get_attribute("aria-label")
        assert "canary" in label
        assert "control" in label
        assert "since the start" in label
