"""Who is calling."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llm_canary.auth import Permission, Principal, PrincipalKind
from llm_canary.clock import utc
from llm_canary.errors import Unauthorized
from llm_canary.gateway.asgi import Scope
from llm_canary.gateway.guard import check_local
from llm_canary.gateway.keys import Caller, GatewayKey
from llm_canary.gateway.snapshot import Snapshot
from llm_canary.ids import uuid7
from llm_canary.telemetry.events import Event, KeyUseEvent

_BEARER = "bearer "
_NOTE_EVERY_S = 60.0


def authenticate(
    snapshot: Snapshot,
    scope: Scope,
    headers: Mapping[bytes, bytes],
    now_s: float,
    record: Callable[[Event], object],
) -> Caller:
    """Return the caller; raise Unauthorized, or Forbidden for strangers to a keyless gateway.

    `record` is handed the use of a stored key, at most once a minute.
    """
    value = headers.get(b"authorization", b"").decode("latin-1")
    token = value[len(_BEARER) :].strip() if value[: len(_BEARER)].lower() == _BEARER else ""
    if snapshot.is_keyless:
        check_local(scope, headers)
        return Caller(None, token, True)
    if not token:
        raise Unauthorized("no API key came with the request; send `Authorization: Bearer <key>`")
    key = snapshot.key_of(token)
    if key is None:
        raise Unauthorized("the API key is not one of this gateway's; check it")
    if now_s >= key.serves_until_s:
        _refuse(key, now_s)
    if now_s >= key.noted_s + _NOTE_EVERY_S:
        key.noted_s = now_s
        record(KeyUseEvent(id=uuid7(), key_id=key.id, at_s=now_s))
    return key.caller


def _refuse(key: GatewayKey, now_s: float) -> None:
    """Raise what is wrong with a key that is known but serves no more, or never did."""
    if key.is_revoked:
        raise Unauthorized(f"the API key {key.name!r} was revoked; ask for a new one")
    if key.expires_s is not None and now_s >= key.expires_s:
        raise Unauthorized(
            f"the API key {key.name!r} expired at {utc(key.expires_s):%Y-%m-%d %H:%M} UTC; "
            "ask for a new one"
        )
    principal = Principal(name=key.name, role=key.role, kind=PrincipalKind.KEY)
    principal.require(Permission.SERVE)
