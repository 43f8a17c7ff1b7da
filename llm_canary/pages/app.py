"""The pages: one overview, kept live by polling a fragment of itself."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from llm_canary import __version__
from llm_canary.errors import NotReady, StorageError, Unauthorized
from llm_canary.pages.banners import Banner, banners
from llm_canary.pages.overview import Overview, overview
from llm_canary.pages.security import SecurityHeaders
from llm_canary.pages.services import PageServices
from llm_canary.resources import resource_dir

# No evaluation, no injected style, no stored history; 304 means that nothing is swapped.
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
        {"code": "[45]..", "swap": False, "error": True},
    ],
}
_GLYPHS = {
    "good": "M2 6.5l2.800 2.800L10 3.200",
    "warn": "M4 2.500v7M8 2.500v7",
    "bad": "M2.500 2.500l7 7M9.500 2.500l-7 7",
    "calm": "M6 2v4l2.700 1.800M11 6A5 5 0 1 1 1 6a5 5 0 0 1 10 0z",
    "quiet": "M2.500 6h7",
}
_CHALLENGE = {"www-authenticate": 'Basic realm="llm_canary: any name, an API key", charset="UTF-8"'}


def add_pages(app: FastAPI, services: PageServices) -> None:
    """Add `/`, its live fragment and the static files, with security headers on every answer."""
    renderer = Renderer(resource_dir("web"))

    def read() -> Overview:
        services.ready()
        now_s = services.clock.now_s()
        return overview(services.rollouts.list(), banners(services.status(), now_s), now_s)

    # Plain functions: the framework runs them in threads, where blocking on SQL is allowed.
    def page(request: Request) -> Response:
        _authenticate(request, services)
        try:
            return HTMLResponse(renderer.page(read()))
        except (StorageError, NotReady) as error:
            trouble = Banner("The database cannot be read", error.message, "bad")
            return HTMLResponse(renderer.page(overview(None, (trouble,), 0.0)), 503)

    def fragment(request: Request) -> Response:
        _authenticate(request, services)
        html, tag = renderer.fragment(read())
        headers = {"etag": tag, "cache-control": "no-cache, private", "vary": "authorization"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(html, headers=headers)

    for path, endpoint in (("/", page), ("/partials/rollouts", fragment)):
        app.add_api_route(path, endpoint, methods=["GET", "HEAD"], include_in_schema=False)
    app.mount("/static", _Static(directory=resource_dir("web") / "static"), name="static")
    app.add_middleware(SecurityHeaders)


class Renderer:
    """The templates; every value is escaped and an undefined name is an error."""

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
            asset_version=_fingerprint(*sorted((web / "static").iterdir())),
        )

    def page(self, shown: Overview) -> str:
        """Return the whole page."""
        html, _ = self.fragment(shown)
        return self._environment.get_template("overview.html").render(fragment=Markup(html))  # noqa: S704 - our own rendered template

    def fragment(self, shown: Overview) -> tuple[str, str]:
        """Return the live part and its ETag, which it also carries to send with its next poll."""
        content = self._environment.get_template("partials/rollouts.html").render(overview=shown)
        tag = f'"{hashlib.blake2b(content.encode(), digest_size=12).hexdigest()}"'
        html = self._environment.get_template("partials/live.html").render(
            content=Markup(content),  # noqa: S704 - our own rendered template
            headers=json.dumps({"If-None-Match": tag}),
            announce=shown.announce,
        )
        return html, tag


class _Static(StaticFiles):
    """Static files, which may be cached because every link carries their fingerprint."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["cache-control"] = "public, max-age=86400"
        return response


def _fingerprint(*files: Path) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _authenticate(request: Request, services: PageServices) -> None:
    """Accept an API key as Bearer or as the password of a browser's own dialogue.

    Pages only read. The API takes no Basic credentials: a browser sends them for any site.
    """
    try:
        services.authenticate(_token(request.headers.get("authorization", "")))
    except Unauthorized as error:
        raise HTTPException(401, error.message, headers=_CHALLENGE) from error


def _token(header: str) -> str | None:
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        _, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password or None
