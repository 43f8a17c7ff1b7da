"""`GET /v1/models` and `GET /v1/models/{id}`: the routes."""

from __future__ import annotations

from typing import Any

from llm_canary.gateway.access import authenticate
from llm_canary.gateway.asgi import Scope, Send, header_map, send_json
from llm_canary.gateway.chat import model_not_found
from llm_canary.gateway.state import GatewayState

PREFIX = "/v1/models/"


async def serve_models(state: GatewayState, scope: Scope, send: Send) -> None:
    """List the routes."""
    snapshot = state.in_force()
    authenticate(snapshot, scope, header_map(scope))
    models = [_model(name) for name in sorted(snapshot.routes)]
    await send_json(send, 200, {"object": "list", "data": models})


async def serve_model(state: GatewayState, scope: Scope, send: Send) -> None:
    """Show one route."""
    snapshot = state.in_force()
    authenticate(snapshot, scope, header_map(scope))
    name = scope["path"].removeprefix(PREFIX)
    if name not in snapshot.routes:
        raise model_not_found(name, snapshot)
    await send_json(send, 200, _model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llm-canary"}
