"""The pages over HTTP: escaping, headers, polling, keys."""

import base64
import hashlib
import re
from types import SimpleNamespace

import pytest
from fastapi import FastAPI

from llm_canary.clock import ManualClock
from llm_canary.errors import StorageError, Unauthorized
from llm_canary.pages.app import add_pages
from llm_canary.resources import resource_dir
from tests.rollout_views import NOW_S, every_state, rollout
from tests.support.asgi import AsgiClient


class Site:
    """The pages over a list of views that a test may change."""

    def __init__(self):
        self.views = list(every_state())
        self.clock = ManualClock(NOW_S)
        self.status = dict
        self.ready = lambda: None
        self.authenticate = lambda _: None
        self.rollouts = SimpleNamespace(list=lambda: tuple(self.views))
        app = FastAPI()
        add_pages(app, self)
        self.client = AsgiClient(app)

    def get(self, path="/", **headers):
        return self.client.get(path, headers=headers)


@pytest.fixture
def site():
    return Site()


def test_the_page_shows_every_rollout(site):
    text = site.get().text

    for view in site.views:
        assert f"{view.name}</" in text


def test_names_and_reasons_are_escaped(site):
    site.views = [rollout("<script>alert(1)</script>", verdict="wait", reasons=("<img src=x>",))]

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


def test_an_unchanged_page_is_not_sent_again(site):
    first = site.get("/partials/rollouts")

    again = site.get("/partials/rollouts", **{"if-none-match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")


def test_a_changed_rollout_is_sent_with_another_tag(site):
    first = site.get("/partials/rollouts")
    site.views = [rollout(share=0.5)]

    again = site.get("/partials/rollouts", **{"if-none-match": first.headers["etag"]})

    assert again.status_code == 200
    assert again.headers["etag"] != first.headers["etag"]


def test_the_first_page_carries_the_tag_of_what_it_shows(site):
    tag = site.get("/partials/rollouts").headers["etag"].strip('"')

    assert tag in site.get().text


def test_an_empty_installation_says_what_to_type_next(site):
    site.views = []

    assert "llm-canary rollout start NAME" in site.get().text


def test_a_database_in_trouble_is_said_and_not_shown_as_empty(site):
    def fail():
        raise StorageError("database is locked")

    site.rollouts.list = fail

    answer = site.get()

    assert answer.status_code == 503
    assert "database is locked" in answer.text
    assert "No rollout yet" not in answer.text


@pytest.fixture
def keyed(site):
    def authenticate(key):
        if key != "s3cret":
            raise Unauthorized("this API key is unknown")
        return "ops"

    site.authenticate = authenticate
    return site


@pytest.mark.parametrize("path", ["/", "/partials/rollouts"])
def test_with_keys_a_browser_is_asked_for_one(keyed, path):
    refused = keyed.get(path)
    basic = base64.b64encode(b"anyone:s3cret").decode()

    assert (refused.status_code, refused.headers["www-authenticate"][:5]) == (401, "Basic")
    assert keyed.get(path, authorization=f"Basic {basic}").status_code == 200
    assert keyed.get(path, authorization="Bearer s3cret").status_code == 200


@pytest.mark.parametrize("header", ["Basic", "Basic %%%", "Basic gICA", "Digest s3cret"])
def test_a_broken_authorization_is_no_key(keyed, header):
    assert keyed.get(authorization=header).status_code == 401


def test_htmx_is_the_file_that_the_readme_names():
    web = resource_dir("web")
    named = re.search(r"sha256 ([0-9a-f]{64})", (web / "README.md").read_text())

    assert named is not None
    assert hashlib.sha256((web / "static/htmx.min.js").read_bytes()).hexdigest() == named[1]


def test_static_files_do_not_lead_out_of_their_folder(site):
    assert site.get("/static/../README.md").status_code == 404
    assert site.get("/static/%2e%2e/README.md").status_code == 404
    assert site.get("/static/app.js").status_code == 200
