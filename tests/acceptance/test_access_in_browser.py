"""The pages of access in a real browser: nothing refused by their own policy, keys shown once, readable."""

from types import SimpleNamespace

import pytest

from tests.acceptance.test_page import DESKTOP, LEAST_CONTRAST, PHONE, chromium  # noqa: F401
from tests.support.browser import listen
from tests.support.control import PASSWORD, Web

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
PATHS = ("access", "access/keys", "access/audit")


@pytest.fixture
def site(tmp_path):
    config = SimpleNamespace(keys=(), routes={"bot": None, "a-rather-long-route/with:parts": None})
    made = Web(tmp_path, config=lambda: config)
    made.account("mara", "admin")
    made.account("jon", "reviewer")
    with made.served():
        yield made
    made.close()


@pytest.fixture
def admin(chromium, site):  # noqa: F811 - the fixture
    """Log in; at the end, complain of whatever the browser complained of."""
    complaints, contexts = [], []

    def log_in(viewport=DESKTOP, scheme="light", **options):
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{site.url}login?next=/access")
        listen(page, complaints)
        page.fill("#name", "mara")
        page.fill("#password", PASSWORD)
        page.get_by_role("button", name="Log in", exact=True).click()
        page.wait_for_url("**/access")
        return page

    log_in.complaints = complaints
    yield log_in
    for context in contexts:
        context.close()
    assert complaints == []


def test_a_key_is_made_rotated_and_revoked_without_leaving_the_page(admin, site):
    page = admin()
    page.goto(f"{site.url}access/keys")
    page.evaluate("window.sameDocument = true")

    page.fill("#new-name", "support")
    page.check("[name='route:bot']")
    page.get_by_role("button", name="Make the key").click()
    page.locator("#made").wait_for()
    text = page.locator("#new-key").text_content()

    assert page.evaluate("window.sameDocument")
    assert page.evaluate("document.activeElement.id") == "made"
    assert site.gate.of_key(text).name == "support"
    page.get_by_text("Change support").first.click()
    page.get_by_role("button", name="Rotate").click()
    page.get_by_text("in place of").wait_for()
    page.reload()
    assert page.locator("#new-key").count() == 0
    page.locator(f"#change-{text[:11]} summary").click()
    page.locator(f"#change-{text[:11]}").get_by_role("button", name="Revoke").click()
    page.get_by_text("Revoked", exact=True).wait_for()


def test_what_cannot_be_done_is_said_on_the_page_and_loses_no_input(admin, site):
    page = admin()
    page.fill("#new-name", "jon")
    page.fill("#new-password", PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    page.locator("#problem", has_text="there is an account 'jon' already").wait_for()

    assert page.input_value("#new-name") == "jon"
    # The browser itself reports the status, which is the point here.
    ours = [text for text in admin.complaints if " 409 " not in text]
    admin.complaints[:] = ours


def test_without_scripts_everything_works_by_forms(admin, site):
    page = admin(java_script_enabled=False)
    page.goto(f"{site.url}access/keys")
    page.fill("#new-name", "support")
    page.get_by_role("button", name="Make the key").click()

    assert page.locator("#new-key").text_content().startswith("lc_")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_page_fits_its_window_and_can_be_read(admin, site, viewport, scheme):
    page = admin(viewport, scheme)
    for path in PATHS:
        page.goto(f"{site.url}{path}")
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")

        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], path
        assert page.evaluate(LEAST_CONTRAST) >= 4.5, path
