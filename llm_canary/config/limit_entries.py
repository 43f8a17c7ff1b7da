"""The form of `limits` of a key and of a route."""

from __future__ import annotations

from pydantic import Field

from llm_canary.documents.entry import Entry
from llm_canary.routing.limits import Limits

_NANO = 1_000_000_000


class UseEntry(Entry):
    """What may be used; unset = as much as one likes."""

    requests_per_minute: int | None = Field(
        default=None, ge=1, le=10_000_000, description="requests per minute"
    )
    tokens_per_minute: int | None = Field(
        default=None, ge=1, le=10_000_000_000, description="tokens per minute, prompt and answer"
    )
    concurrent_streams: int | None = Field(
        default=None, ge=1, le=1_000_000, description="requests under way at once"
    )
    budget_usd_per_day: float | None = Field(
        default=None, gt=0, le=1_000_000, description="dollars per day (UTC)"
    )


def limits_of(entry: UseEntry | None) -> Limits | None:
    """Return the limits that are set, None when there are none."""
    if entry is None:
        return None
    usd = entry.budget_usd_per_day
    limits = Limits(
        requests_per_minute=entry.requests_per_minute,
        tokens_per_minute=entry.tokens_per_minute,
        concurrent_streams=entry.concurrent_streams,
        budget_nanousd_per_day=None if usd is None else max(1, round(usd * _NANO)),
    )
    return None if limits == Limits() else limits
