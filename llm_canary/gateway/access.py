"""Who is calling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from llm_canary.errors import Unauthorized
from llm_canary.gateway.asgi import Scope
from llm_canary.gateway.guard import check_local
from llm_canary.gateway.snapshot import Snapshot

_BEARER = "bearer "


class Caller(NamedTuple):
    """The key that was used; without configured keys, whatever token came along."""

    name: str | None
    token: str
    may_pin: bool


def authenticate(snapshot: Snapshot, scope: Scope, headers: Mapping[bytes, bytes]) -> Caller:
    """Return the caller; raise Unauthorized, or Forbidden for strangers to a keyless gateway."""
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
    return Caller(key.name, token, key.may_pin)
