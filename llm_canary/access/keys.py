"""API keys that are made while running: shown once, kept as a hash, rotated and revoked."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from pydantic import ValidationError
from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.auth import AccessRole, key_hash, key_text, shown_part
from llm_canary.clock import Clock, utc
from llm_canary.config.limit_entries import UseEntry, limits_of
from llm_canary.errors import Conflict, InvalidRequest, NotFound
from llm_canary.ids import uuid7
from llm_canary.routing.limits import Limits
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories import keys as rows
from llm_canary.storage.repositories.installation import KEY_SECRET, get_or_set, locked
from llm_canary.storage.repositories.keys import KeyRecord

MAX_OVERLAP_S = 30 * 86_400.0
_MAX_LIFE_S = 10 * 365 * 86_400.0
_MAX_NAME, _MAX_ROUTES, _SHOWN_NAMES, _SHOWN_CHARS = 64, 100, 20, 40
_SECRET_BYTES, _IDENTITY_BYTES = 32, 4


class KeyWish(NamedTuple):
    """What a new key is to be."""

    name: str
    role: AccessRole = AccessRole.APP
    routes: Sequence[str] | None = None  # None: every route
    may_pin: bool = False
    lives_s: float | None = None  # None: until it is revoked
    limits: Limits | None = None


class NewKey(NamedTuple):
    """A key that was just made; its text is shown once and kept nowhere."""

    record: KeyRecord
    text: str


class ApiKeys:
    """Makes and ends keys; `on_change` is called after each change, so that gateways hear of it."""

    def __init__(
        self, engine: Engine, clock: Clock, *, on_change: Callable[[], object] = lambda: None
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._on_change = on_change

    def all(self) -> list[KeyRecord]:
        """Return every key that was ever made, the newest first."""
        with read_session(self._engine) as session:
            return rows.keys(session)

    def create(self, wish: KeyWish, *, by: str) -> NewKey:
        """Make a key. Its name owns what is made with it, and is given to one key at a time."""
        _check(wish)
        now = utc(self._clock.now_s())
        with write_session(self._engine) as session:
            secret = _locked_secret(session)
            for each in rows.keys(session):
                if each.name == wish.name and each.serves_at(now):
                    raise Conflict(
                        f"there is a key {wish.name!r} already ({each.prefix}); rotate or revoke it"
                    )
            made = _make(wish, secret, now, by)
            rows.add_key(session, made.record)
        self._on_change()
        return made

    def rotate(self, which: str, *, overlap_s: float, by: str) -> NewKey:
        """Make a key like another one, which expires after the overlap; 0 = at once.

        The new one lives as long as the old one was to live from the start.
        """
        if not 0.0 <= overlap_s <= MAX_OVERLAP_S:
            raise InvalidRequest("an overlap has 0 to 30 days", param="overlap")
        now = utc(self._clock.now_s())
        with write_session(self._engine) as session:
            secret = _locked_secret(session)
            old = self._serving(session, which, now)[0]
            made = _make(_same_as(old), secret, now, by, replaces=old.id)
            rows.add_key(session, made.record)
            until = now + timedelta(seconds=overlap_s)
            if old.expires_at is None or until < old.expires_at:
                rows.change_key(session, old.id, expires_at=until)
        self._on_change()
        return made

    def revoke(self, which: str) -> list[KeyRecord]:
        """End the keys of that name, or the one of that prefix or id, at once; return them."""
        now = utc(self._clock.now_s())
        with write_session(self._engine) as session:
            found = self._serving(session, which, now)
            for each in found:
                rows.change_key(session, each.id, revoked_at=now)
        self._on_change()
        return [each._replace(revoked_at=now) for each in found]

    def _serving(self, session: Session, which: str, now: datetime) -> list[KeyRecord]:
        """Return the keys that are meant and still serve, the newest first."""
        known = [each for each in rows.keys(session) if each.serves_at(now)]
        found = [each for each in known if which in (each.name, each.prefix, each.id)]
        if not found:
            names = ", ".join(dict.fromkeys(each.name for each in known[:_SHOWN_NAMES])) or "none"
            raise NotFound(f"no key that serves is called {which[:100]!r}; there are: {names}")
        return found


def limits_wished(written: Mapping[str, str]) -> Limits | None:
    """Return the limits that a form or a command line says; raise InvalidRequest, with the value.

    Names are those of canary.yaml; an empty text is no limit.
    """
    filled = {name: text.strip() for name, text in written.items() if text.strip()}
    try:
        return limits_of(UseEntry.model_validate_strings(filled, strict=False))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = str(fault["loc"][0])
        raise InvalidRequest(
            f"`{name}` is {filled[name][:_SHOWN_CHARS]!r}; {fault['msg'].lower()}", param=name
        ) from None


def facts_of(record: KeyRecord) -> dict[str, Any]:
    """Return what a key may do, as the audit log keeps it."""
    return {
        "prefix": record.prefix,
        "role": record.role,
        "routes": None if record.routes is None else list(record.routes),
        "pin": record.may_pin,
        **(record.limits or {}),
        "expires_at": record.expires_at.isoformat() if record.expires_at else None,
    }


def _locked_secret(session: Session) -> bytes:
    """Return what keys are hashed under; who makes keys meanwhile waits."""
    get_or_set(session, KEY_SECRET, secrets.token_hex(_SECRET_BYTES))
    return bytes.fromhex(locked(session, KEY_SECRET))


def _make(
    wish: KeyWish, secret: bytes, now: datetime, by: str, *, replaces: str | None = None
) -> NewKey:
    text = key_text(secrets.token_hex(_IDENTITY_BYTES), secrets.token_urlsafe(_SECRET_BYTES))
    record = KeyRecord(
        id=uuid7(),
        name=wish.name,
        prefix=shown_part(text),
        key_hash=key_hash(secret, text),
        role=wish.role.value,
        routes=None if wish.routes is None else tuple(dict.fromkeys(wish.routes)),
        may_pin=wish.may_pin,
        limits=None if wish.limits is None else msgspec.to_builtins(wish.limits),
        created_at=now,
        created_by=by,
        expires_at=None if wish.lives_s is None else now + timedelta(seconds=wish.lives_s),
        revoked_at=None,
        last_used_at=None,
        replaces=replaces,
    )
    return NewKey(record, text)


def _same_as(old: KeyRecord) -> KeyWish:
    lives_s = None
    if old.expires_at is not None:
        lives_s = (old.expires_at - old.created_at).total_seconds()
    limits = None if old.limits is None else msgspec.convert(old.limits, Limits)
    return KeyWish(old.name, AccessRole(old.role), old.routes, old.may_pin, lives_s, limits)


def _check(wish: KeyWish) -> None:
    name = wish.name
    if not name or len(name) > _MAX_NAME or not name.isprintable() or name != name.strip():
        raise InvalidRequest(f"a name has 1 to {_MAX_NAME} printable characters", param="name")
    if wish.routes is not None:
        if not 0 < len(wish.routes) <= _MAX_ROUTES:
            raise InvalidRequest(f"a key has 1 to {_MAX_ROUTES} routes, or all", param="routes")
        if wish.role is not AccessRole.APP:
            raise InvalidRequest(
                f"a key of the role {wish.role} sees every rollout, which routes cannot limit; "
                "leave them out, or give it the role app",
                param="routes",
            )
    if wish.lives_s is not None and not 0.0 < wish.lives_s <= _MAX_LIFE_S:
        raise InvalidRequest("a key expires after more than 0 s and at most 10 years")
