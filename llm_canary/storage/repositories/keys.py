"""API keys that were made while running: their hashes, what they may do, when they end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import or_, select, update
from sqlalchemy.engine import Connection
from sqlmodel import Session, col

from llm_canary.auth import AccessRole
from llm_canary.clock import utc
from llm_canary.opaque import Opaque
from llm_canary.routing.limits import Limits
from llm_canary.routing.table import StoredKey, StoredKeys
from llm_canary.storage.models.access import ApiKey


class KeyRecord(NamedTuple):
    """One key; its text is nowhere."""

    id: str
    name: str
    prefix: str
    key_hash: str
    role: str
    routes: tuple[str, ...] | None
    may_pin: bool
    limits: Mapping[str, Any] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaces: str | None

    def serves_at(self, now: datetime) -> bool:
        """Say whether it opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def state_at(self, now: datetime) -> str:
        """Return a word for where it stands: serves, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "serves" if self.serves_at(now) else "expired"


def add_key(session: Session, record: KeyRecord) -> None:
    """Store a new key."""
    routes = None if record.routes is None else list(record.routes)
    session.add(ApiKey(**{**record._asdict(), "routes": routes}))
    session.flush()


def keys(session: Session) -> list[KeyRecord]:
    """Return every key that was ever made, the newest first."""
    rows = session.execute(select(ApiKey).order_by(col(ApiKey.id).desc())).scalars()
    return [_record(row) for row in rows]


def change_key(session: Session, key_id: str, **values: Any) -> None:  # noqa: ANN401 - columns
    """Change columns of a key."""
    session.execute(update(ApiKey).where(col(ApiKey.id) == key_id).values(**values))


def any_key(session: Session) -> bool:
    """Say whether a key was ever made."""
    return session.execute(select(col(ApiKey.id)).limit(1)).first() is not None


def stored_keys(session: Session, *, ended_since: datetime, secret: Opaque) -> StoredKeys:
    """Return what the routing table carries: keys that serve, or have not ended before then."""
    query = select(ApiKey).where(
        or_(col(ApiKey.revoked_at).is_(None), col(ApiKey.revoked_at) >= ended_since),
        or_(col(ApiKey.expires_at).is_(None), col(ApiKey.expires_at) >= ended_since),
    )
    found = session.execute(query.order_by(col(ApiKey.id))).scalars().all()
    return StoredKeys(
        keys=tuple(_stored(row) for row in found),
        secret=secret,
        any_made=bool(found) or any_key(session),
    )


def note_uses(connection: Connection, uses: Mapping[str, float]) -> None:
    """Note when keys were last used (seconds since the epoch, by id), unless later is known."""
    for key_id, at_s in uses.items():
        at = utc(at_s)
        connection.execute(
            update(ApiKey)
            .where(
                col(ApiKey.id) == key_id,
                or_(col(ApiKey.last_used_at).is_(None), col(ApiKey.last_used_at) < at),
            )
            .values(last_used_at=at)
        )


def _record(row: ApiKey) -> KeyRecord:
    routes = None if row.routes is None else tuple(row.routes)
    return KeyRecord(**{**row.model_dump(), "routes": routes})


def _stored(row: ApiKey) -> StoredKey:
    return StoredKey(
        id=row.id,
        name=row.name,
        hash=row.key_hash,
        role=AccessRole(row.role),
        routes=None if row.routes is None else tuple(row.routes),
        may_pin=row.may_pin,
        expires_s=None if row.expires_at is None else row.expires_at.timestamp(),
        is_revoked=row.revoked_at is not None,
        limits=None if row.limits is None else msgspec.convert(row.limits, Limits),
    )
