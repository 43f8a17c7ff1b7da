"""Chromium on a running server: logged in, watched, and with axe-core at hand."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llm_canary.pages.visit import COOKIE
from tests.conformance.workshop import node_with

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage
    from playwright.sync_api import Page as Tab

AXE = "axe-core@4.14.1"  # MPL-2.0; fetched by npm for the tests, no part of the product
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SCHEMES = ("light", "dark")
# Each node that a rule passes takes axe a selector and the driver a transfer: 14 MB for a page of 5,000 cells.
_VIOLATIONS = "rules => axe.run(document, {...rules, resultTypes: ['violations']}).then(found => found.violations)"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


class NoBrowser(Exception):  # noqa: N818 - a fact about this machine
    """Chromium or its driver is not to be had here; the text says what."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield the browser that is installed."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise NoBrowser("playwright is not installed") from error
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=chromium_path(), args=["--no-sandbox"]
            )
        except Error as error:
            raise NoBrowser(f"Chromium does not start: {error.message.splitlines()[0]}") from error
        yield browser
        browser.close()


@contextmanager
def chromium_or_skip() -> Iterator[Browser]:
    """Yield the browser, or skip with the reason."""
    from tests.conftest import require

    with ExitStack() as stack:
        try:
            browser = stack.enter_context(chromium())
        except NoBrowser as lacking:
            require(str(lacking))
        yield browser


def chromium_path() -> str | None:
    """Return where Chromium is, None for Playwright's own."""
    return os.environ.get("LLM_CANARY_CHROMIUM") or shutil.which("chromium")


def axe_source() -> str:
    """Return axe-core's program, which npm fetches once; raise CannotBeMade."""
    return Path(node_with("axe", AXE), "node_modules/axe-core/axe.min.js").read_text()


def listen(tab: Tab, complaints: list[str]) -> None:
    """Add what the browser says of this page, except that the test was quicker than an autofocus."""

    def said(message: ConsoleMessage) -> None:
        if not message.text.startswith("Autofocus processing was blocked"):
            complaints.append(f"{message.type}: {message.text} ({message.location['url']})")

    tab.on("console", said)
    tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))


@dataclass
class Watched:
    """One tab and what it did that a page of ours never does."""

    tab: Tab
    origin: str
    complaints: list[str] = field(default_factory=list)
    sent_bytes: int = 0

    def __post_init__(self) -> None:
        listen(self.tab, self.complaints)
        self.tab.on("dialog", self._dialog)
        self.tab.on("request", lambda request: self._asked(request.url))
        devtools = self.tab.context.new_cdp_session(self.tab)
        devtools.send("Network.enable")
        devtools.on("Network.loadingFinished", self._loaded)

    def open(self, url: str) -> int:
        """Go there and wait until it is loaded; return the status."""
        self.sent_bytes = 0
        answer = self.tab.goto(self.origin + url)
        assert answer is not None
        return answer.status

    def first_view_bytes(self) -> int:
        """Return how much has come, once nothing more does."""
        self.tab.wait_for_load_state("networkidle")
        return self.sent_bytes

    def overflow(self) -> int:
        """Return how many pixels the page is wider than the window, every detail opened."""
        self.tab.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        return int(
            self.tab.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
        )

    def axe(self, source: str) -> list[str]:
        """Return what axe-core finds, one line each."""
        self.tab.evaluate(source)
        found: list[dict[str, Any]] = self.tab.evaluate(_VIOLATIONS, RULES)
        return [
            f"{each['impact']} {each['id']}: {node['target'][0]} {node['failureSummary']!r:.300}"
            for each in found
            for node in each["nodes"]
        ]

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "data" and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.complaints.append(f"request to {url}")

    def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _loaded(self, event: dict[str, Any]) -> None:
        self.sent_bytes += int(event["encodedDataLength"])


@contextmanager
def watched(
    browser: Browser,
    origin: str,
    cookie: str | None,
    *,
    viewport: dict[str, int] = DESKTOP,
    scheme: str = "light",
    script: str = "",
) -> Iterator[Watched]:
    """Yield a tab of a browser that has nothing in its cache; `script` runs before every page's own."""
    context: BrowserContext = browser.new_context(viewport=viewport, color_scheme=scheme)
    if cookie is not None:
        context.add_cookies([{"name": COOKIE, "value": cookie, "url": origin}])
    if script:
        context.add_init_script(script)
    yield Watched(context.new_page(), origin)
    context.close()
