"""A simulated OpenAI-compatible upstream on loopback: honest answers, and faults on request.

What it does is chosen by the model name: `good`, `slow-50` (ms), `fail-30` (30 % of requests answer 500, by a hash of the body),
`nojson` (ignores response_format), `dear` (reports ten times the tokens), `says-80` (80 % of answers say where the parcel is), `dearsays-80`
(both).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

from aiohttp import web

from tests.support.loopback import LoopbackServer


class SimulatedUpstream(LoopbackServer):
    """`base_url` is what a canary.yaml needs; `seen` counts requests by model."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, int] = {}

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/chat/completions", self._chat)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body: dict[str, Any] = json.loads(raw)
        model = body["model"]
        self.seen[model] = self.seen.get(model, 0) + 1
        digest = hashlib.sha256(raw).digest()
        kind, _, number = model.partition("-")
        if kind == "slow":
            await asyncio.sleep(int(number) / 1000)
        if kind == "fail" and digest[0] * 100 < int(number) * 256:
            return web.json_response(
                {
                    "error": {
                        "message": "simulated failure",
                        "type": "server_error",
                        "param": None,
                        "code": "boom",
                    }
                },
                status=500,
            )
        wants_json = "response_format" in body and kind != "nojson"
        text = '{"answer": "yes", "n": 1}' if wants_json else "It is on its way."
        identity = "chatcmpl-" + digest.hex()[:24]
        if kind in {"says", "dearsays"} and digest[1] * 100 >= int(number) * 256:
            text = "I am sorry, I do not know."
        factor = 10 if kind in {"dear", "dearsays"} else 1
        prompt_tokens = (
            sum(len(str(message.get("content"))) for message in body["messages"]) // 4 + 8
        )
        usage = {
            "prompt_tokens": prompt_tokens * factor,
            "completion_tokens": 12,
            "total_tokens": prompt_tokens * factor + 12,
        }
        if body.get("stream"):
            return await self._stream(request, body, identity, text, usage)
        return web.json_response(
            {
                "id": identity,
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": model,
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": text},
                        "finish_reason": "stop",
                    }
                ],
                "usage": usage,
            }
        )

    async def _stream(
        self,
        request: web.Request,
        body: dict[str, Any],
        identity: str,
        text: str,
        usage: dict[str, int],
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        base = {
            "id": identity,
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": body["model"],
        }
        for word in text.split(" "):
            chunk = base | {
                "choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]
            }
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            await asyncio.sleep(0.001)
        end = base | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        await response.write(b"data: " + json.dumps(end).encode() + b"\n\n")
        if (body.get("stream_options") or {}).get("include_usage"):
            await response.write(
                b"data: " + json.dumps(base | {"choices": [], "usage": usage}).encode() + b"\n\n"
            )
        await response.write(b"data: [DONE]\n\n")
        return response
