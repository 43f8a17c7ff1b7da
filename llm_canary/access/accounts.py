"""People who may log in: made by an admin, with a password that argon2id hashes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from llm_canary.auth import AccessRole, Principal, PrincipalKind
from llm_canary.clock import Clock, utc
from llm_canary.errors import Conflict, InvalidRequest, NotFound, Unauthorized
from llm_canary.ids import uuid7
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories import access as rows
from llm_canary.storage.repositories.access import AccountRecord

MIN_PASSWORD, MAX_PASSWORD = 12, 256
_MAX_NAME = 100
_FREE_FAILURES = 5  # in a row, before each further one locks the account for longer
_FIRST_LOCK_S, _LONGEST_LOCK_S = 2.0, 900.0
_HASHER = PasswordHasher()


@cache
def _decoy(hasher: PasswordHasher) -> str:
    """Return what is verified where no account is, so that the time does not tell."""
    return hasher.hash("no account has this name")


class Accounts:
    """Creates, changes and checks accounts."""

    def __init__(self, engine: Engine, clock: Clock, hasher: PasswordHasher | None = None) -> None:
        self._engine = engine
        self._clock = clock
        self._hasher = hasher or _HASHER
        # Before anybody asks, so that not even the first log-in takes longer for want of it.
        self._decoy = _decoy(self._hasher)

    def any(self) -> bool:
        """Say whether anybody has an account."""
        with read_session(self._engine) as session:
            return rows.has_accounts(session)

    def all(self) -> list[AccountRecord]:
        """Return everybody, by name."""
        with read_session(self._engine) as session:
            return rows.accounts(session)

    def create(
        self,
        name: str,
        role: AccessRole,
        *,
        password: str | None,
        by: str,
        oidc: tuple[str, str] | None = None,
    ) -> AccountRecord:
        """Make an account, with a password or for (issuer, subject) of an OIDC provider."""
        name = name.strip()
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            raise InvalidRequest(f"a name has 1 to {_MAX_NAME} printable characters", param="name")
        issuer, subject = oidc or (None, None)
        record = AccountRecord(
            id=uuid7(),
            name=name,
            role=role.value,
            password_hash=None if password is None else self._hash(password),
            issuer=issuer,
            subject=subject,
            created_at=utc(self._clock.now_s()),
            created_by=by,
            disabled_at=None,
            last_login_at=None,
            failed_logins=0,
            locked_until=None,
        )
        try:
            with write_session(self._engine) as session:
                rows.add_account(session, record)
        except IntegrityError as error:
            raise Conflict(f"there is an account {name!r} already", param="name") from error
        return record

    def set_password(self, name: str, password: str) -> None:
        """Change a password; every session of the account ends."""
        hashed = self._hash(password)
        with write_session(self._engine) as session:
            found = self._found(session, name)
            if found.issuer is not None:
                raise Conflict(f"{found.name!r} logs in at {found.issuer} and has no password here")
            rows.change_account(
                session, found.id, password_hash=hashed, failed_logins=0, locked_until=None
            )
            rows.drop_web_sessions(session, found.id)

    def set_role(self, name: str, role: AccessRole) -> None:
        """Change what an account may do, at once; one admin always remains."""
        with write_session(self._engine) as session:
            found = self._found(session, name)
            self._keep_an_admin(session, found, stays=role is AccessRole.ADMIN)
            rows.change_account(session, found.id, role=role.value)

    def set_disabled(self, name: str, *, is_disabled: bool) -> None:
        """Let an account log in no more, or again; its sessions end."""
        with write_session(self._engine) as session:
            found = self._found(session, name)
            self._keep_an_admin(session, found, stays=not is_disabled)
            at = utc(self._clock.now_s()) if is_disabled else None
            rows.change_account(session, found.id, disabled_at=at)
            if is_disabled:
                rows.drop_web_sessions(session, found.id)

    def check(self, name: str, password: str) -> AccountRecord:
        """Return the account whose password this is; raise Unauthorized, for every reason alike.

        After five failures in a row each further one locks the account for twice as long, from two
        seconds to fifteen minutes.
        """
        now = utc(self._clock.now_s())
        with read_session(self._engine) as session:
            found = rows.account_named(session, name.strip())
        is_right = self._matches(found, password)
        if found is None:
            raise _refused()
        if found.locked_until is not None and now < found.locked_until:
            raise _refused()
        if not is_right or found.disabled_at is not None:
            failures = found.failed_logins + 1
            lock_s = _lock_s(failures)
            until = now + timedelta(seconds=lock_s) if lock_s else None
            with write_session(self._engine) as session:
                rows.change_account(session, found.id, failed_logins=failures, locked_until=until)
            raise _refused()
        with write_session(self._engine) as session:
            rows.change_account(
                session, found.id, failed_logins=0, locked_until=None, last_login_at=now
            )
        return found

    def check_identity(
        self, subject: tuple[str, str], names: Sequence[str], role: AccessRole
    ) -> AccountRecord:
        """Return the account of (issuer, subject), with the role that the provider gives it now.

        It is made at the first login, by the first of `names` that is free. Raise Unauthorized for
        a disabled one. The provider rules: it may take the role of the last admin.
        """
        with read_session(self._engine) as session:
            found = rows.account_of_subject(session, *subject)
        if found is None:
            found = self._first(subject, names, role)
        if found.disabled_at is not None:
            raise Unauthorized(f"the account {found.name!r} is disabled; ask an admin")
        now = utc(self._clock.now_s())
        with write_session(self._engine) as session:
            rows.change_account(session, found.id, role=role.value, last_login_at=now)
        return found._replace(role=role.value, last_login_at=now)

    def end_sessions_of(self, subject: tuple[str, str]) -> None:
        """End the sessions of (issuer, subject), whom the provider gives no role any more."""
        with write_session(self._engine) as session:
            found = rows.account_of_subject(session, *subject)
            if found is not None:
                rows.drop_web_sessions(session, found.id)

    def _first(
        self, subject: tuple[str, str], names: Sequence[str], role: AccessRole
    ) -> AccountRecord:
        for name in names:
            with suppress(Conflict):
                return self.create(name, role, password=None, by="oidc", oidc=subject)
            with read_session(self._engine) as session:
                made = rows.account_of_subject(session, *subject)
            if made is not None:  # by another browser, in the meantime
                return made
        raise Conflict(f"every name for this account is taken: {', '.join(names)}; ask an admin")

    def _matches(self, found: AccountRecord | None, password: str) -> bool:
        known = found.password_hash if found and found.password_hash else self._decoy
        try:
            self._hasher.verify(known, password[:MAX_PASSWORD])
        except (Argon2Error, InvalidHashError):
            return False
        return found is not None and found.password_hash is not None

    def _hash(self, password: str) -> str:
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise InvalidRequest(
                f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters; "
                f"this one has {len(password)}",
                param="password",
            )
        return self._hasher.hash(password)

    def _found(self, session: Session, name: str) -> AccountRecord:
        found = rows.account_named(session, name)
        if found is None:
            known = ", ".join(each.name for each in rows.accounts(session)[:20]) or "none"
            raise NotFound(f"there is no account {name!r}; there are: {known}", param="name")
        return found

    def _keep_an_admin(self, session: Session, found: AccountRecord, *, stays: bool) -> None:
        is_admin = found.role == AccessRole.ADMIN.value and found.disabled_at is None
        if is_admin and not stays and rows.count_admins(session, AccessRole.ADMIN.value) < 2:
            raise Conflict(f"{found.name!r} is the last admin; make another one first")


def principal_of(account: AccountRecord) -> Principal:
    """Return who acts when the account is logged in."""
    return Principal(name=account.name, role=AccessRole(account.role), kind=PrincipalKind.PERSON)


def _lock_s(failures: int) -> float:
    if failures <= _FREE_FAILURES:
        return 0.0
    return float(min(_FIRST_LOCK_S * 2.0 ** (failures - _FREE_FAILURES - 1), _LONGEST_LOCK_S))


def _refused() -> Unauthorized:
    return Unauthorized(
        "name and password do not match, or the account waits after failed logins; try again, "
        "or ask an admin",
        code="login_failed",
    )
