"""Says which variant a request gets, and why, by the functions that serve it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_canary.gateway.choose import Asked, choose, eligible_values
from llm_canary.gateway.dialects.dialect import Dialect
from llm_canary.gateway.keys import Caller
from llm_canary.gateway.serve import model_not_found
from llm_canary.gateway.snapshot import CompiledRoute, Snapshot
from llm_canary.routing.assign import Assignment
from llm_canary.routing.segment import is_eligible
from llm_canary.routing.table import BUCKETS, Reason, Role


class Rule(msgspec.Struct, frozen=True):
    """One rule of who may take part in a rollout, and what the request says to it."""

    segment: str
    rule: Any  # allowed values, or {"min": x, "max": y}
    value: str | None  # None: the request does not tell it
    holds: bool


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes."""

    model: str  # as the request names it
    route: str | None  # None: no route, relayed untouched to the default upstream
    upstream: str
    sent_model: str
    why: str
    rollout: str | None = None
    stage: str | None = None
    share: float | None = None
    canary_buckets: int | None = None  # the canary has the buckets below
    buckets: int = BUCKETS
    unit: str | None = None  # in clear: this is for whoever has sent it
    unit_source: str | None = None
    bucket: int | None = None
    segments: dict[str, str | None] = {}
    rules: tuple[Rule, ...] = ()
    variant: str | None = None  # "control" or "canary"
    variant_id: str | None = None  # as x-canary-variant names it
    reason: str | None = None  # as the row has it
    is_compared: bool = False
    prompt: str | None = None
    params: dict[str, Any] = {}


def explain(
    snapshot: Snapshot,
    dialect: Dialect,
    body: bytes,
    headers: Mapping[bytes, bytes],
    caller: Caller,
    *,
    at_s: float,
) -> Explanation:
    """Return where the request goes, which `caller` sends at `at_s` seconds since the epoch.

    Raises what the gateway would refuse it with. Two things a process knows only while it serves:
    that a request is a retry, and who made the response that it continues.
    """
    request = dialect.read(body)
    route = snapshot.routes.get(request.model)
    if route is not None and caller.may_use(request.model):
        asked = Asked(
            headers=headers,
            request=request,
            at_s=at_s,
            first_user_text=request.first_user_text,
            key=caller.name or caller.token,
            may_pin=caller.may_pin,
            secret=snapshot.secret,
        )
        return _of_route(route, asked)
    upstream = snapshot.table.default_upstream
    if upstream is None or caller.routes is not None:
        raise model_not_found(request.model, snapshot, caller)
    return Explanation(
        model=request.model,
        route=None,
        upstream=upstream,
        sent_model=request.model,
        why="the model is no route; default_upstream gets it untouched",
    )


def _of_route(route: CompiledRoute, asked: Asked) -> Explanation:
    assignment = choose(route, asked, None)
    split, variant = route.route.split, route.variants[assignment.role]
    rules = _rules(route, asked)
    is_logged = not asked.headers.get(b"x-canary-no-log")
    return Explanation(
        model=asked.request.model,
        route=route.route.name,
        upstream=variant.variant.upstream,
        sent_model=variant.variant.model,
        why=_why(route, assignment, rules),
        rollout=split.rollout if split is not None else None,
        stage=split.stage if split is not None else None,
        share=split.share if split is not None else None,
        canary_buckets=route.split.canary_buckets if route.split is not None else None,
        unit=assignment.unit,
        unit_source=assignment.unit_source,
        bucket=assignment.bucket,
        segments={
            each.name: each.value(asked.headers, asked.at_s, asked.first_user_text)
            for each in (*route.segments, *route.eligible_segments)
        },
        rules=rules,
        variant=assignment.role.value,
        variant_id=variant.opaque_id,
        reason=assignment.reason.value,
        is_compared=assignment.eligible and is_logged,
        prompt=variant.variant.prompt,
        params=variant.variant.params,
    )


def _rules(route: CompiledRoute, asked: Asked) -> tuple[Rule, ...]:
    split = route.route.split
    if split is None:
        return ()
    values = eligible_values(route, asked)
    return tuple(
        Rule(name, rule, values.get(name), is_eligible({name: rule}, values))
        for name, rule in split.eligible.items()
    )


def _why(route: CompiledRoute, assignment: Assignment, rules: tuple[Rule, ...]) -> str:
    if assignment.reason is Reason.PIN:
        return "x-canary-pin asks for it; what is pinned is never compared"
    if route.split is None:
        return "no rollout is running on this route"
    if assignment.reason is Reason.ANONYMOUS:
        return "the request names no unit, and the route serves such requests by control"
    if assignment.reason is Reason.INELIGIBLE:
        failed = ", ".join(
            f"{rule.segment} is {'not told' if rule.value is None else repr(rule.value)}"
            for rule in rules
            if not rule.holds
        )
        return f"the rollout is not for this request: {failed}"
    limit = route.split.canary_buckets
    if assignment.role is Role.CANARY:
        return f"bucket {assignment.bucket} is one of the canary's, 0 to {limit - 1}"
    return f"bucket {assignment.bucket} is not below {limit}, where the canary's end"
