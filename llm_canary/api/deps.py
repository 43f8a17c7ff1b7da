"""What the operations take: the services, a usable database, and who is calling."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from llm_canary.api.services import ApiServices
from llm_canary.auth import Permission, Principal, PrincipalKind
from llm_canary.errors import Forbidden


async def get_services(request: Request) -> ApiServices:
    """Return the services that the application was made with; no thread is asked for it."""
    services: ApiServices = request.app.state.services
    return services


Services = Annotated[ApiServices, Depends(get_services)]


class Needs:
    """Lets in who has the permission; every operation has one, or the suite fails."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    def __call__(self, request: Request, services: Services) -> Principal:
        """Return the caller; raise Unauthorized or Forbidden. It may block on a key's file."""
        # Bearer only: credentials that a browser sends by itself would let any site act here.
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        key = value.strip() if scheme.lower() == "bearer" else ""
        principal = services.gate.of_key(key or None)
        principal.require(self.permission)
        return principal


Reader = Annotated[Principal, Depends(Needs(Permission.READ))]
Reviewer = Annotated[Principal, Depends(Needs(Permission.REVIEW))]
Operator = Annotated[Principal, Depends(Needs(Permission.OPERATE))]
Admin = Annotated[Principal, Depends(Needs(Permission.ADMINISTER))]


async def require_database(request: Request, services: Services) -> None:
    """Raise NotReady until the database could be used once: its schema stays as it was found."""
    known = request.app.state
    if not getattr(known, "is_database_ready", False):
        await run_in_threadpool(services.ready)
        known.is_database_ready = True


def actor_name(caller: Principal, said: str | None) -> str:
    """Return who acts, for the history: a name that was only said never hides the key."""
    if said is None or said == caller.name:
        return caller.name
    is_local = caller.kind is PrincipalKind.LOCAL
    return said if is_local else f"{said} (key {caller.name})"


def reviewer_name(caller: Principal, said: str | None) -> str:
    """Return who reviews; raise Forbidden where a reviewer's key names another than itself.

    One key is one reviewer, or it could give all the reviews that an answer wants of different
    people. A key that may operate, such as that of a labelling tool, reviews for those it names.
    """
    is_other = said is not None and said != caller.name
    if is_other and caller.kind is PrincipalKind.KEY and not caller.may(Permission.OPERATE):
        raise Forbidden(
            f"the key {caller.name!r} reviews as itself only: leave `reviewer` away, or let an "
            "operator's key name the reviewers"
        )
    return actor_name(caller, said)
