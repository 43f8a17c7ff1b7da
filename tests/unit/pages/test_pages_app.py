"""The pages over HTTP: escaping, headers, polling, keys."""

import hashlib
import re
from types import SimpleNamespace

import pytest

from llm_canary.auth import AccessRole
from llm_canary.clock import ManualClock
from llm_canary.errors import StorageError
from llm_canary.resources import resource_dir
from llm_canary.routing.table import KeyRef
from tests.rollout_views import NOW_S, comparison, every_state, gate, rollout
from tests.support.control import PASSWORD, Web
from tests.support.rollout_reader import ViewReader


class Pages(Web):
    """The pages over a list of views that a test may change."""

    def __init__(self, folder):
        self.views = list(every_state())
        self.reader = ViewReader(self.views)
        self.rollouts = SimpleNamespace(read=self.reader)
        super().__init__(folder, clock=ManualClock(NOW_S), rollouts=self.rollouts)


@pytest.fixture
def site(tmp_path):
    made = Pages(tmp_path)
    yield made
    made.close()


def test_the_page_shows_every_rollout(site):
    text = site.get().text

    for view in site.views:
        assert f'href="/rollouts/{view.name}' in text


def test_names_and_reasons_are_escaped(site):
    site.views[:] = [rollout("<script>alert(1)</script>", verdict="wait", reasons=("<img src=x>",))]

    text = site.get().text

    assert "<script>alert" not in text
    assert "<img src=x>" not in text
    assert "&lt;img src=x&gt;" in text


def test_no_page_holds_what_its_policy_forbids(site):
    text = site.get().text

    assert not re.search(r"""\s(style|on\w+|hx-on[\w:-]*)\s*=""", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert "<style" not in text
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)


def test_the_policy_has_no_exception(site):
    for path in ("/", "/partials/rollouts", "/static/app.css", "/nothing"):
        policy = site.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert site.get(path).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/api/v1/nothing", "/openapi.json"])
def test_answers_of_the_api_are_as_guarded_as_pages(site, path):
    headers = site.get(path).headers

    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"


def test_an_unchanged_page_is_not_sent_again(site):
    first = site.get("/partials/rollouts")

    again = site.get("/partials/rollouts", **{"if-none-match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")


def test_a_changed_rollout_is_sent_with_another_tag(site):
    first = site.get("/partials/rollouts")
    site.views[:] = [rollout(share=0.5)]

    again = site.get("/partials/rollouts", **{"if-none-match": first.headers["etag"]})

    assert again.status_code == 200
    assert again.headers["etag"] != first.headers["etag"]


def test_the_first_page_carries_the_tag_of_what_it_shows(site):
    tag = site.get("/partials/rollouts").headers["etag"].strip('"')

    assert tag in site.get().text


def test_those_that_are_over_come_by_pages(site):
    site.views[:] = [
        rollout(f"over-{number:02}", state="finished", ended_s=NOW_S - number)
        for number in range(45)
    ]

    first, last = site.get("/").text, site.get("/?ended=3").text

    assert "/rollouts/over-00?" in first
    assert "/rollouts/over-20?" not in first
    assert "/rollouts/over-44?" in last
    assert "page 3 of 3" in last
    assert 'hx-get="/partials/rollouts?ended=3"' in last
    assert site.get("/?ended=0").status_code == 400


def test_an_empty_installation_says_what_to_type_next(site):
    site.views.clear()

    assert "llm-canary rollout start NAME" in site.get().text


def test_a_database_in_trouble_is_said_and_not_shown_as_empty(site):
    def fail(**_):
        raise StorageError("database is locked")

    site.reader.overview = fail

    answer = site.get()

    assert answer.status_code == 503
    assert "database is locked" in answer.text
    assert "No rollout yet" not in answer.text


@pytest.fixture
def keyed(site, monkeypatch):
    monkeypatch.setenv("OPS_KEY", "s3cret")
    monkeypatch.setenv("BOT_KEY", "b0t")
    site.keys = (
        KeyRef(name="ops", secret="${OPS_KEY}", role=AccessRole.OPERATOR),
        KeyRef(name="bot", secret="${BOT_KEY}"),
    )
    return site


def test_with_keys_a_visitor_has_to_log_in_and_comes_back_to_where_they_wanted(keyed):
    sent = keyed.get("/?a=1")

    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=%2F%3Fa%3D1")
    answer = keyed.post("/login", key="s3cret", next="/?a=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?a=1")
    keyed.cookie = answer.cookies["llm_canary_session"]
    assert keyed.get("/").status_code == 200


def test_a_fragment_sends_who_is_logged_out_to_the_login(keyed):
    answer = keyed.get("/partials/rollouts", **{"hx-request": "true"})

    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")


@pytest.mark.parametrize("key", ["", "wrong", "b0t"])
def test_a_key_that_is_none_or_an_apps_opens_no_page(keyed, key):
    answer = keyed.post("/login", key=key, name="ops", password="s3cret")

    assert answer.status_code in {401, 403}
    assert "set-cookie" not in answer.headers


def test_a_session_ends_with_its_key(keyed, monkeypatch):
    keyed.cookie = keyed.post("/login", key="s3cret").cookies["llm_canary_session"]
    assert keyed.get("/").status_code == 200

    monkeypatch.setenv("OPS_KEY", "an0ther")

    assert keyed.get("/").status_code == 303


def test_a_person_logs_in_and_out(site):
    site.log_in("mara", "operator")
    page = site.get("/").text
    assert ">mara</summary>" in page

    out = site.post("/logout", csrf=site.csrf())

    assert (out.status_code, out.headers["location"]) == (303, "/login")
    assert site.get("/").status_code == 303


def test_a_reviewer_is_led_to_the_reviews_and_sees_no_rollout(site):
    site.account("jon", "reviewer")
    answer = site.post("/login", name="jon", password=PASSWORD)
    site.cookie = answer.cookies["llm_canary_session"]

    assert answer.headers["location"] == "/review"
    assert site.get("/").status_code == 403
    assert site.views[0].name not in site.get("/").text


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "x"]
)
def test_a_login_leads_nowhere_else(site, target):
    site.account("mara", "admin")

    answer = site.post("/login", name="mara", password=PASSWORD, next=target)

    assert answer.headers["location"] == "/"


def test_a_form_of_another_site_changes_nothing(site):
    site.log_in("mara", "operator")
    token = site.csrf()

    assert site.post("/logout").status_code == 403
    assert site.post("/logout", csrf="0" * 64).status_code == 403
    strange = {"cookie": f"llm_canary_session={site.cookie}", "x-csrf-token": token}
    for header in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = site.client.post("/logout", headers={**strange, **header})
        assert answer.status_code == 403
    assert site.get("/").status_code == 200


def test_five_wrong_passwords_lock_an_account_for_a_while_and_tell_nothing(site):
    site.account("mara", "admin")
    texts = {site.post("/login", name="mara", password="wrong").text for _ in range(6)}

    right = site.post("/login", name="mara", password=PASSWORD)
    site.clock.advance(3.0)

    assert len(texts) == 1
    assert right.status_code == 401
    assert site.post("/login", name="nobody", password="wrong").status_code == 401
    assert site.post("/login", name="mara", password=PASSWORD).status_code == 303


def test_a_session_ends_after_two_idle_hours_and_with_its_account(site):
    site.account("ann", "admin")
    site.log_in("mara", "operator")
    site.clock.advance(3_600.0)
    assert site.get("/").status_code == 200
    site.gate.accounts.set_disabled("mara", is_disabled=True)
    assert site.get("/").status_code == 303

    site.log_in("ann")
    site.clock.advance(7_201.0)
    assert site.get("/").status_code == 303


def test_every_page_says_who_may_see_it(site):
    """A route that `Site` did not register has no rule; only static files and the document are free."""
    registered = {path for _, path in site.site.rules}
    known = {route.path for route in site.app.routes if hasattr(route, "methods")}

    assert known - registered == {"/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"}
    public = {path for (_, path), permission in site.site.rules.items() if permission is None}
    assert public == {"/login", "/login/oidc", "/login/oidc/callback"}


def test_htmx_is_the_file_that_the_readme_names():
    web = resource_dir("web")
    named = re.search(r"sha256 ([0-9a-f]{64})", (web / "README.md").read_text())

    assert named is not None
    assert hashlib.sha256((web / "static/htmx.min.js").read_bytes()).hexdigest() == named[1]


def test_static_files_do_not_lead_out_of_their_folder(site):
    assert site.get("/static/../README.md").status_code == 404
    assert site.get("/static/%2e%2e/README.md").status_code == 404
    assert site.get("/static/app.js").status_code == 200


@pytest.mark.parametrize(
    ("low", "high", "tips"),
    [
        pytest.param(0.4, 0.6, ["239", "230"], id="double-at-the-right"),
        pytest.param(-0.6, -0.4, ["1", "10"], id="double-at-the-left"),
        pytest.param(0.0, 0.6, ["239"], id="single-where-it-leaves"),
    ],
)
def test_the_picture_of_an_interval_has_tips_only_at_the_edge_that_it_crosses(
    site, low, high, tips
):
    shown = comparison("error_rate", low=low, high=high)
    site.views[:] = [rollout("next", gates=(gate(shown, "pass"),))]

    picture = re.search(
        r'<svg class="interval.*?</svg>', site.get("/rollouts/next").text, re.DOTALL
    )[0]

    assert re.findall(r"M(\d+) 16l", picture) == tips
