"""Every other `/v1` path: relayed as it is, to the upstream that it belongs to.

That is, in this order: the upstream of the variant, if a JSON body names a route as its `model`;
the upstream that made the response or completion whose id stands in the path; the file's
`default_upstream`. Without any of these it is refused: the gateway's key at a provider is not
everyone's.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from msgspec import Raw

from llm_canary.errors import Forbidden, InvalidRequest, NotFound
from llm_canary.gateway.asgi import Receive, Scope, Send, header_map, read_body
from llm_canary.gateway.continuations import Served
from llm_canary.gateway.dialects.request import InferenceRequest, encode
from llm_canary.gateway.exchange import Exchange
from llm_canary.gateway.keys import Caller
from llm_canary.gateway.relay import Outgoing, relay
from llm_canary.gateway.serve import (
    admit,
    answer_not_found,
    assign_variant,
    forwarded,
    limit,
    model_not_found,
    serve,
)
from llm_canary.gateway.snapshot import Snapshot
from llm_canary.gateway.state import GatewayState
from llm_canary.providers.wire import Outbound

_PREFIX = "/v1"
_WORD = re.compile(r"[a-z_]{2,32}")
_STORED = re.compile(r"/v1/(?:responses|chat/completions)/([^/]+)(?:/.*)?")
_MODEL = re.compile(r"/v1/models/.+")
_MAX_ENDPOINT_CHARS = 64
_LISTS = (("GET", "/v1/chat/completions"), ("GET", "/v1/responses"))
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class OtherRequest(InferenceRequest):
    """A JSON body of which only the model is understood."""

    __slots__ = ()
    needs_model = False

    def _read_stream(self) -> bool:
        return False


async def serve_other(state: GatewayState, scope: Scope, receive: Receive, send: Send) -> None:
    """Relay one request that the gateway does not understand."""
    path: str = scope["path"]
    exchange = Exchange(_endpoint(scope), None, header_map(scope), state.clock.now_s())

    async def run() -> None:
        snapshot = admit(state, exchange, scope)
        body = await read_body(receive, exchange.headers, snapshot.max_body_bytes)
        kind = exchange.headers.get(b"content-type", b"")
        model = None
        if scope["method"] == "POST" and kind.startswith(b"application/json") and body:
            body, model = _routed(state, exchange, snapshot, body)
        if exchange.upstream is None:
            exchange.upstream = _upstream(state, exchange, snapshot, scope)
            limit(exchange, None, exchange.request)
            exchange.model_sent = model
        outbound = Outbound(
            path=quote(path[len(_PREFIX) :], safe="/:@-._~!$&'()*+,;="),
            body=body,
            headers=forwarded(exchange.headers),
            model=model,
            method=scope["method"],
            query=scope["query_string"].decode("latin-1"),
            content_type=kind or b"application/json",
        )
        outgoing = Outgoing(
            wire=snapshot.wires[exchange.upstream],
            limits=snapshot.table.upstreams[exchange.upstream],
            outbound=outbound,
            strips_usage=False,
        )
        await relay(state, exchange, outgoing, None, receive, send)

    await serve(state, exchange, send, run)


def is_relayed(scope: Scope) -> bool:
    """Say whether a request that no endpoint of the gateway takes is to be relayed."""
    path = scope["path"]
    return (
        scope["method"] in _METHODS
        and path.startswith(_PREFIX + "/")
        # A path that an upstream may read as another one would pass by that endpoint's rules.
        and not any(part in {"", ".", ".."} for part in path[len(_PREFIX) + 1 :].split("/"))
    )


def _routed(
    state: GatewayState, exchange: Exchange, snapshot: Snapshot, body: bytes
) -> tuple[bytes, str | None]:
    """Return the body for the variant of the route that it names, else as it is."""
    try:
        request = OtherRequest(body)
    except InvalidRequest:
        return body, None  # the provider will say what it thinks of it
    exchange.request = request
    route, caller = snapshot.routes.get(request.model), exchange.caller
    if caller is not None and not caller.may_use(request.model):
        # Also for a model that is no route: those are not there for a key of few routes.
        raise model_not_found(request.model, snapshot, caller)
    if route is None:
        return body, request.model or None
    limit(exchange, route, request)
    exchange.variant = variant = assign_variant(state, exchange, snapshot, route, request)
    exchange.upstream = variant.variant.upstream
    exchange.model_sent = variant.variant.model
    fields: dict[str, Raw] = request.fields | {"model": variant.model}
    return encode(fields), variant.variant.model


def _upstream(state: GatewayState, exchange: Exchange, snapshot: Snapshot, scope: Scope) -> str:
    path, caller = scope["path"], exchange.caller
    stored = _STORED.fullmatch(path)
    served = state.continuations.get(stored[1]) if stored else None
    if stored and caller is not None and not _is_theirs(caller, served):
        raise answer_not_found(stored[1])
    if served is not None and served.upstream in snapshot.wires:
        return served.upstream
    is_limited = caller is not None and caller.routes is not None
    if snapshot.table.default_upstream is not None and not is_limited:
        if caller is not None and not caller.reads_all and (scope["method"], path) in _LISTS:
            raise Forbidden(
                "the provider lists stored answers of every key; an operator's key may see them"
            )
        return snapshot.table.default_upstream
    if _MODEL.fullmatch(path):
        raise model_not_found(path.removeprefix("/v1/models/"), snapshot, caller)
    raise NotFound(
        f"the gateway has no upstream for {path[:80]}: no route is named, the id is of no answer "
        "it has relayed, and the file has no default_upstream; set `default_upstream` to relay it",
        code="endpoint_not_supported",
    )


def _is_theirs(caller: Caller, served: Served | None) -> bool:
    """Say whether a stored answer is there for the caller.

    Whose an answer is that is not known here cannot be said: it is there for those who see all.
    """
    if served is None:
        return caller.reads_all
    return caller.owns(served.key) and (served.route is None or caller.may_use(served.route))


def _endpoint(scope: Scope) -> str:
    """Name what was asked for without the ids in it: "images.generations", "GET responses"."""
    parts = scope["path"].removeprefix(_PREFIX).split("/")
    name = ".".join(part for part in parts if _WORD.fullmatch(part))
    method = scope["method"]
    return (name if method == "POST" else f"{method} {name}")[:_MAX_ENDPOINT_CHARS]
