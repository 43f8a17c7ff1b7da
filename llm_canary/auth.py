"""Who may do what: roles, permissions, and the form and hash of API keys. Pure; no storage here."""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec

from llm_canary.errors import Forbidden

KEY_BEGINS = "lc_"
_BLOCK_BYTES = 64
SHOWN_CHARS = 11  # of a key: what begins every key, and eight characters that tell them apart


class AccessRole(StrEnum):
    """What a key or a person is for."""

    APP = "app"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Permission(StrEnum):
    """What an endpoint or page asks for."""

    SERVE = "serve"  # send requests, feedback and outcomes through the gateway
    REVIEW = "review"  # grade answers; sees neither arm nor judge
    READ = "read"  # see rollouts, decisions, answers and settings
    OPERATE = "operate"  # change rollouts, adjudicate, freeze datasets
    ADMINISTER = "administer"  # keys, accounts, audit


_MAY: dict[AccessRole, frozenset[Permission]] = {
    AccessRole.APP: frozenset({Permission.SERVE}),
    AccessRole.REVIEWER: frozenset({Permission.REVIEW}),
    AccessRole.OPERATOR: frozenset(Permission) - {Permission.ADMINISTER},
    AccessRole.ADMIN: frozenset(Permission),
}


class PrincipalKind(StrEnum):
    """How somebody has shown who they are."""

    LOCAL = "local"  # nobody had to: only this machine may call
    PERSON = "person"
    KEY = "key"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts; `routes` None = every route."""

    name: str
    role: AccessRole
    kind: PrincipalKind
    routes: tuple[str, ...] | None = None

    def may(self, permission: Permission) -> bool:
        """Say whether the role allows it."""
        return permission in _MAY[self.role]

    def require(self, permission: Permission) -> None:
        """Raise Forbidden unless the role allows it."""
        if not self.may(permission):
            able = ", ".join(role for role in AccessRole if permission in _MAY[role])
            raise Forbidden(
                f"{self.name!r} has the role {self.role}, which may not {permission}; {able} may"
            )


LOCAL = Principal(name="local", role=AccessRole.ADMIN, kind=PrincipalKind.LOCAL)


def may(role: AccessRole, permission: Permission) -> bool:
    """Say whether the role allows it."""
    return permission in _MAY[role]


def key_text(identity: str, secret: str) -> str:
    """Return the text of a key: `lc_`, eight characters that are shown, and the secret."""
    return f"{KEY_BEGINS}{identity[:8]}_{secret}"


def shown_part(key: str) -> str:
    """Return what may be shown of a key."""
    return key[:SHOWN_CHARS]


def key_hash(server_secret: bytes, key: str) -> str:
    """Return the HMAC-SHA256 of a key: what is stored, useless without the server's secret."""
    return KeyHasher(server_secret).digest(key).hex()


class Hmac:
    """HMAC-SHA256 under one secret; the secret's own part is done once (RFC 2104).

    A third of the time of `hmac.digest`, which the gateway would spend at each request.
    """

    def __init__(self, secret: bytes) -> None:
        block = hashlib.sha256(secret).digest() if len(secret) > _BLOCK_BYTES else secret
        block = block.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def of(self, data: bytes) -> bytes:
        """Return the HMAC of `data`."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()


class KeyHasher:
    """HMAC-SHA256 of API keys under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._hmac = Hmac(secret).of

    def digest(self, key: str) -> bytes:
        """Return the hash of a key."""
        return self._hmac(key.encode(errors="surrogatepass"))
