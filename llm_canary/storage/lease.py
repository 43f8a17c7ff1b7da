"""A lease: one process at a time runs a loop, and a slow one cannot act after it has lost it.

Each holder gets a larger fencing number. A write made under the lease checks, in its own
transaction, that the number is still the current one.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import or_, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.engine import Engine
from sqlmodel import Session, col, select

from llm_canary.clock import utc
from llm_canary.errors import Conflict
from llm_canary.storage.dialect import is_sqlite
from llm_canary.storage.engine import write_session
from llm_canary.storage.models.rollouts import Lease


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that this process holds."""

    name: str
    holder: str
    fence: int
    expires_s: float


def acquire(engine: Engine, name: str, holder: str, *, now_s: float, ttl_s: float) -> Held | None:
    """Take or renew the lease for `ttl_s`; return None while another process holds it."""
    now, expires = utc(now_s), utc(now_s + ttl_s)
    insert = insert_sqlite if is_sqlite(engine) else insert_postgresql
    with write_session(engine) as session:
        first = insert(Lease).values(name=name, holder=holder, fence=1, expires_at=expires)
        session.connection().execute(first.on_conflict_do_nothing())
        renew = (
            update(Lease)
            .where(col(Lease.name) == name, col(Lease.holder) == holder)
            .values(expires_at=expires)
        )
        if not session.connection().execute(renew).rowcount:
            take = (
                update(Lease)
                .where(
                    col(Lease.name) == name,
                    or_(col(Lease.expires_at) <= now, col(Lease.holder) == holder),
                )
                .values(holder=holder, fence=col(Lease.fence) + 1, expires_at=expires)
            )
            session.connection().execute(take)
        row = session.exec(select(Lease).where(col(Lease.name) == name)).one()
        if row.holder != holder:
            return None
        return Held(name=name, holder=holder, fence=row.fence, expires_s=now_s + ttl_s)


def release(engine: Engine, held: Held) -> None:
    """Give the lease up, so that another process need not wait for its end."""
    with write_session(engine) as session:
        session.connection().execute(
            update(Lease)
            .where(col(Lease.name) == held.name, col(Lease.fence) == held.fence)
            .values(expires_at=utc(0.0))
        )


def check_fence(session: Session, held: Held) -> None:
    """Raise Conflict unless `held` is still current; call it inside the writing transaction."""
    row = session.exec(
        select(Lease).where(col(Lease.name) == held.name).with_for_update()
    ).one_or_none()
    if row is None or row.fence != held.fence or row.holder != held.holder:
        now = "nobody" if row is None else f"{row.holder} (fence {row.fence})"
        raise Conflict(
            f"{held.holder} lost the lease {held.name!r} (fence {held.fence}) to {now}; "
            "nothing was written",
            code="lease_lost",
        )
