"""Logging in at a provider of OpenID Connect: there, and back."""

from __future__ import annotations

from fastapi.responses import RedirectResponse, Response

from llm_canary.access.accounts import principal_of
from llm_canary.access.oidc import LOGIN_S, OidcLogin, require_role
from llm_canary.errors import NotFound, RequestError
from llm_canary.pages.login import logged_in, login_form, own_path
from llm_canary.pages.site import PUBLIC, Site
from llm_canary.pages.visit import Visit

_START, _BACK = "/login/oidc", "/login/oidc/callback"
_COOKIE = "llm_canary_oidc"


def add_login_oidc(site: Site) -> None:
    """Add `/login/oidc`, which leads to the provider, and the address that it sends people to."""
    site.page(_START, PUBLIC, lambda visit: _begin(site, visit))
    site.page(_BACK, PUBLIC, lambda visit: _finish(site, visit))


def _begin(site: Site, visit: Visit) -> Response:
    target = own_path(visit.query.get("next", ""))
    try:
        url, cookie = _login(site).begin(_address(site, visit), target)
    except RequestError as error:
        return login_form(site, visit, problem=error.message, status=error.status)
    answer = RedirectResponse(url, 303)
    answer.set_cookie(
        _COOKIE,
        cookie,
        max_age=int(LOGIN_S),
        path=_START,
        httponly=True,
        secure=visit.is_secure,
        samesite="lax",  # it has to come along when the provider sends the browser back
    )
    return answer


def _finish(site: Site, visit: Visit) -> Response:
    login, services = _login(site), site.services
    accounts = services.gate.accounts
    name = "oidc"
    try:
        identity, target = login.finish(
            visit.query, visit.cookies.get(_COOKIE), _address(site, visit)
        )
        name, subject = identity.names[0], (identity.issuer, identity.subject)
        if identity.role is None:
            accounts.end_sessions_of(subject)
        role = require_role(identity, login.name or "")
        account = accounts.check_identity(subject, identity.names, role)
    except RequestError as error:
        services.audit.note(None, "login.failed", name, {"code": error.code})
        answer = login_form(site, visit, problem=error.message, status=error.status)
    else:
        principal = principal_of(account)
        answer = logged_in(visit, services.gate.open_session(account), principal, target)
        services.audit.note(principal, "login", account.name, {"issuer": identity.issuer})
    answer.delete_cookie(_COOKIE, path=_START)
    return answer


def _login(site: Site) -> OidcLogin:
    if site.services.oidc is None:
        raise NotFound("this server knows no provider to log in at")
    return site.services.oidc


def _address(site: Site, visit: Visit) -> str:
    """Return where the provider sends people back to: what is registered there."""
    url = site.services.web_url()
    return f"{(url or visit.origin).rstrip('/')}{_BACK}"
