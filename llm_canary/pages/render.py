"""The templates: every value is escaped, an undefined name is an error, nothing is inline."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from llm_canary import __version__
from llm_canary.auth import Permission
from llm_canary.pages.visit import Visit

# No evaluation, no injected style, no stored history; 304 means that nothing is swapped. An error
# is swapped where its answer says: into the page's place for problems.
HTMX_CONFIG = {
    "allowEval": False,
    "allowScriptTags": False,
    "includeIndicatorStyles": False,
    "selfRequestsOnly": True,
    "historyEnabled": False,
    "historyCacheSize": 0,
    "responseHandling": [
        {"code": "204", "swap": False},
        {"code": "304", "swap": False},
        {"code": "[23]..", "swap": True},
        {
            "code": "[45]..",
            "swap": True,
            "error": True,
            "target": "#problem",
            "swapOverride": "innerHTML",
        },
    ],
}
_GLYPHS = {
    "good": "M2 6.5l2.800 2.800L10 3.200",
    "warn": "M4 2.500v7M8 2.500v7",
    "bad": "M2.500 2.500l7 7M9.500 2.500l-7 7",
    "calm": "M6 2v4l2.700 1.800M11 6A5 5 0 1 1 1 6a5 5 0 0 1 10 0z",
    "quiet": "M2.500 6h7",
}


class Place(NamedTuple):
    """An entry of the navigation."""

    title: str
    path: str
    permission: Permission
    begins: tuple[str, ...]  # paths that lie under it


PLACES = (
    Place("Rollouts", "/", Permission.READ, ("/rollouts",)),
    Place("Review", "/review", Permission.REVIEW, ("/review",)),
    Place("Samples", "/samples", Permission.READ, ("/samples",)),
    Place("History", "/history", Permission.READ, ("/history",)),
    Place("Calibration", "/calibration", Permission.READ, ("/calibration",)),
    Place("Alerts", "/alerts", Permission.READ, ("/alerts",)),
    Place("Access", "/access", Permission.ADMINISTER, ("/access",)),
    Place("Settings", "/settings", Permission.READ, ("/settings",)),
)


class Link(NamedTuple):
    """An entry of the navigation as one visitor sees it."""

    title: str
    path: str
    is_here: bool


class Renderer:
    """Renders the templates of `web/templates`."""

    def __init__(self, web: Path) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(web / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            version=__version__,
            glyphs=_GLYPHS,
            htmx_config=json.dumps(HTMX_CONFIG),
            asset_version=_fingerprint(*sorted((web / "static").rglob("*.*"))),
        )

    def render(self, template: str, visit: Visit, **context: object) -> str:
        """Return the page or fragment; `viewer`, `places` and `csrf` are always there."""
        principal = visit.viewer.principal
        return self._environment.get_template(template).render(
            viewer=visit.viewer,
            principal=principal,
            may={each.value for each in Permission if principal.may(each)},
            csrf=visit.viewer.csrf,
            places=links(visit),
            here=str(visit.target),
            **context,
        )

    def live(
        self, template: str, visit: Visit, *, url: str, every_s: int, **context: object
    ) -> tuple[str, str]:
        """Return a fragment that polls itself, and its ETag.

        The polled element carries the ETag of its content to send with its next poll, so that an
        unchanged page is a 304 and nothing moves. `announce` of the context is read out when it
        changes.
        """
        content = self.render(template, visit, **context)
        tag = f'"{hashlib.blake2b(content.encode(), digest_size=12).hexdigest()}"'
        html = self.render(
            "partials/live.html",
            visit,
            content=Markup(content),  # noqa: S704 - our own rendered template
            url=url,
            name="live-" + hashlib.blake2b(url.encode(), digest_size=6).hexdigest(),
            every_s=every_s,
            headers=json.dumps({"If-None-Match": tag}),
            announce=context.get("announce", ""),
        )
        return html, tag

    def live_markup(
        self, template: str, visit: Visit, *, url: str, every_s: int = 2, **context: object
    ) -> Markup:
        """Return the live fragment to be put into a page."""
        html, _ = self.live(template, visit, url=url, every_s=every_s, **context)
        return Markup(html)  # noqa: S704 - our own rendered template


def links(visit: Visit) -> list[Link]:
    """Return the places that the visitor may go to."""
    path = visit.target.path
    return [
        Link(
            place.title,
            place.path,
            path == place.path
            or any(path == begin or path.startswith(f"{begin}/") for begin in place.begins),
        )
        for place in PLACES
        if visit.viewer.principal.may(place.permission)
    ]


def _fingerprint(*files: Path) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
