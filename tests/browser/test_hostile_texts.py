"""Names and texts that attack, on every page: none of them runs, is followed or asks for anything. And the wire that would tell does ring."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader

from llm_canary.resources import resource_dir
from tests.support.browser import watched
from tests.support.hostile import BEACON, OWN, payloads
from tests.support.pages import addresses, get_paths
from tests.support.served import served

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.xdist_group("seeded"),
    pytest.mark.timeout(900),
]
# What a payload can do if it runs; each leaves a word in window.__rung.
TRIPWIRE = """
window.__rung = [];
Object.defineProperty(window, "__tripped", {set: () => window.__rung.push("flag"), get: () => undefined});
for (const name of ["alert", "confirm", "prompt", "print"]) window[name] = () => window.__rung.push(name);
"""
ENOUGH = 30  # payloads of which it was seen that they run where nothing is escaped


class Wire:
    """A watched tab in which everything that a payload could do is counted."""

    def __init__(self, seen):
        self.seen = seen
        self.asked = []
        seen.tab.on("request", lambda request: self.asked.append(urlsplit(request.url).path))

    def rung(self):
        """Return what has gone off: also after every detail is opened and everything focused or pointed at."""
        from playwright.sync_api import Error

        try:
            return self._tried() + self._asked() + self.seen.complaints
        except Error as error:  # a payload has led the browser elsewhere
            return [f"left the page: {error.message[:60]}", *self._asked()]

    def _asked(self):
        return [path for path in self.asked if path == BEACON]

    def _tried(self):
        tab = self.seen.tab
        tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        tab.evaluate(
            "document.querySelectorAll('main *').forEach(each => {"
            "  each.focus?.(); each.dispatchEvent(new MouseEvent('mouseover', {bubbles: true})); })"
        )
        if not tab.evaluate("window.__rung.length"):  # what has rung need not be waited for
            tab.wait_for_timeout(150)
        return list(tab.evaluate("window.__rung"))


@pytest.mark.parametrize("path", get_paths())
def test_nothing_that_users_have_written_runs(browser, hostile, path):
    rung = {}
    for url in addresses(path, hostile.engine):
        if "attachment" in hostile.client.get(url).headers.get("content-disposition", ""):
            continue  # a browser saves it and shows nothing
        with watched(browser, hostile.url, hostile.cookie, script=TRIPWIRE) as seen:
            wire = Wire(seen)
            seen.open(url)
            # A fragment that is opened by itself has no icon, so the browser asks for one.
            found = [each for each in wire.rung() if "favicon" not in each]
            if found:
                rung[url] = found

    assert rung == {}


def test_the_attacks_do_reach_the_pages(hostile):
    """Otherwise nothing was tried."""
    answers = [
        hostile.client.get(url) for path in get_paths() for url in addresses(path, hostile.engine)
    ]
    texts = [each.text for each in answers if "text/html" in each.headers.get("content-type", "")]

    escaped = OWN[0].replace("<", "&lt;").replace(">", "&gt;")
    assert any(escaped in text for text in texts)
    assert not any(payload in text for text in texts for payload in OWN[:3])


@pytest.fixture(scope="module")
def unescaped():
    """The product's own template of an error page, rendered once without escaping and served without a policy."""
    templates = Environment(  # that is what is tried here
        loader=FileSystemLoader(resource_dir("web") / "templates"), autoescape=False
    )
    shown = templates.get_template("partials/problem.html")
    app = FastAPI()

    @app.get("/{number}")
    def page(number: int) -> HTMLResponse:
        attack = shown.render(title="", message=payloads()[number], code="", is_trouble=False)
        return HTMLResponse(f"<!doctype html><title>t</title><main>{attack}</main>")

    with served(app) as url:
        yield url.rstrip("/")


def test_without_escaping_the_wire_rings(browser, unescaped):
    rung = set()
    for number, payload in enumerate(payloads()):
        with watched(browser, unescaped, None, script=TRIPWIRE) as seen:
            wire = Wire(seen)
            seen.open(f"/{number}")
            if [each for each in wire.rung() if "Failed to load" not in each]:
                rung.add(payload)
        if number >= len(OWN) and len(rung) >= ENOUGH:
            break

    # The others need an attribute to break out of, htmx, Markdown or another template engine.
    own = [each for each in OWN if each in rung]
    assert len(own) >= 12, sorted(rung)
    assert len(rung) >= ENOUGH, len(rung)
