"""All pages, the static files, and the headers that every answer carries."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.staticfiles import StaticFiles

from llm_canary.pages.compress import Compression
from llm_canary.pages.login import add_login
from llm_canary.pages.overview import add_overview
from llm_canary.pages.render import Renderer
from llm_canary.pages.security import SecurityHeaders
from llm_canary.pages.services import PageServices
from llm_canary.pages.site import Site
from llm_canary.resources import resource_dir


def add_pages(app: FastAPI, services: PageServices) -> Site:
    """Add every page to the application, with security headers on every answer."""
    web = resource_dir("web")
    site = Site(app, services, Renderer(web))
    for add in (add_login, add_overview):
        add(site)
    app.mount("/static", _Static(directory=web / "static"), name="static")
    app.add_middleware(Compression)
    app.add_middleware(SecurityHeaders)
    return site


class _Static(StaticFiles):
    """Static files, which may be cached because every link carries their fingerprint."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["cache-control"] = "public, max-age=86400"
        return response
