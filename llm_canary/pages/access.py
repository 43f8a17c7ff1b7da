"""Who may come in, by which keys, and what they did: three pages for admins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from fastapi.responses import Response

from llm_canary.access.keys import KeyWish, NewKey, facts_of, limits_wished
from llm_canary.auth import AccessRole, Permission, PrincipalKind
from llm_canary.config.limit_entries import UseEntry
from llm_canary.errors import Conflict, InvalidRequest
from llm_canary.pages.access_views import account_rows, audit_csv, audit_rows, key_rows
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.storage import spending
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.access import AuditRecord, audit

_ACCOUNTS, _KEYS, _AUDIT = "/access", "/access/keys", "/access/audit"
_PAGE_ROWS, _CSV_ROWS = 50, 10_000
_ROUTE = "route:"  # begins the names of the routes' boxes
_DAY_S = 86_400.0
_LIMITS = tuple(UseEntry.model_fields)
_LIVES_S: dict[str, float | None] = {
    "never": None,
    "30 days": 30 * _DAY_S,
    "90 days": 90 * _DAY_S,
    "1 year": 365 * _DAY_S,
}
_OVERLAPS_S = {"24 hours": _DAY_S, "1 hour": 3_600.0, "7 days": 7 * _DAY_S, "none": 0.0}
_PEOPLE = tuple(role.value for role in AccessRole if role is not AccessRole.APP)


class _Filter(NamedTuple):
    """Which acts are asked for."""

    actor: str
    action: str
    before: str


def add_access(site: Site) -> None:
    """Add `/access`, `/access/keys` and `/access/audit`."""
    admin = Permission.ADMINISTER
    site.page(_ACCOUNTS, admin, lambda visit: _accounts(site, visit))
    site.act(_ACCOUNTS, admin, lambda visit: _change_account(site, visit))
    site.page(_KEYS, admin, lambda visit: _keys(site, visit, None))
    site.act(_KEYS, admin, lambda visit: _change_key(site, visit))
    site.page(_AUDIT, admin, lambda visit: _audit(site, visit))
    site.page(f"{_AUDIT}.csv", admin, lambda visit: _audit_csv(site, visit))


def _accounts(site: Site, visit: Visit) -> Response:
    services = site.services
    return site.html(
        visit,
        "access/accounts.html",
        rows=account_rows(
            services.gate.accounts.all(),
            services.clock.now_s(),
            you=_own_account(visit),
        ),
        roles=_PEOPLE,
    )


def _change_account(site: Site, visit: Visit) -> Response:
    accounts, by = site.services.gate.accounts, visit.viewer.principal
    name = _text(visit.field("name", longest=100), "name")

    def create() -> None:
        accounts.create(name, _role(visit), password=_password(visit), by=by.name)

    acts: Mapping[str, Callable[[], None]] = {
        "create": create,
        "role": lambda: accounts.set_role(name, _role(visit)),
        "password": lambda: accounts.set_password(name, _password(visit)),
        "disable": lambda: accounts.set_disabled(name, is_disabled=True),
        "enable": lambda: accounts.set_disabled(name, is_disabled=False),
    }
    act = _act(visit, tuple(acts))
    if act == "disable" and name == _own_account(visit):
        raise Conflict("you cannot disable your own account; another admin can")
    acts[act]()
    detail = {"role": visit.form["role"]} if act in {"create", "role"} else {}
    site.services.audit.note(by, f"account.{act}", name, detail)
    return site.go(visit, _ACCOUNTS)


def _own_account(visit: Visit) -> str | None:
    principal = visit.viewer.principal
    return principal.name if principal.kind is PrincipalKind.PERSON else None


def _keys(site: Site, visit: Visit, made: NewKey | None) -> Response:
    services, config = site.services, site.services.config()
    now_s = services.clock.now_s()
    with services.engine.connect() as connection:
        spent = spending.read(connection, spending.day_of(now_s))[spending.KEY]
    return site.html(
        visit,
        "access/keys_panel.html" if visit.is_fragment else "access/keys.html",
        rows=key_rows(services.keys.all(), config.keys, now_s, spent),
        routes=sorted(config.routes),
        roles=tuple(AccessRole),
        lives=tuple(_LIVES_S),
        overlaps=tuple(_OVERLAPS_S),
        made=made,
    )


def _change_key(site: Site, visit: Visit) -> Response:
    keys, by = site.services.keys, visit.viewer.principal
    act = _act(visit, ("create", "rotate", "revoke"))
    which = _text(visit.field("name", longest=64), "name")
    if act == "revoke":
        for each in keys.revoke(which):
            site.services.audit.note(by, "key.revoke", each.name, {"prefix": each.prefix})
        return site.go(visit, _KEYS)
    if act == "create":
        made = keys.create(_wish(site, visit, which), by=by.name)
    else:
        overlap_s = _OVERLAPS_S[_option(visit, "overlap", tuple(_OVERLAPS_S))]
        made = keys.rotate(which, overlap_s=overlap_s, by=by.name)
    site.services.audit.note(by, f"key.{act}", made.record.name, facts_of(made.record))
    return _keys(site, visit, made)


def _wish(site: Site, visit: Visit, name: str) -> KeyWish:
    config = site.services.config()
    if name in {each.name for each in config.keys}:
        raise Conflict(f"there is a key {name!r} in canary.yaml, which owns what is asked with it")
    chosen = [each.removeprefix(_ROUTE) for each in visit.form if each.startswith(_ROUTE)]
    for each in chosen:
        if each not in config.routes:
            raise InvalidRequest(f"there is no route {each[:100]!r}", param="routes")
    return KeyWish(
        name,
        AccessRole(_option(visit, "role", tuple(AccessRole))),
        chosen or None,
        "pin" in visit.form,
        _LIVES_S[_option(visit, "lives", tuple(_LIVES_S))],
        limits_wished({name: visit.optional(name) for name in _LIMITS}),
    )


def _audit(site: Site, visit: Visit) -> Response:
    asked = _filter(visit)
    entries = _entries(site, asked, _PAGE_ROWS + 1)
    shown, more = entries[:_PAGE_ROWS], len(entries) > _PAGE_ROWS
    kept = {name: value for name, value in asked._asdict().items() if value}
    return site.html(
        visit,
        "access/audit.html",
        rows=audit_rows(shown),
        asked=asked,
        older=_link(_AUDIT, {**kept, "before": shown[-1].id}) if more else None,
        newest=_link(_AUDIT, {**kept, "before": ""}) if asked.before else None,
        csv=_link(f"{_AUDIT}.csv", {**kept, "before": ""}),
        csv_rows=_CSV_ROWS,
    )


def _audit_csv(site: Site, visit: Visit) -> Response:
    text = audit_csv(_entries(site, _filter(visit), _CSV_ROWS))
    site.services.audit.note(visit.viewer.principal, "audit.export", "csv")
    return Response(
        text,
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="llm-canary-audit.csv"'},
    )


def _entries(site: Site, asked: _Filter, limit: int) -> list[AuditRecord]:
    with read_session(site.services.engine) as session:
        return audit(session, **asked._asdict(), limit=limit)


def _filter(visit: Visit) -> _Filter:
    return _Filter(
        *(_text(visit.query.get(name, "").strip()[:100], name) for name in _Filter._fields)
    )


def _link(path: str, query: Mapping[str, str]) -> str:
    filled = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(filled)}" if filled else path


def _act(visit: Visit, acts: tuple[str, ...]) -> str:
    return _option(visit, "act", acts)


def _role(visit: Visit) -> AccessRole:
    return AccessRole(_option(visit, "role", _PEOPLE))


def _password(visit: Visit) -> str:
    return visit.form.get("password", "")  # as it is: spaces at its ends are part of it


def _option(visit: Visit, name: str, options: tuple[str, ...]) -> str:
    text = visit.form.get(name, "")
    if text not in options:
        raise InvalidRequest(
            f"`{name}` is {text[:40]!r}; expected one of {', '.join(options)}", param=name
        )
    return text


def _text(text: str, name: str) -> str:
    """Refuse what no name has, and what PostgreSQL cannot look for."""
    if not text.isprintable():
        raise InvalidRequest(f"`{name}` holds characters that show nothing", param=name)
    return text
