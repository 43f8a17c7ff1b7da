"""All pages, the static files, and the headers that every answer carries."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.staticfiles import StaticFiles

from llm_canary.pages.access import add_access
from llm_canary.pages.alerts import add_alerts
from llm_canary.pages.answers import add_answers
from llm_canary.pages.calibration import add_calibration
from llm_canary.pages.charts import add_charts
from llm_canary.pages.compress import Compression
from llm_canary.pages.decision import add_decision
from llm_canary.pages.history import add_history
from llm_canary.pages.login import add_login
from llm_canary.pages.login_oidc import add_login_oidc
from llm_canary.pages.overview import add_overview
from llm_canary.pages.render import Renderer
from llm_canary.pages.review import add_review
from llm_canary.pages.review_datasets import add_review_datasets
from llm_canary.pages.review_decide import add_review_decide
from llm_canary.pages.review_desk import add_review_desk
from llm_canary.pages.review_pairs import add_review_pairs
from llm_canary.pages.review_people import add_review_people
from llm_canary.pages.rollout import add_rollout
from llm_canary.pages.rollout_acts import add_rollout_acts
from llm_canary.pages.samples import add_samples
from llm_canary.pages.security import SecurityHeaders
from llm_canary.pages.services import PageServices
from llm_canary.pages.settings import add_settings
from llm_canary.pages.site import Site
from llm_canary.resources import resource_dir

_PAGES = (
    *(add_login, add_login_oidc, add_overview),
    *(add_rollout, add_rollout_acts, add_decision, add_charts, add_answers),
    *(add_review, add_review_pairs, add_review_decide, add_review_people, add_review_datasets),
    *(add_review_desk, add_samples, add_history, add_calibration, add_alerts),
    *(add_access, add_settings),
)


def add_pages(app: FastAPI, services: PageServices) -> Site:
    """Add every page to the application, with security headers on every answer."""
    web = resource_dir("web")
    site = Site(app, services, Renderer(web))
    for add in _PAGES:
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
