"""Registers pages: each with the permission it needs, its errors as pages, writes only with CSRF.

A handler takes a `Visit` and returns a response. It is a plain function and runs in a thread, where
blocking on SQL is allowed. A page without a permission cannot be registered; `PUBLIC` says so.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.routing import compile_path

from llm_canary.access.gate import Viewer
from llm_canary.auth import LOCAL, Permission
from llm_canary.errors import Forbidden, LlmCanaryError, NotReady, StorageError
from llm_canary.pages.render import Renderer
from llm_canary.pages.services import PageServices
from llm_canary.pages.visit import Target, Visit, cookie_name, is_secure, read_form

Handler = Callable[[Visit], Response]
PUBLIC = None  # instead of a permission: who is not logged in may come
_log = logging.getLogger(__name__)
_NOBODY = Viewer(LOCAL, "", None)  # on public pages; they show nothing of anybody
_CSRF_FIELD, _CSRF_HEADER = "csrf", "x-csrf-token"
_STALE = "stale_page"
_SECRETS = frozenset({"password", "key"})


class Site:
    """The pages of one application."""

    def __init__(self, app: FastAPI, services: PageServices, renderer: Renderer) -> None:
        self._app = app
        self.services = services
        self.renderer = renderer
        self.rules: dict[tuple[str, str], Permission | None] = {}
        self._pages: list[re.Pattern[str]] = []  # the addresses that answer to GET

    def page(self, path: str, permission: Permission | None, handler: Handler) -> None:
        """Register what is read."""
        self._pages.append(compile_path(path)[0])
        self._add(path, "GET", permission, handler)

    def act(self, path: str, permission: Permission | None, handler: Handler) -> None:
        """Register what changes something: POST, with the session's CSRF token."""
        self._add(path, "POST", permission, handler)

    def html(
        self, visit: Visit, template: str, /, status: int = 200, **context: object
    ) -> Response:
        """Return a rendered page or fragment."""
        return HTMLResponse(self.renderer.render(template, visit, **context), status)

    def live(
        self, visit: Visit, template: str, /, *, url: str, every_s: int = 2, **context: object
    ) -> Response:
        """Return a fragment that polls itself at `url`; 304 where the browser has it already."""
        html, tag = self.renderer.live(template, visit, url=url, every_s=every_s, **context)
        headers = {"etag": tag, "cache-control": "no-cache, private", "vary": "cookie"}
        if visit.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(html, headers=headers)

    def go(self, visit: Visit, path: str) -> Response:
        """Return a redirection to a path of ours, after something was done."""
        if visit.is_fragment:
            return Response(status_code=204, headers={"hx-redirect": path})
        return RedirectResponse(path, 303)

    def _add(self, path: str, method: str, permission: Permission | None, handler: Handler) -> None:
        self.rules[method, path] = permission

        async def endpoint(request: Request) -> Response:
            try:
                form = await read_form(request) if method == "POST" else {}
            except LlmCanaryError as error:
                return self._failed(request, self._visit(request, _NOBODY, {}), error)
            return await run_in_threadpool(self._serve, request, permission, handler, form)

        methods = ["GET", "HEAD"] if method == "GET" else [method]
        self._app.add_api_route(path, endpoint, methods=methods, include_in_schema=False)

    def _serve(
        self,
        request: Request,
        permission: Permission | None,
        handler: Handler,
        form: dict[str, str],
    ) -> Response:
        viewer: Viewer | None = _NOBODY
        try:
            if permission is not PUBLIC:
                viewer = self.services.gate.viewer(self._token(request))
            visit = self._visit(request, viewer or _NOBODY, form)
            if viewer is None:
                return _to_login(visit)
            if permission is not PUBLIC:
                viewer.principal.require(permission)
            if request.method == "POST":
                _check_origin(visit)
                if permission is not PUBLIC:
                    _check_csrf(visit)
            return handler(visit)
        except LlmCanaryError as error:
            return self._failed(request, self._visit(request, viewer or _NOBODY, form), error)

    def _visit(self, request: Request, viewer: Viewer, form: dict[str, str]) -> Visit:
        return Visit(
            viewer=viewer,
            target=self._target(request),
            path=dict(request.path_params),
            query=dict(request.query_params),
            headers=request.headers,
            is_secure=is_secure(request, self.services.web_url()),
            token=self._token(request),
            form=form,
            origin=f"{request.url.scheme}://{request.url.netloc}",
            cookies=request.cookies,
        )

    def _target(self, request: Request) -> Target:
        """Return where the visitor is: of a form, the page on which it stood."""
        if request.method != "POST":
            return Target(request.url.path, request.url.query)
        page = urlsplit(request.headers.get("referer", ""))
        path = page.path if page.netloc == request.url.netloc else request.url.path
        while path and not any(each.fullmatch(path) for each in self._pages):
            path = path.rpartition("/")[0]
        return Target(path or "/", page.query if path == page.path else "")

    def _token(self, request: Request) -> str | None:
        """Return the session's token out of the cookie."""
        name = cookie_name(is_secure=is_secure(request, self.services.web_url()))
        return request.cookies.get(name)

    def _failed(self, request: Request, visit: Visit, error: LlmCanaryError) -> Response:
        if error.status >= 500:
            _log.warning("%s: %s", type(error).__name__, error.message)
        is_trouble = isinstance(error, StorageError | NotReady)
        template = "partials/problem.html" if visit.is_fragment else "problem.html"
        html = self.renderer.render(
            template, visit, title=_TITLES.get(error.status, "That did not work"),
            message=error.message, code=error.code, is_trouble=is_trouble,
            again=_again(visit) if error.code == _STALE else {}, action=request.url.path,
        )  # fmt: skip
        headers = {"hx-retarget": "#problem", "hx-reswap": "innerHTML"} if visit.is_fragment else {}
        return HTMLResponse(html, error.status, headers=headers)


_TITLES = {
    400: "That cannot be done",
    401: "Who are you?",
    403: "Not for this role",
    404: "There is no such thing",
    409: "Somebody was faster",
    413: "That is too much",
    422: "That cannot be right",
    503: "The database cannot be read",
}


def _to_login(visit: Visit) -> Response:
    if visit.is_fragment:
        return Response(status_code=401, headers={"hx-redirect": "/login"})
    return RedirectResponse(f"/login?{_next(visit)}", 303)


def _next(visit: Visit) -> str:
    return urlencode({"next": str(visit.target)})


def _check_origin(visit: Visit) -> None:
    origin = visit.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != urlsplit(visit.origin).netloc:
        raise Forbidden("the form was sent from another site; open the page and try again")
    if visit.headers.get("sec-fetch-site") not in {None, "same-origin", "none"}:
        raise Forbidden("the form was sent from another site; open the page and try again")


def _again(visit: Visit) -> dict[str, str]:
    """Return what a stale page has sent, to be sent again by the person who is logged in now.

    Nothing where no browser has said that the form is one of ours, and nothing secret.
    """
    is_ours = "origin" in visit.headers and not _SECRETS & visit.form.keys()
    return {k: v for k, v in visit.form.items() if k != _CSRF_FIELD} if is_ours else {}


def _check_csrf(visit: Visit) -> None:
    sent = visit.headers.get(_CSRF_HEADER) or visit.form.get(_CSRF_FIELD, "")
    if not hmac.compare_digest(sent.encode(), visit.viewer.csrf.encode()):
        raise Forbidden(
            "the page was made for another session; reload it and try again", code=_STALE
        )
