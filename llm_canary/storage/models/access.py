"""Who may do what, and what they did: accounts, their sessions, API keys, the audit log."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from llm_canary.storage.dialect import Json, UtcDateTime


class Account(SQLModel, table=True):
    """A person who may log in, by a password (argon2) or by an OIDC provider's word."""

    __tablename__ = "account"
    __table_args__ = (UniqueConstraint("name"), UniqueConstraint("issuer", "subject"))

    id: str = Field(primary_key=True)
    name: str
    role: str
    password_hash: str | None = None
    issuer: str | None = None
    subject: str | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)
    created_by: str
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_login_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failed_logins: int = 0  # in a row
    locked_until: datetime | None = Field(default=None, sa_type=UtcDateTime)


class WebSession(SQLModel, table=True):
    """A browser that is logged in: as an account, or as an API key of the file (`key_name`)."""

    __tablename__ = "web_session"
    __table_args__ = (Index(None, "expires_at"), Index(None, "account_id"))

    token_hash: str = Field(primary_key=True)  # SHA-256; the token is in the cookie only
    account_id: str | None = Field(default=None, foreign_key="account.id")
    key_name: str | None = None
    key_proof: str | None = None  # keyed hash of that key: a session ends with its key
    created_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class ApiKey(SQLModel, table=True):
    """A key that `llm-canary keys create` or the page has made; only its hash is kept."""

    __tablename__ = "api_key"
    __table_args__ = (UniqueConstraint("key_hash"), Index(None, "name"))

    id: str = Field(primary_key=True)
    name: str
    prefix: str  # what is shown of it
    key_hash: str  # HMAC-SHA256 under the server's secret
    role: str
    routes: list[str] | None = Field(default=None, sa_type=Json)  # None: every route
    may_pin: bool = False
    limits: dict[str, Any] | None = Field(default=None, sa_type=Json)
    created_at: datetime = Field(sa_type=UtcDateTime)
    created_by: str
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    replaces: str | None = None  # the id of the key that it was rotated from


class AuditEntry(SQLModel, table=True):
    """One act of a person or key that changed something, or was refused. Never a text of users."""

    __tablename__ = "audit_entry"
    __table_args__ = (Index(None, "at"), Index(None, "target"))

    id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    actor: str
    role: str
    via: str  # web, api, cli
    action: str  # rollout.hold, review.submit, login.failed
    target: str
    detail: dict[str, Any] = Field(sa_type=Json)
