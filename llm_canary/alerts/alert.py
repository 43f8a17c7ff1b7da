"""One alert."""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import quote

import msgspec


class Severity(StrEnum):
    """How much harm waiting does."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody should know; `id` stays the same for as long as it lasts.

    Times are UTC seconds. `link` is a path of the pages.
    """

    id: str
    kind: str
    severity: Severity
    needs_person: bool  # it stays until somebody acts
    title: str
    text: str
    do: str = ""  # the way out
    since_s: float | None = None  # None: nobody knows
    rollout: str | None = None
    metric: str | None = None
    link: str = "/alerts"


def rollout_link(name: str, metric: str | None = None, attempt: int | None = None) -> str:
    """Return where a rollout is shown, or one of its metrics."""
    query = "" if attempt is None else f"?attempt={attempt}"
    anchor = "" if metric is None else f"#metric-{quote(metric, safe=':')}"
    return f"/rollouts/{quote(name, safe='')}{query}{anchor}"
