"""One rollout of the file with everything resolved."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_canary.decision.plan import Plan
from llm_canary.routing.table import Variant


class RolloutSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says about a rollout; its effective state is in SQL."""

    name: str
    route: str
    canary: Variant
    plan: Plan  # with the rollout's gates and those of the route's rubrics merged in
    fallback: bool = False  # a failed canary's request is answered by control
    eligible: dict[str, Any] = {}  # segment -> [allowed] or {"min": x, "max": y}
    protected: tuple[str, ...] = ()
    preflight: tuple[str, ...] = ()
