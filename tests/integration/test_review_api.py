"""Who reviews by requests: a reviewer's key is one reviewer, and what is written is in the audit log."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.access.gate import Gate
from llm_canary.api.app import create_api
from llm_canary.auth import AccessRole
from llm_canary.clock import ManualClock
from llm_canary.review.pairs import PairEntry, Pairs
from llm_canary.review.queue import ReviewQueue
from llm_canary.routing.table import KeyRef
from tests.factories import NOON_S
from tests.support.asgi import AsgiClient
from tests.support.control import api_services
from tests.support.review_world import LABELS, drawn, rubric

KEYS = {"anna": AccessRole.REVIEWER, "bert": AccessRole.REVIEWER, "lab": AccessRole.OPERATOR}
Post = Callable[..., httpx.Response]


@pytest.fixture
def samples(engine: Engine) -> list[str]:
    return drawn(engine, [("q", "a"), ("q", "b")], wanted=2)


@pytest.fixture
def post(engine: Engine, samples: list[str], monkeypatch: pytest.MonkeyPatch) -> Post:
    """Send a request with the key of a name; without a name no key is configured."""
    clock = ManualClock(NOON_S + 60.0)
    reviews = ReviewQueue(engine, clock, gold_rate=0.0)
    keys = tuple(KeyRef(name, f"${{{name.upper()}_KEY}}", role=role) for name, role in KEYS.items())
    for name in KEYS:
        monkeypatch.setenv(f"{name.upper()}_KEY", f"secret-of-{name}")

    def send(path: str, key: str | None = None, **body: object) -> httpx.Response:
        gate = Gate(engine, clock, (lambda: keys) if key else tuple)
        client = AsgiClient(create_api(api_services(engine, clock, reviews=reviews, gate=gate)))
        headers = {} if key is None else {"authorization": f"Bearer secret-of-{key}"}
        return client.post(f"/api/v1/reviews/{path}", json=body, headers=headers)

    return send


def rows(engine: Engine, query: str) -> list[tuple]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def review(post: Post, key: str | None, **who: str) -> httpx.Response:
    item = post("claim", key, rubric="support", **who).json()["item"]
    return post(f"{item['sample_id']}/submit", key, token=item["token"], labels=LABELS, **who)


def test_a_reviewer_s_key_reviews_as_itself_only(post: Post, engine: Engine) -> None:
    mine = post("claim", "anna", rubric="support").json()["item"]
    body = {"token": mine["token"], "labels": LABELS, "reviewer": "anna"}
    path = mine["sample_id"]
    foreign = [
        post("claim", "bert", rubric="support", reviewer="anna"),
        post(f"{path}/submit", "bert", **body),
        post(f"{path}/skip", "bert", token=mine["token"], reason="x", reviewer="anna"),
        post("pairs/claim", "bert", rubric="support", reviewer="anna"),
        post("pairs/x/prefer", "bert", token="x", preferred="tie", reviewer="anna"),
    ]
    stolen = post(f"{path}/submit", "bert", token=mine["token"], labels=LABELS)

    assert [each.status_code for each in foreign] == [403] * 5
    assert foreign[0].json()["error"]["message"].startswith("the key 'bert' reviews as itself")
    assert stolen.status_code == 409
    assert post(f"{path}/submit", "anna", **body).status_code == 200
    assert rows(engine, "SELECT reviewer FROM review") == [("anna",)]


def test_one_key_gives_one_of_the_reviews_that_an_answer_wants(
    post: Post, engine: Engine, samples: list[str]
) -> None:
    for _ in samples:
        assert review(post, "anna").status_code == 200

    assert post("claim", "anna", rubric="support").json()["item"] is None
    assert rows(engine, "SELECT DISTINCT review_state FROM sample") == [("open",)]
    review(post, "bert")
    assert ("done",) in rows(engine, "SELECT review_state FROM sample")


def test_an_operator_s_key_reviews_for_others_beside_those_who_log_in(
    post: Post, engine: Engine
) -> None:
    for who in ("mara", "jon"):
        assert review(post, "lab", reviewer=who).status_code == 200

    given = rows(engine, "SELECT reviewer FROM review ORDER BY id")
    assert given == [("mara (key lab)",), ("jon (key lab)",)]


def test_without_keys_a_review_is_of_whoever_is_named(post: Post, engine: Engine) -> None:
    review(post, None, reviewer="mara")
    review(post, None)

    assert rows(engine, "SELECT reviewer FROM review ORDER BY id") == [("mara",), ("local",)]


def test_what_is_written_is_in_the_audit_log(post: Post, engine: Engine) -> None:
    first = review(post, "anna")
    item = post("claim", "anna", rubric="support").json()["item"]
    post(f"{item['sample_id']}/skip", "anna", token=item["token"], reason="a secret reason")
    review(post, "lab", reviewer="mara")
    gold = rows(engine, "SELECT sample_id FROM review WHERE reviewer = 'anna' ORDER BY id")[0][0]
    assert first.json() == {"revision": 1, "state": "open"}
    with engine.begin() as connection:
        connection.execute(text("UPDATE sample SET review_stream = 'targeted'"))
    assert post(f"{gold}/gold", "lab", labels=LABELS, by="the chief").status_code == 200
    pairs = Pairs(engine, ManualClock(NOON_S))
    prompt = [{"role": "user", "content": "q"}]
    pairs.add([PairEntry("p", prompt, "one", "two")], rubric(), source="f")
    pair = post("pairs/claim", "anna", rubric="support").json()["pair"]
    post(f"pairs/{pair['pair_id']}/prefer", "anna", token=pair["token"], preferred="tie")

    found = rows(engine, "SELECT actor, via, action, target, detail FROM audit_entry ORDER BY id")
    details = [each[4] if isinstance(each[4], dict) else json.loads(each[4]) for each in found]
    assert [each[:3] for each in found] == [
        ("anna", "api", "review.submit"),
        ("anna", "api", "review.skip"),
        ("lab", "api", "review.submit"),
        ("lab", "api", "review.gold"),
        ("anna", "api", "pair.prefer"),
    ]
    assert details[2] == {"reviewer": "mara (key lab)", "revision": 1}
    assert [found[n][3] for n in (0, 1, 3)] == [gold, item["sample_id"], gold]
    assert "secret" not in str(found)
    assert rows(engine, "SELECT added_by FROM gold_item") == [("the chief (key lab)",)]
