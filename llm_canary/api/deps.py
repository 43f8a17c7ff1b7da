"""What the operations take: the services, a usable database, and who is calling."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from llm_canary.api.services import ApiServices

_LOCAL = "local"  # no key is configured: whoever sits at this machine


def get_services(request: Request) -> ApiServices:
    """Return the services that the application was made with."""
    services: ApiServices = request.app.state.services
    return services


Services = Annotated[ApiServices, Depends(get_services)]


def get_caller(request: Request, services: Services) -> str:
    """Return the name of the caller's key; raise Unauthorized. It may block on a key's file."""
    # Bearer only: credentials that a browser sends by itself would let any site act here.
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    key = value.strip() if scheme.lower() == "bearer" else ""
    return services.authenticate(key or None) or _LOCAL


def require_database(services: Services) -> None:
    """Raise NotReady while the database cannot be used."""
    services.ready()


Caller = Annotated[str, Depends(get_caller)]


def actor_name(caller: str, said: str | None) -> str:
    """Return who acts, for the history: a name that was only said never hides the key."""
    if said is None or said == caller:
        return caller
    return said if caller == _LOCAL else f"{said} (key {caller})"
