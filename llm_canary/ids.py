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
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76
    value |= ((random >> 68) & 0xFFF) << 64
    value |= 0b10 << 62
    value |= random & 0x3FFF_FFFF_FFFF_FFFF
    return f"{value:032x}"
