"""A secret as it may stay in memory: whatever shows it shows that it is one, and no more."""

from __future__ import annotations

HIDDEN = "(hidden)"


class Opaque(bytes):
    """Bytes that `repr`, `str`, logs and tracebacks do not show; `decode` and `hex` tell them.

    A kind of bytes, so that what hashes, compares or sends them pays nothing. They cannot be put
    into an f-string: it would hold `(hidden)` where somebody meant the secret.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        raise TypeError("a secret cannot be formatted; decode() it where it is really meant")


def text_of(secret: Opaque | None) -> str | None:
    """Return the secret as it is, for who needs it now and keeps it nowhere."""
    return None if secret is None else secret.decode()


def without(secret: Opaque | None, said: bytes) -> bytes:
    """Return what somebody else said without our secret, which some repeat in their errors."""
    return said.replace(secret, HIDDEN.encode()) if secret else said
