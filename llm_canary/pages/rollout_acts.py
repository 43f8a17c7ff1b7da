"""Start, hold, resume, promote and roll back from the page: read what it does, say why, do it."""

from __future__ import annotations

from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.errors import LlmCanaryError
from llm_canary.pages.act_words import (
    CREATE,
    HOLD,
    PROMOTE,
    RESUME,
    ROLLBACK,
    START,
    confirmation,
    unknown_act,
)
from llm_canary.pages.site import Site
from llm_canary.pages.states import rollout_path
from llm_canary.pages.visit import Visit
from llm_canary.rollout.service import Seen

_PATH = "/rollouts/{name}/act/{action}"
_MOST_DIGITS = 9


def add_rollout_acts(site: Site) -> None:
    """Add the confirmation and the act itself."""
    services = site.services

    def ask(visit: Visit) -> Response:
        services.ready()
        name, action = visit.path["name"], visit.path["action"]
        found = services.rollouts.read.detail(name)
        template = "partials/confirm.html" if visit.is_fragment else "confirm.html"
        return site.html(
            visit,
            template,
            confirmation=confirmation(found, action),
            name=name,
            path=rollout_path(name),
            act_path=rollout_path(name, "act", action),
            rollout_id=found.view.id if found.seq else "",
            seq=found.seq,
        )

    def act(visit: Visit) -> Response:
        services.ready()
        name, action = visit.path["name"], visit.path["action"]
        principal, service = visit.viewer.principal, services.rollouts
        seen, reason = _seen(visit), visit.field("reason", longest=500)
        do = {
            CREATE: service.create,
            START: service.start,
            HOLD: service.hold,
            RESUME: service.resume,
            PROMOTE: service.promote,
            ROLLBACK: service.rollback,
        }.get(action)
        if do is None:
            raise unknown_act(action)
        try:
            after = do(name, actor=principal.name, reason=reason, seen=seen)
        except LlmCanaryError as error:
            refused = {"refused": error.code, "seq": seen.seq}
            services.audit.note(principal, f"rollout.{action}", name, refused)
            raise
        detail = {"reason": reason, "seq": after.seq, "stage": after.stage, "share": after.share}
        services.audit.note(principal, f"rollout.{action}", name, detail)
        return site.go(visit, rollout_path(name))

    site.page(_PATH, Permission.OPERATE, ask)
    site.act(_PATH, Permission.OPERATE, act)


def _seen(visit: Visit) -> Seen:
    """Return what the page showed: the act is meant for that and for nothing later."""
    rollout_id, seq = (
        visit.optional("rollout", longest=100),
        visit.field("seq", longest=_MOST_DIGITS),
    )
    number = int(seq) if seq.isascii() and seq.isdigit() else 0
    return Seen(rollout_id or None, number)
