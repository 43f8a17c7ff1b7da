"""What a key or a route may use, and what has been spent. Pure values."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What may be used; None = as much as one likes."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_streams: int | None = None  # requests under way
    budget_nanousd_per_day: int | None = None


class Spending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a day (UTC) has cost by now, in nano-dollars: how gateways hear of one another."""

    day: int  # since the epoch
    keys: dict[str, int]
    routes: dict[str, int]
    until_s: float  # what the gateways beside this file have told up to here is in the sums
