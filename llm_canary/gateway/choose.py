"""Which variant a request gets: a pin, an earlier answer it continues, or the hash of its unit.

`llm-canary explain` asks the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from llm_canary.errors import Forbidden, InvalidRequest
from llm_canary.gateway.continuations import Served
from llm_canary.gateway.dialects.request import InferenceRequest
from llm_canary.gateway.snapshot import CompiledRoute
from llm_canary.routing.assign import (
    Assignment,
    Unit,
    assign,
    conversation_unit,
    find_unit,
    header_text,
)
from llm_canary.routing.segment import is_eligible
from llm_canary.routing.table import Anonymous, Reason, Role, Split

_MAX_SHOWN = 80


class Asked(NamedTuple):
    """What of a request its variant can depend on."""

    headers: Mapping[bytes, bytes]
    request: InferenceRequest
    at_s: float
    first_user_text: Callable[[], str]
    key: str  # of the caller: conversations of two apps are two
    may_pin: bool
    secret: bytes


class Kept(NamedTuple):
    """The arm of a request that failed: its retry gets the same, also when a ramp lies between."""

    assignment: Assignment
    split: Split

    def belongs_to(self, split: Split | None) -> bool:
        """Say whether the rollout still runs; after a rollback nobody goes back to the canary."""
        return split is not None and split.rollout_id == self.split.rollout_id


def choose(route: CompiledRoute, asked: Asked, previous: Served | None) -> Assignment:
    """Return the arm of a request; `previous` made the response that it continues, if any.

    Raises Forbidden or InvalidRequest for a pin that cannot be.
    """
    pin = _pin(route, asked)
    assignment = assign(
        route.split,
        unit_of(route, asked),
        pin=pin,
        is_eligible=pin is not None or is_eligible_for(route, asked),
    )
    if previous is None or pin is not None:
        return assignment
    role = _role_of(route, previous)
    if role is assignment.role:
        return assignment
    # A ramp has moved the unit in the middle of a conversation that only the other arm remembers.
    return Assignment(
        role=role,
        reason=Reason.PREVIOUS_RESPONSE,
        eligible=False,
        bucket=assignment.bucket,
        unit=assignment.unit,
        unit_source=assignment.unit_source,
    )


def unit_of(route: CompiledRoute, asked: Asked) -> Unit | None:
    """Return who is assigned; None = anonymous, and anonymous requests go to control."""
    unit = find_unit(route.sources, asked.headers, asked.request.value)
    if unit is not None or route.route.anonymous is Anonymous.CONTROL:
        return unit
    return conversation_unit(asked.secret, asked.key, asked.request.opening())


def is_eligible_for(route: CompiledRoute, asked: Asked) -> bool:
    """Say whether the rollout's rules let the request take part."""
    split = route.route.split
    if split is None or not split.eligible:
        return True
    return is_eligible(split.eligible, eligible_values(route, asked))


def eligible_values(route: CompiledRoute, asked: Asked) -> dict[str, str | None]:
    """Return the value of each segment that the rollout's rules look at."""
    return {
        segment.name: segment.value(asked.headers, asked.at_s, asked.first_user_text)
        for segment in route.eligible_segments
    }


def _pin(route: CompiledRoute, asked: Asked) -> Role | None:
    value = asked.headers.get(b"x-canary-pin")
    if not value:
        return None
    if not asked.may_pin:
        raise Forbidden(
            "this API key may not pin a variant; leave x-canary-pin out or give it `pin: true`",
            param="x-canary-pin",
            code="pin_not_allowed",
        )
    wanted = header_text(value)
    role = route.pins.get(wanted)
    if role is None:
        raise InvalidRequest(
            f"x-canary-pin {wanted[:_MAX_SHOWN]!r} is no variant of route {route.route.name!r} at "
            f"present; use {' or '.join(role.value for role in route.variants)}, or a variant's id",
            param="x-canary-pin",
            code="unknown_variant",
        )
    return role


def _role_of(route: CompiledRoute, previous: Served) -> Role:
    """Return the role that the variant of an earlier answer has now.

    A canary of a rollout that is over is either control by now, or gone.
    """
    split = route.route.split
    if split is not None and split.rollout_id == previous.rollout_id:
        return Role(previous.role)
    return Role.CONTROL
