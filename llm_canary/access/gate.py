"""Finds out who calls: by API key, by the cookie of a browser, or because only this machine may."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy.engine import Engine

from llm_canary.access.accounts import Accounts, principal_of
from llm_canary.access.secret import InstallationSecret
from llm_canary.auth import LOCAL, Principal, PrincipalKind, key_hash
from llm_canary.clock import Clock, utc
from llm_canary.config.secrets import resolve
from llm_canary.errors import ConfigError, StorageError, Unauthorized
from llm_canary.routing.table import KeyRef, StoredKey, StoredKeys
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories import access as rows
from llm_canary.storage.repositories.access import AccountRecord, SessionRecord
from llm_canary.storage.repositories.installation import WEB_SECRET
from llm_canary.storage.repositories.keys import note_uses

SESSION_S = 12 * 3_600.0
_IDLE_S = 2 * 3_600.0
_TOUCH_EVERY_S = 60.0


class Viewer(NamedTuple):
    """Who looks at a page; `csrf` has to come back with everything that they change."""

    principal: Principal
    csrf: str
    expires_s: float | None  # None: nobody had to log in


class Gate:
    """Authenticates; what is allowed then is the principal's role's affair."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        keys: Callable[[], Sequence[KeyRef]],
        stored: Callable[[], StoredKeys] = StoredKeys,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._keys = keys  # of the file
        self._stored = stored  # of the database
        self._used_s: dict[str, float] = {}  # when the use of a stored key was last noted
        self.accounts = Accounts(engine, clock)
        self._secret = InstallationSecret(engine, WEB_SECRET)

    @property
    def is_open(self) -> bool:
        """Whether nobody has to show who they are: no key and no account exists."""
        return self._is_keyless and not self.accounts.any()

    @property
    def _local(self) -> Viewer:
        """Who looks where nobody logs in; every process of the installation takes the token."""
        csrf = hashlib.blake2b(key=self._secret(), digest_size=32, person=b"local csrf")
        return Viewer(LOCAL, csrf.hexdigest(), None)

    @property
    def _is_keyless(self) -> bool:
        return not self._keys() and not self._stored().any_made

    def of_key(self, key: str | None) -> Principal:
        """Return whose key it is; raise Unauthorized. Without keys, whoever is on this machine."""
        if self._is_keyless:
            return LOCAL
        if key is None:
            raise Unauthorized("no API key was sent; send one as `Authorization: Bearer KEY`")
        return _principal_of(self._found(key))

    def log_in(self, name: str, password: str) -> tuple[str, Principal]:
        """Return the token of a new session; raise Unauthorized."""
        account = self.accounts.check(name, password)
        return self.open_session(account), principal_of(account)

    def log_in_by_key(self, key: str) -> tuple[str, Principal]:
        """Return the token of a new session as the API key; raise Unauthorized."""
        if self._is_keyless:
            raise Unauthorized("there is no API key; log in with a name and a password")
        found = self._found(key)
        return self._open(None, found.name, _proof_of(found)), _principal_of(found)

    def open_session(self, account: AccountRecord) -> str:
        """Return the token of a new session of somebody who has shown who they are."""
        return self._open(account.id, None, None)

    def log_out(self, token: str) -> None:
        """End the session."""
        with write_session(self._engine) as session:
            rows.drop_web_session(session, _hash(token))

    def viewer(self, token: str | None) -> Viewer | None:
        """Return who has the cookie; None when they have to log in."""
        if token is None:
            return self._local if self.is_open else None
        now_s = self._clock.now_s()
        with read_session(self._engine) as session:
            found = rows.web_session_of(session, _hash(token))
            account = None
            if found is not None and found.account_id is not None:
                account = rows.account_of(session, found.account_id)
        principal = None if found is None else self._principal(found, account, now_s)
        if found is None or principal is None:
            return self._local if self.is_open else None
        if now_s - found.seen_at.timestamp() >= _TOUCH_EVERY_S:
            with write_session(self._engine) as session:
                rows.touch_web_session(session, found.token_hash, utc(now_s))
        return Viewer(principal, csrf_of(token), found.expires_at.timestamp())

    def _principal(
        self, found: SessionRecord, account: AccountRecord | None, now_s: float
    ) -> Principal | None:
        is_idle = now_s - found.seen_at.timestamp() > _IDLE_S
        if is_idle or found.expires_at.timestamp() <= now_s:
            return None
        if account is not None:
            return None if account.disabled_at is not None else principal_of(account)
        every: list[KeyRef | StoredKey] = [*self._keys(), *self._stored().keys]
        for known in every:
            if known.name == found.key_name and found.key_proof == _proof_of(known):
                return _principal_of(known) if _end_of(known, now_s) is None else None
        return None

    def _found(self, text: str) -> KeyRef | StoredKey:
        """Return the key with this text; raise Unauthorized.

        Every key is compared, so that the time tells nothing about which one was close.
        """
        found: KeyRef | StoredKey | None = None
        stored = self._stored()
        hashed = key_hash(stored.secret, text)
        for each in stored.keys:
            if hmac.compare_digest(each.hash, hashed):
                found = each
        for known in self._keys():
            if hmac.compare_digest(_secret(known), text.encode(errors="surrogatepass")):
                found = known
        if found is None:
            raise Unauthorized("this API key is not one of the server's; check it")
        now_s = self._clock.now_s()
        if (ended := _end_of(found, now_s)) is not None:
            raise Unauthorized(f"the API key {found.name!r} {ended}; ask for a new one")
        if isinstance(found, StoredKey):
            self._note_use(found, now_s)
        return found

    def _note_use(self, key: StoredKey, now_s: float) -> None:
        if now_s - self._used_s.get(key.id, -math.inf) < _TOUCH_EVERY_S:
            return
        self._used_s[key.id] = now_s
        # That it was used is worth a note; that it cannot be noted is no reason to refuse it.
        with suppress(StorageError), write_session(self._engine) as session:
            note_uses(session.connection(), {key.id: now_s})

    def _open(self, account_id: str | None, key_name: str | None, proof: str | None) -> str:
        token, now = secrets.token_urlsafe(32), utc(self._clock.now_s())
        record = SessionRecord(
            token_hash=_hash(token),
            account_id=account_id,
            key_name=key_name,
            key_proof=proof,
            created_at=now,
            seen_at=now,
            expires_at=now + timedelta(seconds=SESSION_S),
        )
        with write_session(self._engine) as session:
            rows.drop_expired_web_sessions(session, now)
            rows.add_web_session(session, record)
        return token


def csrf_of(token: str) -> str:
    """Return what a session's forms have to send back: a page of another site cannot know it."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()


def _principal_of(key: KeyRef | StoredKey) -> Principal:
    return Principal(name=key.name, role=key.role, kind=PrincipalKind.KEY, routes=key.routes)


def _end_of(key: KeyRef | StoredKey, now_s: float) -> str | None:
    """Say how the key has ended; None while it serves."""
    if isinstance(key, KeyRef):
        return None
    if key.is_revoked:
        return "was revoked"
    return "has expired" if key.expires_s is not None and key.expires_s <= now_s else None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _proof_of(key: KeyRef | StoredKey) -> str | None:
    """Return what binds a session to its key: it ends when the key is another one."""
    if isinstance(key, StoredKey):
        return _hash(f"session of stored key\0{key.hash}")
    try:
        return _hash(f"session of key\0{resolve(key.secret).decode()}")
    except ConfigError:
        return None


def _secret(key: KeyRef) -> bytes:
    try:
        return resolve(key.secret)
    except ConfigError as error:
        raise Unauthorized(f"key {key.name!r} cannot be checked: {error.message}") from error
