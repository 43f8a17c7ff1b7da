"""API keys of the database: list, make, rotate and revoke them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from llm_canary.access.keys import MAX_OVERLAP_S, KeyWish, NewKey, facts_of
from llm_canary.api.deps import Admin, Services, require_database
from llm_canary.api.openapi import answer
from llm_canary.auth import AccessRole
from llm_canary.clock import utc
from llm_canary.config.limit_entries import UseEntry, limits_of
from llm_canary.routing.limits import Limits
from llm_canary.storage.repositories.keys import KeyRecord

router = APIRouter(prefix="/keys", tags=["keys"], dependencies=[Depends(require_database)])
_Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_Route = Annotated[str, StringConstraints(min_length=1, max_length=128)]
_MAX_LIFE_DAYS = 3_650


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CreateKeyRequest(_Body):
    """What the new key is to be."""

    name: _Name = Field(examples=["support-app"], description="It owns what is asked with the key.")
    role: AccessRole = AccessRole.APP
    routes: list[_Route] | None = Field(
        default=None, min_length=1, max_length=100, description="The only ones; absent: all."
    )
    may_pin: bool = Field(default=False, description="May choose a variant by `x-canary-pin`.")
    expires_in_days: float | None = Field(
        default=None, gt=0, le=_MAX_LIFE_DAYS, description="Absent: it never expires."
    )
    limits: UseEntry | None = Field(
        default=None, description="What may be used with it; absent: as much as one likes."
    )


class RotateKeyRequest(_Body):
    """How long the old key goes on serving beside the new one."""

    overlap_s: float = Field(default=86_400.0, ge=0, le=MAX_OVERLAP_S)


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """One key. Its text is nowhere; `prefix` is how it begins. Times are UTC seconds."""

    id: str
    name: str
    prefix: str
    role: str
    routes: tuple[str, ...] | None  # None: every route
    may_pin: bool
    limits: Limits | None  # None: nothing is limited; money in nano-dollars
    state: str  # serves, expired, revoked
    created_s: float
    created_by: str
    expires_s: float | None
    revoked_s: float | None
    last_used_s: float | None
    replaces: str | None  # the id of the key that it was rotated from


class NewKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was just made; `key` is shown this once."""

    key: str
    view: KeyView


ANSWERS: dict[str, Any] = {
    "list_keys": list[KeyView],
    "create_key": NewKeyView,
    "rotate_key": NewKeyView,
    "revoke_key": list[KeyView],
}


@router.get("")
def list_keys(services: Services, _: Admin) -> Response:
    """Return every key that was ever made here, the newest first; not those of canary.yaml."""
    now_s = services.clock.now_s()
    return answer([_view(each, now_s) for each in services.keys.all()])


@router.post("")
def create_key(body: CreateKeyRequest, services: Services, caller: Admin) -> Response:
    """Make a key and return its text, which is kept nowhere; gateways know it within seconds."""
    lives_s = None if body.expires_in_days is None else body.expires_in_days * 86_400.0
    wish = KeyWish(body.name, body.role, body.routes, body.may_pin, lives_s, limits_of(body.limits))
    made = services.keys.create(wish, by=caller.name)
    services.audit.note(caller, "key.create", made.record.name, facts_of(made.record))
    return _new(made, services.clock.now_s())


@router.post("/{key_id}/rotate")
def rotate_key(key_id: str, body: RotateKeyRequest, services: Services, caller: Admin) -> Response:
    """Make a key like the one of this id, prefix or name, which expires after the overlap."""
    made = services.keys.rotate(key_id, overlap_s=body.overlap_s, by=caller.name)
    detail = facts_of(made.record) | {"overlap_s": body.overlap_s}
    services.audit.note(caller, "key.rotate", made.record.name, detail)
    return _new(made, services.clock.now_s())


@router.post("/{key_id}/revoke")
def revoke_key(key_id: str, services: Services, caller: Admin) -> Response:
    """End the key of this id or prefix, or every key of this name, at once."""
    ended = services.keys.revoke(key_id)
    for each in ended:
        services.audit.note(caller, "key.revoke", each.name, {"prefix": each.prefix})
    now_s = services.clock.now_s()
    return answer([_view(each, now_s) for each in ended])


def _new(made: NewKey, now_s: float) -> Response:
    return answer(NewKeyView(key=made.text, view=_view(made.record, now_s)))


def _view(record: KeyRecord, now_s: float) -> KeyView:
    def seconds(name: str) -> float | None:
        moment = getattr(record, name)
        return None if moment is None else float(moment.timestamp())

    return KeyView(
        id=record.id,
        name=record.name,
        prefix=record.prefix,
        role=record.role,
        routes=record.routes,
        may_pin=record.may_pin,
        limits=None if record.limits is None else msgspec.convert(record.limits, Limits),
        state=record.state_at(utc(now_s)),
        created_s=record.created_at.timestamp(),
        created_by=record.created_by,
        expires_s=seconds("expires_at"),
        revoked_s=seconds("revoked_at"),
        last_used_s=seconds("last_used_at"),
        replaces=record.replaces,
    )
