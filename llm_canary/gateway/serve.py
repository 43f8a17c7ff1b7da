"""One inference: who asks, which route, which arm; then the relay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from time import perf_counter

from msgspec import Raw

from llm_canary.errors import NotFound, RateLimited, RequestError
from llm_canary.gateway.access import authenticate
from llm_canary.gateway.asgi import (
    ClientLeft,
    Receive,
    Scope,
    Send,
    header_map,
    hop_by_hop,
    read_body,
)
from llm_canary.gateway.choose import Asked, Kept, choose
from llm_canary.gateway.continuations import Served
from llm_canary.gateway.dialects.dialect import Dialect
from llm_canary.gateway.dialects.embeddings import EMBEDDINGS
from llm_canary.gateway.dialects.request import InferenceRequest
from llm_canary.gateway.dialects.responses import RESPONSES
from llm_canary.gateway.errors import (
    INTERNAL_ERROR,
    error_body,
    log_internal_error,
    send_error,
    send_refusal,
)
from llm_canary.gateway.exchange import CLIENT_LEFT_STATUS, Exchange
from llm_canary.gateway.keys import Caller
from llm_canary.gateway.limits import Moment, hold
from llm_canary.gateway.record import Unredacted, event_of
from llm_canary.gateway.relay import Outgoing, relay
from llm_canary.gateway.snapshot import CompiledRoute, CompiledVariant, Snapshot
from llm_canary.gateway.state import GatewayState
from llm_canary.providers.wire import Outbound
from llm_canary.routing.table import Role
from llm_canary.telemetry.events import Continuation, InferenceEvent, Terminal

_MAX_SHOWN = 80
_MAX_ROUTES_SHOWN = 20
_TRUE = Raw(b"true")
_CHARS_PER_TOKEN = 4.0
_MOST_TOKENS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_ANSWER_TOKENS = 500  # where the request names no most
_ANSWER_TOKENS_AT_MOST = 1_000_000
_OFF = (b"", b"0", b"false", b"no")
# Everything else of a client's header stays here: keys and cookies above all, but also the headers
# that name users. These few belong to the conversation between client and provider.
_FORWARDED = (
    b"openai-beta",
    b"anthropic-beta",
    b"anthropic-version",
    b"idempotency-key",
    b"traceparent",
    b"tracestate",
    b"x-client-request-id",
)


async def serve_inference(
    state: GatewayState, dialect: Dialect, scope: Scope, receive: Receive, send: Send
) -> None:
    """Serve one request to an endpoint that the gateway understands."""
    exchange = Exchange(dialect.name, dialect, header_map(scope), state.clock.now_s())

    async def run() -> None:
        snapshot = admit(state, exchange, scope)
        body = await read_body(receive, exchange.headers, snapshot.max_body_bytes)
        exchange.request = request = dialect.read(body)
        outgoing, fallback = _prepare(state, exchange, snapshot, request)
        await relay(state, exchange, outgoing, fallback, receive, send)

    await serve(state, exchange, send, run)


def admit(state: GatewayState, exchange: Exchange, scope: Scope) -> Snapshot:
    """Return the snapshot that the exchange is served by; raise RequestError for strangers."""
    exchange.snapshot = snapshot = state.in_force()
    exchange.caller = authenticate(snapshot, scope, exchange.headers, exchange.at_s, state.record)
    if not snapshot.is_keyless:
        exchange.sign_feedback_url(snapshot.feedback_tokens)
    exchange.no_log = exchange.headers.get(b"x-canary-no-log", b"").strip().lower() not in _OFF
    return snapshot


async def serve(
    state: GatewayState, exchange: Exchange, send: Send, run: Callable[[], Awaitable[None]]
) -> None:
    """Run an exchange to its end, whatever happens, and record it."""
    shape = exchange.dialect.error_body if exchange.dialect is not None else error_body
    try:
        await run()
    except RequestError as refusal:
        exchange.end(Terminal.REJECTED, status=refusal.status, code=refusal.code)
        await send_refusal(send, refusal, exchange.response_headers, shape)
    except ClientLeft:
        exchange.end(Terminal.REJECTED, status=CLIENT_LEFT_STATUS, code="client_cancelled")
    except Exception as error:  # noqa: BLE001 - the relay's edge
        log_internal_error(exchange.endpoint, error)
        has_started = exchange.status != 0
        exchange.end(Terminal.REJECTED, status=exchange.status or 500, code="internal_error")
        if not has_started:
            await send_error(send, 500, INTERNAL_ERROR, code="internal_error")
    finally:
        _end(state, exchange)


def _end(state: GatewayState, exchange: Exchange) -> None:
    """Free what the exchange has taken, and remember what a later request may ask for.

    The client has its answer by now. Its event is made when the others whose turn it is have
    theirs, too, and before another request is served: one event after the other finds code and
    data in the processor's caches, which saves a seventh of the time of a request.
    """
    if exchange.hold is not None:
        exchange.hold.end()
    _remember(state, exchange)
    asyncio.get_running_loop().call_soon(_record, state, exchange)


def _record(state: GatewayState, exchange: Exchange) -> None:
    """Hand the exchange to telemetry.

    A quick event is made here: handing the interpreter to the telemetry thread and back costs more
    than it saves. What may have to be redacted goes there.
    """
    weight_bytes = exchange.weight_bytes
    if exchange.is_quick_to_record:
        event = _event(state, exchange)
        if isinstance(event, InferenceEvent):
            state.record(event)
        else:
            state.record(event, weight_bytes=weight_bytes, without_text=lambda: event.event)
    else:
        state.record(
            lambda: _finished(_event(state, exchange)),
            weight_bytes=weight_bytes,
            without_text=lambda: _finished(_event(state, exchange, keeps_text=False)),
        )


def _event(
    state: GatewayState, exchange: Exchange, *, keeps_text: bool = True
) -> InferenceEvent | Unredacted:
    made = event_of(exchange, state.token_rates, keeps_text=keeps_text)
    if exchange.hold is not None:
        event = made if isinstance(made, InferenceEvent) else made.event
        prompt, completion = event.prompt_tokens, event.completion_tokens
        tokens = None if prompt is None or completion is None else prompt + completion
        exchange.hold.settle(tokens, event.cost_nanousd, state.clock.now_s())
    return made


def _finished(event: InferenceEvent | Unredacted) -> InferenceEvent:
    return event if isinstance(event, InferenceEvent) else event()


def _remember(state: GatewayState, exchange: Exchange) -> None:
    request, assignment = exchange.request, exchange.assignment
    if (response_id := _kept_id(exchange)) is not None and exchange.upstream is not None:
        role = exchange.variant.role if exchange.variant is not None else Role.CONTROL
        split = exchange.split
        served = Served(
            upstream=exchange.upstream,
            route=exchange.route.route.name if exchange.route is not None else None,
            rollout_id=split.rollout_id if split is not None else None,
            role=role.value,
            key=exchange.caller.name if exchange.caller is not None else None,
        )
        state.continuations.put(response_id, served)
    if request is None or assignment is None or assignment.unit is None:
        return
    if exchange.is_retried_by_clients and exchange.split is not None:
        kept = Kept(assignment, exchange.split)
        state.retries.keep(assignment.unit, request.body, kept, exchange.started)


def _kept_id(exchange: Exchange) -> str | None:
    """Return the id of an answer that the provider keeps, so that a client may come back to it."""
    request, dialect = exchange.request, exchange.dialect
    if request is None or dialect is None or exchange.status != 200:
        return None
    if dialect is not RESPONSES and request.fields.get("store") != _TRUE:
        return None
    if exchange.tap is not None:
        return exchange.tap.first_id()
    return exchange.response_id


def _prepare(
    state: GatewayState, exchange: Exchange, snapshot: Snapshot, request: InferenceRequest
) -> tuple[Outgoing, Callable[[], Outgoing] | None]:
    """Choose the variant and write the request for its upstream; raise RequestError.

    The second value makes the request for control, should a canary fail whose rollout allows that.
    """
    route, caller = snapshot.routes.get(request.model), exchange.caller
    if route is None or (caller is not None and not caller.may_use(request.model)):
        route = None
    limit(exchange, route, request)
    if route is None:
        return _prepare_default(exchange, snapshot, request), None
    variant = assign_variant(state, exchange, snapshot, route, request)
    write = partial(_outgoing, exchange, snapshot, request)
    fallback = None
    if variant.role is Role.CANARY and exchange.split is not None and exchange.split.fallback:
        fallback = partial(write, route.variants[Role.CONTROL])
    return write(variant), fallback


def limit(
    exchange: Exchange, route: CompiledRoute | None, request: InferenceRequest | None
) -> None:
    """Take what the request needs of its key's and its route's limits; raise RateLimited.

    This comes before an arm is chosen, so that no arm can be limited more than the other.
    """
    of_key = exchange.caller.meter if exchange.caller is not None else None
    of_route = route.meter if route is not None else None
    if of_key is None and of_route is None:
        return
    meters = tuple([meter for meter in (of_key, of_route) if meter is not None])
    tokens = 0.0
    if request is not None and [meter for meter in meters if meter.tokens is not None]:
        tokens = expected_tokens(exchange, request)
    try:
        # Of now, not of when the header came: its body may have taken a minute.
        exchange.hold = hold(meters, tokens, Moment(perf_counter(), exchange.at_s))
    except RateLimited as refusal:
        exchange.response_headers.extend(refusal.headers)
        raise
    exchange.response_headers.extend(exchange.hold.headers)


def expected_tokens(exchange: Exchange, request: InferenceRequest) -> float:
    """Return what is reserved for a request until its usage is known."""
    if exchange.dialect is None:
        return 0.0
    prompt = sum(map(len, request.texts())) / _CHARS_PER_TOKEN
    if exchange.dialect is EMBEDDINGS:
        return prompt
    most = _ANSWER_TOKENS
    for name in _MOST_TOKENS:
        if (
            name in request.fields
            and isinstance(asked := request.value((name,)), int)
            and asked > 0
        ):
            most = asked
            break
    return prompt + min(most, _ANSWER_TOKENS_AT_MOST)


def assign_variant(
    state: GatewayState,
    exchange: Exchange,
    snapshot: Snapshot,
    route: CompiledRoute,
    request: InferenceRequest,
) -> CompiledVariant:
    """Choose the variant of `route` for the exchange and note why."""
    exchange.route, exchange.split = route, route.route.split
    caller = exchange.caller
    asked = Asked(
        headers=exchange.headers,
        request=request,
        at_s=exchange.at_s,
        first_user_text=exchange.first_user_text(),
        # A named key may be rotated in the middle of a conversation.
        key=(caller.name or caller.token) if caller is not None else "",
        may_pin=caller is not None and caller.may_pin,
        secret=snapshot.secret,
    )
    previous = None
    if (response_id := request.previous_response_id()) is not None:
        previous = state.continuations.get(response_id)
        if previous is not None and caller is not None and not caller.owns(previous.key):
            raise answer_not_found(response_id)
        exchange.continuation = Continuation.MISS if previous is None else Continuation.HIT
    assignment = choose(route, asked, previous)
    if b"x-stainless-retry-count" in exchange.headers and assignment.unit is not None:
        kept = state.retries.find(assignment.unit, request.body, exchange.started)
        if kept is not None and kept.belongs_to(route.route.split):
            # A ramp between a failure and its retry must not move the user.
            assignment, exchange.split = kept.assignment, kept.split
    exchange.assignment = assignment
    variant = route.variants[assignment.role]
    exchange.response_headers.extend(variant.headers)
    return variant


def _outgoing(
    exchange: Exchange, snapshot: Snapshot, request: InferenceRequest, variant: CompiledVariant
) -> Outgoing:
    exchange.variant = variant
    exchange.upstream = upstream = variant.variant.upstream
    exchange.model_sent = variant.variant.model
    add_usage = request.stream and not request.asks_for_usage()
    return Outgoing(
        wire=snapshot.wires[upstream],
        limits=snapshot.table.upstreams[upstream],
        outbound=Outbound(
            path=path_of(exchange),
            body=request.rewritten(variant, add_usage=add_usage),
            headers=forwarded(exchange.headers),
            model=variant.variant.model,
            stream=request.stream,
        ),
        strips_usage=add_usage,
    )


def path_of(exchange: Exchange) -> str:
    """Return the path below an upstream's base_url."""
    return exchange.dialect.path if exchange.dialect is not None else ""


def _prepare_default(exchange: Exchange, snapshot: Snapshot, request: InferenceRequest) -> Outgoing:
    """Relay a model that is no route untouched, where the file allows it."""
    name, caller = snapshot.table.default_upstream, exchange.caller
    if name is None or (caller is not None and caller.routes is not None):
        raise model_not_found(request.model, snapshot, caller)
    exchange.upstream = name
    exchange.model_sent = request.model
    return Outgoing(
        wire=snapshot.wires[name],
        limits=snapshot.table.upstreams[name],
        outbound=Outbound(
            path=path_of(exchange),
            body=request.body,
            headers=forwarded(exchange.headers),
            model=request.model,
            stream=request.stream,
        ),
        strips_usage=False,
    )


def model_not_found(model: str, snapshot: Snapshot, caller: Caller | None) -> NotFound:
    """Return the error that names the routes there are for the caller."""
    names = sorted(name for name in snapshot.routes if caller is None or caller.may_use(name))
    shown = ", ".join(names[:_MAX_ROUTES_SHOWN]) or "none"
    more = ", ..." if len(names) > _MAX_ROUTES_SHOWN else ""
    return NotFound(
        f"model {model[:_MAX_SHOWN]!r} is not a route of this gateway; routes: {shown}{more}",
        param="model",
        code="model_not_found",
    )


def answer_not_found(response_id: str) -> NotFound:
    """Return the error for a stored answer that is not there, or is another key's."""
    return NotFound(
        f"no stored answer has the id {response_id[:_MAX_SHOWN]!r}", code="response_not_found"
    )


def forwarded(headers: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Return what of a client's header goes on to the upstream."""
    named = hop_by_hop(headers.get(b"connection", b""))
    return [(name, headers[name]) for name in _FORWARDED if name in headers and name not in named]
