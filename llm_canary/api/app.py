"""The control plane's REST API."""

from __future__ import annotations

from fastapi import FastAPI

from llm_canary import __version__
from llm_canary.api.errors import add_error_handlers
from llm_canary.api.limit import BodyLimit
from llm_canary.api.openapi import ERRORS, describe
from llm_canary.api.routes import alerts, keys, privacy, review_pairs, reviews, rollouts, system
from llm_canary.api.services import ApiServices

__all__ = ["ApiServices", "create_api"]

PREFIX = "/api/v1"
MODULES = (rollouts, reviews, alerts, system, keys, review_pairs, privacy)


def create_api(services: ApiServices) -> FastAPI:
    """Return the API under /api/v1, described at /openapi.json.

    There is no documentation page: those of the framework load their code from a foreign server.
    """
    app = FastAPI(
        title="llm_canary",
        summary="Rollouts, decisions and the health of the gateway.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=ERRORS,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    app.add_middleware(BodyLimit, prefix=PREFIX)
    add_error_handlers(app)
    for module in MODULES:
        app.include_router(module.router, prefix=PREFIX)
    describe(app, {name: kind for each in MODULES for name, kind in each.ANSWERS.items()})
    return app
