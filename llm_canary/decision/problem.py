"""Something that forbids promotion."""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that forbids promotion; `metric` when it touches that one only."""

    code: str
    text: str
    needs_person: bool
    metric: str | None = None
