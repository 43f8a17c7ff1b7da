"""`POST /v1/chat/completions`: who asks, which route, which arm; then the relay."""

from __future__ import annotations

from collections.abc import Mapping

from llm_canary.errors import Forbidden, InvalidRequest, NotFound, RequestError
from llm_canary.gateway.access import authenticate
from llm_canary.gateway.asgi import ClientLeft, Receive, Scope, Send, header_map, read_body
from llm_canary.gateway.errors import (
    INTERNAL_ERROR,
    log_internal_error,
    send_error,
    send_refusal,
)
from llm_canary.gateway.exchange import CLIENT_LEFT_STATUS, Exchange
from llm_canary.gateway.record import event_of
from llm_canary.gateway.relay import Outgoing, relay
from llm_canary.gateway.request import ChatRequest
from llm_canary.gateway.snapshot import CompiledRoute, Snapshot
from llm_canary.gateway.state import GatewayState
from llm_canary.routing.assign import Unit, assign, conversation_unit, find_unit, header_text
from llm_canary.routing.segment import is_eligible
from llm_canary.routing.table import Anonymous, Role
from llm_canary.telemetry.events import Terminal

PATH = "/chat/completions"
_MAX_SHOWN = 80
_MAX_ROUTES_SHOWN = 20
_OFF = (b"", b"0", b"false", b"no")
# Everything else of a client's header stays here: keys and cookies above all, but also the headers
# that name users. These few belong to the conversation between client and provider.
_FORWARDED = (
    b"openai-beta",
    b"idempotency-key",
    b"traceparent",
    b"tracestate",
    b"x-client-request-id",
)


async def serve_chat(state: GatewayState, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one chat completion and record it, however it ends."""
    exchange = Exchange(header_map(scope), state.clock.now_s())
    try:
        try:
            exchange.snapshot = snapshot = state.in_force()
            exchange.caller = authenticate(snapshot, scope, exchange.headers)
            body = await read_body(receive, exchange.headers, snapshot.max_body_bytes)
            exchange.request = ChatRequest(body)
            outgoing = _prepare(exchange, snapshot, exchange.request)
        except RequestError as refusal:
            exchange.end(Terminal.REJECTED, status=refusal.status, code=refusal.code)
            await send_refusal(send, refusal, exchange.response_headers)
            return
        except ClientLeft:
            exchange.end(Terminal.REJECTED, status=CLIENT_LEFT_STATUS, code="client_cancelled")
            return
        await relay(exchange, outgoing, receive, send)
    except Exception as error:  # noqa: BLE001 - the relay's edge
        log_internal_error(PATH, error)
        has_started = exchange.status != 0
        exchange.end(Terminal.REJECTED, status=exchange.status or 500, code="internal_error")
        if not has_started:
            await send_error(send, 500, INTERNAL_ERROR, code="internal_error")
    finally:
        _record(state, exchange)


def _record(state: GatewayState, exchange: Exchange) -> None:
    """Hand the exchange to telemetry.

    The client has its answer by now. A quick event is made here: handing the interpreter to the
    telemetry thread and back costs more than it saves.
    """
    if exchange.is_quick_to_record:
        state.record(event_of(exchange))
    else:
        state.record(lambda: event_of(exchange), weight_bytes=exchange.weight_bytes)


def _prepare(exchange: Exchange, snapshot: Snapshot, request: ChatRequest) -> Outgoing:
    """Choose the variant and write the request for its upstream; raise RequestError."""
    exchange.no_log = exchange.headers.get(b"x-canary-no-log", b"").strip().lower() not in _OFF
    route = snapshot.routes.get(request.model)
    if route is None:
        return _prepare_default(exchange, snapshot, request)
    exchange.route = route
    pin = _pin(exchange, route)
    assignment = assign(
        route.split,
        _unit(exchange, snapshot, route, request),
        pin=pin,
        is_eligible=pin is not None or _is_eligible(exchange, route),
    )
    variant = route.variants[assignment.role]
    exchange.assignment = assignment
    exchange.variant = variant
    exchange.upstream = variant.variant.upstream
    exchange.model_sent = variant.variant.model
    exchange.response_headers.extend(variant.headers)
    add_usage = request.stream and not request.asks_for_usage()
    return Outgoing(
        wire=snapshot.wires[exchange.upstream],
        limits=snapshot.table.upstreams[exchange.upstream],
        path=PATH,
        body=request.rewritten(variant, add_usage=add_usage),
        headers=_forwarded(exchange.headers),
        strips_usage=add_usage,
    )


def _prepare_default(exchange: Exchange, snapshot: Snapshot, request: ChatRequest) -> Outgoing:
    """Relay a model that is no route untouched, where the file allows it."""
    name = snapshot.table.default_upstream
    if name is None:
        raise model_not_found(request.model, snapshot)
    exchange.upstream = name
    exchange.model_sent = request.model
    return Outgoing(
        wire=snapshot.wires[name],
        limits=snapshot.table.upstreams[name],
        path=PATH,
        body=request.body,
        headers=_forwarded(exchange.headers),
        strips_usage=False,
    )


def model_not_found(model: str, snapshot: Snapshot) -> NotFound:
    """Return the error that names the routes there are."""
    names = sorted(snapshot.routes)
    shown = ", ".join(names[:_MAX_ROUTES_SHOWN]) or "none"
    more = ", ..." if len(names) > _MAX_ROUTES_SHOWN else ""
    return NotFound(
        f"model {model[:_MAX_SHOWN]!r} is not a route of this gateway; routes: {shown}{more}",
        param="model",
        code="model_not_found",
    )


def _pin(exchange: Exchange, route: CompiledRoute) -> Role | None:
    value = exchange.headers.get(b"x-canary-pin")
    if not value:
        return None
    if exchange.caller is None or not exchange.caller.may_pin:
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


def _unit(
    exchange: Exchange, snapshot: Snapshot, route: CompiledRoute, request: ChatRequest
) -> Unit | None:
    unit = find_unit(route.sources, exchange.headers, request.value)
    if unit is not None or route.route.anonymous is Anonymous.CONTROL:
        return unit
    caller = exchange.caller
    # A named key may be rotated in the middle of a conversation.
    key = (caller.name or caller.token) if caller is not None else ""
    return conversation_unit(snapshot.secret, key, request.opening())


def _is_eligible(exchange: Exchange, route: CompiledRoute) -> bool:
    split = route.route.split
    if split is None or not split.eligible:
        return True
    read = exchange.first_user_text()
    values = {
        segment.name: segment.value(exchange.headers, exchange.at_s, read)
        for segment in route.eligible_segments
    }
    return is_eligible(split.eligible, values)


def _forwarded(headers: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return [(name, headers[name]) for name in _FORWARDED if name in headers]
