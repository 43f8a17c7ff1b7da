"""A NUL, for which PostgreSQL has no text: nothing is lost by it, and it is no failure of ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.access.gate import Gate
from llm_canary.api.app import create_api
from llm_canary.clock import ManualClock
from llm_canary.review.queue import ReviewQueue
from tests.factories import NOON_S
from tests.support.control import Web, api_services
from tests.support.matrix import Rule, api, pages
from tests.support.review_world import LABELS, drawn
from tests.support.rollout_world import QUICK, World

FORM = {f"label:{name}": label for name, label in LABELS.items()}
QUERY = [
    "before",
    "after",
    "rollout",
    "route",
    "rubric",
    "arm",
    "person",
    "user",
    "q",
    "text",
    "model",
    "dataset",
    "sort",
]
FIELDS = [
    "token",
    "reason",
    "why",
    "comment",
    "correction",
    "name",
    "role",
    "preferred",
    "label:helpfulness",
]


@pytest.fixture
def site(tmp_path: Path, engine: Engine):
    """The API and the pages, as they are served together; nobody needs to log in."""
    clock = ManualClock(NOON_S + 60.0)
    world = World(tmp_path, QUICK.replace("PLAN", "quick"), engine=engine, clock=clock)
    reviews = ReviewQueue(engine, clock, gold_rate=0.0)
    shared = {"reviews": reviews, "rollouts": world.service, "config": lambda: world.config}
    app = create_api(api_services(engine, clock, **shared))
    made = Web(tmp_path, engine=engine, clock=clock, app=app, **shared)
    drawn(engine, [("question", "answer")])
    yield made
    world.controller.close()


def address(rule: Rule) -> str:
    return re.sub(r"{\w+}", "%00x", rule.path)


def test_no_address_with_it_is_a_failure_of_ours(site):
    query = "&".join(f"{name}=%00" for name in QUERY)
    found = {}
    for rule in (*pages(), *api()):
        if rule.method == "GET" and rule.path != "/api/v1/status":  # a stand-in here
            for url in (address(rule), f"{address(rule)}?{query}"):
                found[url] = site.get(url).status_code

    assert len(found) > 80
    assert {url: status for url, status in found.items() if status >= 500} == {}


def test_no_form_with_it_is_a_failure_of_ours(site):
    csrf = site.csrf("/review")
    found = {}
    for rule in pages():
        if rule.method == "POST":
            form = dict.fromkeys(FIELDS, "a\x00b")
            found[rule.path] = site.post(address(rule), csrf=csrf, **form).status_code

    assert len(found) > 20
    assert {path: status for path, status in found.items() if status >= 500} == {}


def test_a_review_that_has_it_is_stored(site, engine: Engine):
    item = site.client.post("/api/v1/reviews/claim", json={"rubric": "support", "reviewer": "mara"})
    assert item.status_code == 200, item.text
    found = item.json()["item"]
    given = {"reviewer": "mara", "token": found["token"], "labels": LABELS, "comment": "a\0b"}

    done = site.client.post(f"/api/v1/reviews/{found['sample_id']}/submit", json=given)

    assert done.status_code == 200, done.text
    with engine.connect() as connection:
        [comment] = connection.execute(text("SELECT comment FROM review")).scalars()
    assert comment.replace("\N{REPLACEMENT CHARACTER}", "\0") == "a\0b"


def test_a_draft_that_has_it_is_kept(site):
    path = site.get("/review/support/next").headers["location"]
    typed = {"label:helpfulness": "a\0b", "comment": "bell \0"}

    answer = site.post(f"{path}/draft", csrf=site.csrf(path), revision="0", **typed)

    assert answer.status_code == 200, answer.text
    assert "bell" in site.get(path).text


def test_processes_of_one_installation_take_each_others_forms(site, engine: Engine):
    one, other = (Gate(engine, ManualClock(NOON_S), tuple).viewer(None) for _ in range(2))

    assert one is not None
    assert one.csrf == other.csrf == site.csrf("/review")
