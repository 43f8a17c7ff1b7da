"""The ASGI application of the data plane: what an OpenAI client calls, and the health checks."""

from __future__ import annotations

from llm_canary.errors import MethodNotAllowed, NotFound, RequestError
from llm_canary.gateway.asgi import ClientLeft, Headers, Receive, Scope, Send, send_json
from llm_canary.gateway.dialects.chat import CHAT
from llm_canary.gateway.dialects.completions import COMPLETIONS
from llm_canary.gateway.dialects.dialect import Dialect
from llm_canary.gateway.dialects.embeddings import EMBEDDINGS
from llm_canary.gateway.dialects.messages import MESSAGES
from llm_canary.gateway.dialects.responses import RESPONSES
from llm_canary.gateway.errors import (
    INTERNAL_ERROR,
    log_internal_error,
    send_error,
    send_refusal,
)
from llm_canary.gateway.feedback import serve_feedback, serve_outcomes
from llm_canary.gateway.models import PREFIX, serve_model, serve_models
from llm_canary.gateway.other import is_relayed, serve_other
from llm_canary.gateway.serve import serve_inference
from llm_canary.gateway.state import GatewayState

DIALECTS: dict[str, Dialect] = {
    f"/v1{dialect.path}": dialect
    for dialect in (CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS, MESSAGES)
}
_READ = ("GET", "HEAD")
METHODS: dict[str, tuple[str, ...]] = dict.fromkeys(DIALECTS, ("POST",)) | {
    f"/v1{CHAT.path}": ("GET", "POST"),  # GET lists the stored ones
    "/v1/models": _READ,
    "/v1/feedback": ("POST", "PUT", "DELETE", "OPTIONS"),
    "/v1/outcomes": ("POST",),
    "/healthz": _READ,
    "/readyz": _READ,
}


class GatewayApp:
    """Serves the data plane; knows no lifespan, its owner starts and closes the state."""

    def __init__(self, state: GatewayState) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; what is refused is refused in OpenAI's shape."""
        dialect = DIALECTS.get(scope["path"])
        if dialect is not None and scope["method"] == "POST":
            await serve_inference(self._state, dialect, scope, receive, send)
            return
        try:
            await self._serve(scope, receive, send)
        except RequestError as refusal:
            await send_refusal(send, refusal, _allow_header(refusal, scope["path"]))
        except ClientLeft:
            return
        except Exception as error:  # noqa: BLE001 - the edge of the data plane
            log_internal_error(scope["path"], error)
            await send_error(send, 500, INTERNAL_ERROR, code="internal_error")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method, state = scope["path"], scope["method"], self._state
        allowed = METHODS.get(path)
        if allowed is None:
            if path.startswith(PREFIX) and method in _READ:
                await serve_model(state, scope, receive, send)
            elif is_relayed(scope):
                await serve_other(state, scope, receive, send)
            else:
                raise NotFound(f"there is nothing for {method} at {path[:80]}")
        elif method not in allowed:
            raise MethodNotAllowed(f"{path[:80]} takes {', '.join(allowed)}, not {method}")
        elif path in DIALECTS:
            await serve_other(state, scope, receive, send)
        elif path == "/v1/feedback":
            await serve_feedback(state, scope, receive, send)
        elif path == "/v1/outcomes":
            await serve_outcomes(state, scope, receive, send)
        elif path == "/v1/models":
            await serve_models(state, scope, send)
        elif path == "/healthz":
            await send_json(send, 200, {"status": "ok"})
        else:
            table = state.in_force().table
            ready = {"status": "ready", "config_hash": table.config_hash, "version": table.version}
            await send_json(send, 200, ready)


def _allow_header(refusal: RequestError, path: str) -> Headers:
    if isinstance(refusal, MethodNotAllowed):
        return [(b"allow", ", ".join(METHODS[path]).encode())]
    return []
