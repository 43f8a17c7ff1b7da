"""What `keys` and `web` say about routes and the environment."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llm_canary.auth import AccessRole
from llm_canary.config import secrets
from llm_canary.config.limit_entries import limits_of
from llm_canary.config.web_entries import KeyEntry, OidcEntry
from llm_canary.documents.problems import KeyPath, Problems, did_you_mean, one_of, shown
from llm_canary.errors import ConfigError
from llm_canary.routing.table import KeyRef


def resolve_keys(
    entries: Mapping[str, KeyEntry], routes: Collection[str], problems: Problems
) -> tuple[KeyRef, ...]:
    """Return the keys by reference; note what cannot be resolved."""
    for name, entry in entries.items():
        _try_secret(("keys", name, "key"), entry.key, problems)
        path: KeyPath = ("keys", name, "routes")
        for index, route in enumerate(entry.routes or ()):
            if route not in routes:
                do = did_you_mean(route, routes) or "define it under `routes:`"
                wrong = f"there is no route {shown(route)}"
                problems.add((*path, index), wrong, expected=one_of(routes), do=do)
        if entry.routes is not None and entry.role is not AccessRole.APP:
            wrong = f"a key of the role {entry.role} sees every rollout, which routes cannot limit"
            problems.add(path, wrong, do="leave `routes` out, or give it the role app")
    return tuple(
        KeyRef(
            name=name,
            secret=entry.key,
            may_pin=entry.pin,
            role=entry.role,
            routes=None if entry.routes is None else tuple(entry.routes),
            limits=limits_of(entry.limits),
        )
        for name, entry in entries.items()
    )


def check_oidc(entry: OidcEntry | None, problems: Problems) -> None:
    """Note a secret that is not at hand, and a provider by which nobody could log in."""
    if entry is None:
        return
    path: KeyPath = ("web", "oidc")
    _try_secret((*path, "client_secret"), entry.client_secret, problems)
    if not entry.roles and entry.default_role is None:
        wrong = "it gives nobody a role, so nobody could log in by it"
        problems.add(path, wrong, do="add `roles` or `default_role`")


def _try_secret(path: KeyPath, reference: str, problems: Problems) -> None:
    try:
        secrets.resolve(reference)
    except ConfigError as error:
        problems.add(path, error.message)
