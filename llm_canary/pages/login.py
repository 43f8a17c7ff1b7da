"""Logging in and out."""

from __future__ import annotations

from fastapi.responses import RedirectResponse, Response

from llm_canary.auth import Permission, Principal
from llm_canary.errors import Unauthorized
from llm_canary.pages.site import PUBLIC, Site
from llm_canary.pages.visit import Visit, cookie_name

_LONGEST = 512


def add_login(site: Site) -> None:
    """Add `/login` and `/logout`."""
    site.page("/login", PUBLIC, lambda visit: login_form(site, visit))
    site.act("/login", PUBLIC, lambda visit: _log_in(site, visit))
    site.act("/logout", Permission.REVIEW, lambda visit: _log_out(site, visit))


def start_page(principal: Principal) -> str:
    """Return where the role's work is."""
    return "/" if principal.may(Permission.READ) else "/review"


def logged_in(visit: Visit, token: str, principal: Principal, target: str) -> Response:
    """Return the redirection that carries the session's cookie."""
    answer = RedirectResponse(own_path(target) or start_page(principal), 303)
    answer.set_cookie(
        cookie_name(is_secure=visit.is_secure),
        token,
        httponly=True,
        secure=visit.is_secure,
        samesite="lax",
        path="/",
    )
    return answer


def login_form(site: Site, visit: Visit, *, problem: str = "", status: int = 200) -> Response:
    """Return the page with every way to log in."""
    oidc = site.services.oidc
    return site.html(
        visit,
        "login.html",
        status,
        provider=None if oidc is None else oidc.name,
        target=own_path(visit.form.get("next") or visit.query.get("next", "")),
        name=visit.form.get("name", ""),
        problem=problem,
    )


def _log_in(site: Site, visit: Visit) -> Response:
    gate, name = site.services.gate, visit.optional("name", longest=_LONGEST)
    try:
        if visit.form.get("key"):
            token, principal = gate.log_in_by_key(visit.field("key", longest=_LONGEST))
        else:
            password = visit.form.get("password", "")
            token, principal = gate.log_in(name, password)
        principal.require(Permission.REVIEW)
    except Unauthorized as error:
        site.services.audit.note(None, "login.failed", name[:100] or "key")
        return login_form(site, visit, problem=error.message, status=401)
    site.services.audit.note(principal, "login", principal.name)
    return logged_in(visit, token, principal, visit.form.get("next", ""))


def _log_out(site: Site, visit: Visit) -> Response:
    if visit.token is not None:
        site.services.gate.log_out(visit.token)
        site.services.audit.note(visit.viewer.principal, "logout", visit.viewer.principal.name)
    answer = site.go(visit, "/login")
    answer.delete_cookie(cookie_name(is_secure=visit.is_secure), path="/")
    return answer


def own_path(target: str) -> str:
    """Return the path when it is one of ours: a redirection must not lead elsewhere."""
    is_own = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_own and target.isprintable() and "\\" not in target else ""
