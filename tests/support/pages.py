"""Every page there is, with concrete addresses in a seeded instance: the one list that browsers, screenshots and measurements use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import httpx
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.pages.app import add_pages
from llm_canary.pages.render import PLACES
from llm_canary.pages.services import PageServices
from llm_canary.pages.visit import COOKIE
from tests.support.control import PASSWORD

# What a part of a path stands for: the query that finds values of it, those worth a look first. A page
# with a part that is not here fails its tests by saying so.
PARTS: Mapping[str, str] = {
    "name": "SELECT name FROM rollout ORDER BY CASE name WHEN 'support-v13' THEN 0 WHEN 'returns-terse' THEN 1 ELSE 2 END, id",
    "rollout_id": "SELECT id FROM rollout ORDER BY id",
    "decision_id": "SELECT id FROM decision ORDER BY id DESC",
    "sample_id": "SELECT sample_id FROM review GROUP BY sample_id ORDER BY count(*) DESC, sample_id DESC",
    "inference_id": "SELECT inference_id FROM sample ORDER BY id DESC",
    "request_id": "SELECT inference_id FROM sample ORDER BY id DESC",
    "rubric": "SELECT DISTINCT rubric_id FROM sample",
    "rubric_id": "SELECT DISTINCT rubric_id FROM sample",
    "account": "SELECT name FROM account ORDER BY name",
    "route": "SELECT DISTINCT route FROM rollout ORDER BY route",
    "metric": "SELECT 'error_rate'",
}
# Paths whose parts belong together, or to whoever looks: the query gives them in their order.
_HELD = "SELECT sample_id FROM review_seat WHERE reviewer = 'ida' AND leased_until IS NOT NULL"
_REVEALED = "SELECT sample_id FROM review_reveal WHERE reviewer = 'ida'"
_DECIDED = (
    "SELECT r.name, d.id FROM decision d JOIN rollout r ON r.id = d.rollout_id ORDER BY d.id DESC"
)
TOGETHER: Mapping[str, str] = {
    "/review/datasets/{name}/{version}/{form}": "SELECT name, version, 'jsonl' FROM dataset",
    "/review/disagreements/{sample}": PARTS["sample_id"],
    "/review/item/{sample}": _HELD,
    "/review/item/{sample}/reveal": _REVEALED,
    "/review/item/{sample}/revise": _REVEALED,
    "/review/item/{sample}/text/{part}": f"SELECT sample_id, 'response' FROM ({_HELD}) held",
    "/review/pairs/item/{pair}": "SELECT pair_id FROM pair_seat WHERE reviewer = 'ida'",
    # The one act that is open whatever the controller does meanwhile.
    "/rollouts/{name}/act/{action}": "SELECT name, 'rollback' FROM rollout WHERE active_route IS NOT NULL ORDER BY id",
    "/rollouts/{name}/decisions/{decision}": _DECIDED,
    "/rollouts/{name}/decisions/{decision}/json": _DECIDED,
}
PER_PATH = 1  # addresses of a path with parts
# Of a login provider, which the instance has not.
NOT_HERE = ("/login/oidc", "/login/oidc/callback")
_PART = re.compile(r"\{(\w+)(?::\w+)?\}")


class Page(NamedTuple):
    """One page; `path` is the rule, `url` one address of it."""

    path: str
    url: str

    @property
    def slug(self) -> str:
        """Return a name for files and reports."""
        words = _PART.sub("", self.path.strip("/")).replace("/", "-").strip("-")
        return re.sub("-+", "-", words) or "overview"


def get_paths() -> tuple[str, ...]:
    """Return every path that is read, fragments and downloads too, as the pages registered them."""
    site = add_pages(FastAPI(), PageServices(**{each.name: None for each in fields(PageServices)}))
    paths = {path for method, path in site.rules if method == "GET"}
    return tuple(sorted(paths.difference(NOT_HERE)))


def log_in(client: httpx.Client, name: str) -> str:
    """Return the cookie of a session of that account; the client keeps it."""
    answer = client.post("/login", data={"name": name, "password": PASSWORD})
    assert answer.status_code == 303, answer.text
    client.cookies.set(COOKIE, answer.cookies[COOKIE])
    return answer.cookies[COOKIE]


def addresses(path: str, engine: Engine) -> Iterator[str]:
    """Yield concrete addresses of a path, at most `PER_PATH`."""
    parts = _PART.findall(path)
    if not parts:
        yield path
        return
    if path in TOGETHER:
        with engine.connect() as connection:
            rows = connection.execute(text(TOGETHER[path])).all()[:PER_PATH]
        for row in rows:
            given = iter(row)
            yield _PART.sub(lambda _, given=given: str(next(given)), path)
        return
    values: dict[str, list[Any]] = {}
    with engine.connect() as connection:
        for part in parts:
            assert part in PARTS, f"{path}: tests/support/pages.py has no value for {{{part}}}"
            values[part] = connection.execute(text(PARTS[part])).scalars().all()[:PER_PATH]
    for index in range(min(len(each) for each in values.values())):
        yield _PART.sub(lambda found, at=index: str(values[found[1]][at]), path)


def html_pages(client: httpx.Client, engine: Engine) -> list[Page]:
    """Return the addresses that answer with a whole page to who is logged in."""
    found = []
    for path in get_paths():
        for url in addresses(path, engine):
            answer = client.get(url)
            assert answer.status_code < 400, f"{url}: {answer.status_code} {answer.text[:400]}"
            if answer.text.lstrip().lower().startswith("<!doctype html"):
                found.append(Page(path, url))
    return found


def places() -> tuple[str, ...]:
    """Return where the navigation leads, as far as the pages exist."""
    known = set(get_paths())
    return tuple(place.path for place in PLACES if place.path in known)


def is_of(path: str) -> Callable[[str], bool]:
    """Return whether an address belongs to the path."""
    parts = re.split(r"\{\w+(?::\w+)?\}", path)
    pattern = re.compile("[^/]+".join(map(re.escape, parts)))
    return lambda url: pattern.fullmatch(url.partition("?")[0]) is not None
