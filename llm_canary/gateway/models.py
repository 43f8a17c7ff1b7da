"""`GET /v1/models` and `GET /v1/models/{id}`: the routes.

A model that is no route is asked of the default upstream, where there is one.
"""

from __future__ import annotations

from typing import Any

from llm_canary.gateway.access import authenticate
from llm_canary.gateway.asgi import Receive, Scope, Send, header_map, send_json
from llm_canary.gateway.other import serve_other
from llm_canary.gateway.serve import model_not_found
from llm_canary.gateway.state import GatewayState

PREFIX = "/v1/models/"


async def serve_models(state: GatewayState, scope: Scope, send: Send) -> None:
    """List the routes."""
    snapshot = state.in_force()
    caller = authenticate(snapshot, scope, header_map(scope), state.clock.now_s(), state.record)
    models = [_model(name) for name in sorted(snapshot.routes) if caller.may_use(name)]
    await send_json(send, 200, {"object": "list", "data": models})


async def serve_model(state: GatewayState, scope: Scope, receive: Receive, send: Send) -> None:
    """Show one route, or what the default upstream says of the model."""
    snapshot = state.in_force()
    name = scope["path"].removeprefix(PREFIX)
    if name not in snapshot.routes:
        await serve_other(state, scope, receive, send)
        return
    caller = authenticate(snapshot, scope, header_map(scope), state.clock.now_s(), state.record)
    if not caller.may_use(name):
        raise model_not_found(name, snapshot, caller)
    await send_json(send, 200, _model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llm-canary"}
