"""History, samples, answers, calibration, alerts and settings in a real browser, over real data."""

import re

import pytest
from sqlalchemy import text

from tests.support.browser import chromium_or_skip, listen
from tests.support.seeded_pages import pages_of, seeded

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
PATHS = (
    "history", "samples", "samples?differs=1", "rollouts/next/answers", "calibration", "alerts",
    "settings", "samples/{hostile}", "samples/{hostile}?raw=1", "samples/{plain}",
)  # fmt: skip
MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def browser(site):
    """After the world, whose judges need the event loop that Playwright takes."""
    with chromium_or_skip() as made:
        yield made


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeded")
    with seeded(folder) as world:
        web = pages_of(world, folder)
        web.names = {
            "hostile": sample_with(world, "script"),
            "plain": sample_with(world, "no idea"),
        }
        with web.served():
            yield web
        web.close()


def sample_with(world, words):
    query = text(
        "SELECT sample.id FROM sample JOIN inference ON inference.id = sample.inference_id "
        "JOIN review ON review.sample_id = sample.id WHERE response_text LIKE :words LIMIT 1"
    )
    with world.engine.connect() as connection:
        return connection.execute(query, {"words": f"%{words}%"}).scalar_one()


@pytest.fixture
def visit(browser, site):
    """Open a page; at the end, complain of whatever the browser complained of or asked others for."""
    complaints, pages = [], []

    def open_page(path, *, size="desktop", scheme="light", script=True):
        page = browser.new_page(
            viewport=SIZES[size], color_scheme=scheme, java_script_enabled=script
        )
        listen(page, complaints)
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(site.url) else complaints.append(asked.url),
        )
        answer = page.goto(site.url + path.format(**site.names))
        assert answer.status == 200
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def test_a_filter_works_without_scripts(visit):
    page = visit("samples", script=False)
    page.locator("summary", has_text="Find answers").click()
    page.get_by_label("Judge says").select_option("fail")
    page.get_by_role("button", name="Show").click()

    assert "judge=fail" in page.url
    marks = page.locator(".sample .sample-marks").all_inner_texts()
    assert marks
    assert all("Judge: Failed" in mark for mark in marks)


def test_older_answers_are_a_link_away(visit):
    page = visit("samples")
    first = page.locator(".sample a").first.get_attribute("href")
    page.get_by_role("link", name="Older").click()
    page.wait_for_url(re.compile("before="))

    assert page.locator(".sample a").first.get_attribute("href") != first
    page.get_by_role("link", name="Newer").click()
    page.wait_for_url(lambda url: "before=" not in url)
    assert page.locator(".sample a").first.get_attribute("href") == first


def test_an_answer_is_asked_about_by_keyboard(visit, site):
    page = visit("samples?human=none")
    page.locator(".sample a").first.click()
    page.get_by_role("button", name="Ask people about it").focus()
    page.keyboard.press("Enter")
    page.get_by_text("as somebody wanted it").first.wait_for()

    assert page.get_by_role("button", name="Ask people about it").count() == 0


def test_hostile_text_is_text_as_written_too(visit):
    page = visit("samples/{hostile}?raw=1")

    assert "<script>alert('answer')</script>" in page.locator(".the-answer .said").inner_text()
    assert "[U+202E]" in page.locator(".the-answer .said").inner_text()


def test_a_new_alert_appears_without_reloading(visit, site):
    page = visit("alerts")
    page.evaluate("window.sameDocument = true")
    page.get_by_role("heading", name="Rollout next is held").wait_for()

    assert page.locator("[data-live]").count() == 1
    assert page.get_by_role("link", name="See error rate of next").get_attribute("href") == (
        "/rollouts/next?attempt=1#metric-error_rate"
    )
