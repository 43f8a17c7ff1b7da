"""Identifiers: time-ordered UUIDs and the names of the domain."""

from __future__ import annotations

import os
import time
from typing import NewType

RouteName = NewType("RouteName", str)
RolloutId = NewType("RolloutId", str)
RequestId = NewType("RequestId", str)
UnitHash = NewType("UnitHash", str)


def uuid7() -> str:
    """Return a UUIDv7 (RFC 9562, section 5.7) as 32 hex digits; ids made later sort later."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(_random_bytes(), "big")
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76
    value |= ((random >> 68) & 0xFFF) << 64
    value |= 0b10 << 62
    value |= random & 0x3FFF_FFFF_FFFF_FFFF
    return f"{value:032x}"


_ID_BYTES = 10
_POOL_IDS = 512
_pool: list[bytes] = []
os.register_at_fork(after_in_child=_pool.clear)  # a child must not repeat its parent's ids


def _random_bytes() -> bytes:
    """Return ten bytes of the system's randomness, which is fetched for many ids at a time.

    The system call gives up the interpreter lock, and under load the event loop had to wait for the
    telemetry thread to hand it back, at each request.
    """
    while True:
        try:
            return _pool.pop()
        except IndexError:
            block = os.urandom(_ID_BYTES * _POOL_IDS)
            _pool.extend(block[i : i + _ID_BYTES] for i in range(0, len(block), _ID_BYTES))
