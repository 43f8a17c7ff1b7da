"""Accounts, sessions and the audit log; keys are in `keys.py`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, select, update
from sqlmodel import Session, col

from llm_canary.ids import uuid7
from llm_canary.storage.models.access import Account, AuditEntry, WebSession


class AccountRecord(NamedTuple):
    """One person; the hash is argon2's own text."""

    id: str
    name: str
    role: str
    password_hash: str | None
    issuer: str | None
    subject: str | None
    created_at: datetime
    created_by: str
    disabled_at: datetime | None
    last_login_at: datetime | None
    failed_logins: int
    locked_until: datetime | None


class SessionRecord(NamedTuple):
    """A browser that is logged in."""

    token_hash: str
    account_id: str | None
    key_name: str | None
    key_proof: str | None
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


class AuditRecord(NamedTuple):
    """One act."""

    id: str
    at: datetime
    actor: str
    role: str
    via: str
    action: str
    target: str
    detail: Mapping[str, Any]


def has_accounts(session: Session) -> bool:
    """Say whether anybody has an account."""
    return session.execute(select(col(Account.id)).limit(1)).first() is not None


def accounts(session: Session) -> list[AccountRecord]:
    """Return everybody, by name."""
    rows = session.execute(select(Account).order_by(col(Account.name))).scalars()
    return [_account(row) for row in rows]


def account_named(session: Session, name: str) -> AccountRecord | None:
    """Return the account of that name."""
    row = session.execute(select(Account).where(col(Account.name) == name)).scalar_one_or_none()
    return None if row is None else _account(row)


def account_of(session: Session, account_id: str) -> AccountRecord | None:
    """Return the account."""
    row = session.get(Account, account_id)
    return None if row is None else _account(row)


def account_of_subject(session: Session, issuer: str, subject: str) -> AccountRecord | None:
    """Return the account of an OIDC provider's subject."""
    query = select(Account).where(col(Account.issuer) == issuer, col(Account.subject) == subject)
    row = session.execute(query).scalar_one_or_none()
    return None if row is None else _account(row)


def add_account(session: Session, record: AccountRecord) -> None:
    """Store a new account; IntegrityError when the name is taken."""
    session.add(Account(**record._asdict()))
    session.flush()


def change_account(session: Session, account_id: str, **values: Any) -> None:  # noqa: ANN401 - columns
    """Change columns of an account."""
    session.execute(update(Account).where(col(Account.id) == account_id).values(**values))


def count_admins(session: Session, role: str) -> int:
    """Return how many may log in with the role, and keep others from changing them meanwhile.

    Two admins who disable each other at once would otherwise leave none.
    """
    query = select(col(Account.id)).where(
        col(Account.role) == role, col(Account.disabled_at).is_(None)
    )
    return len(session.execute(query.order_by(col(Account.id)).with_for_update()).all())


def add_web_session(session: Session, record: SessionRecord) -> None:
    """Store a session."""
    session.add(WebSession(**record._asdict()))


def web_session_of(session: Session, token_hash: str) -> SessionRecord | None:
    """Return the session."""
    row = session.get(WebSession, token_hash)
    return None if row is None else SessionRecord(**row.model_dump())


def touch_web_session(session: Session, token_hash: str, seen_at: datetime) -> None:
    """Note that the session was used."""
    session.execute(
        update(WebSession).where(col(WebSession.token_hash) == token_hash).values(seen_at=seen_at)
    )


def drop_web_session(session: Session, token_hash: str) -> None:
    """End a session."""
    session.execute(delete(WebSession).where(col(WebSession.token_hash) == token_hash))


def drop_web_sessions(session: Session, account_id: str) -> None:
    """End every session of an account."""
    session.execute(delete(WebSession).where(col(WebSession.account_id) == account_id))


def drop_expired_web_sessions(session: Session, now: datetime) -> None:
    """Forget sessions that are over."""
    session.execute(delete(WebSession).where(col(WebSession.expires_at) < now))


def add_audit(  # noqa: PLR0913 - the columns
    session: Session,
    *,
    at: datetime,
    actor: str,
    role: str,
    via: str,
    action: str,
    target: str,
    detail: Mapping[str, Any],
) -> None:
    """Store one act."""
    session.add(
        AuditEntry(
            id=uuid7(),
            at=at,
            actor=actor,
            role=role,
            via=via,
            action=action,
            target=target,
            detail=dict(detail),
        )
    )


def audit(
    session: Session,
    *,
    actor: str | None = None,
    action: str | None = None,
    before: str | None = None,
    limit: int = 100,
) -> list[AuditRecord]:
    """Return acts, the newest first; `before` is an entry's id, `action` a beginning of names."""
    query = select(AuditEntry).order_by(col(AuditEntry.id).desc()).limit(limit)
    if actor:
        query = query.where(col(AuditEntry.actor) == actor)
    if action:
        query = query.where(col(AuditEntry.action).startswith(action, autoescape=True))
    if before:
        query = query.where(col(AuditEntry.id) < before)
    return [AuditRecord(**row.model_dump()) for row in session.execute(query).scalars()]


def _account(row: Account) -> AccountRecord:
    return AccountRecord(**row.model_dump())
