"""A simulated provider that keeps a ledger: what each request is billed, counted by itself.

Each request carries its `plan` in an unknown field, which the gateway relays untouched. Money is
counted with fractions of a dollar from a price list per million tokens, as providers print them,
and in none of the gateway's code.
"""

from __future__ import annotations

import asyncio
import json
import re
from fractions import Fraction

from aiohttp import web

from tests.support.loopback import LoopbackServer

# Dollars per million tokens.
PRICES = {
    "standard": {"input": "1", "cached": "0.25", "write": "1.25", "output": "4", "reasoning": "6"},
    "batch": {
        "input": "0.5",
        "cached": "0.125",
        "write": "0.625",
        "output": "2",
        "reasoning": "3",
    },
    "priority": {"input": "2", "cached": "0.5", "write": "2.5", "output": "8", "reasoning": "12"},
}
_TOKEN = re.compile(r"\w{1,5}|[^\w\s]")


def tokens_in(text: str) -> int:
    """Count as a tokenizer would, roughly: long words have several tokens."""
    return len(_TOKEN.findall(text))


def nanodollars(tier: str, counts: dict[str, int]) -> int:
    """Return what the tokens cost."""
    dollars = sum(
        Fraction(PRICES[tier][kind]) * count / 1_000_000 for kind, count in counts.items()
    )
    nano = dollars * 1_000_000_000
    return round(nano)


class LedgerProvider(LoopbackServer):
    """`bills` has the nano-dollars of each request id that was billed."""

    cancels_handlers = True

    def __init__(self) -> None:
        super().__init__()
        self.bills: dict[str, int] = {}
        self.requests = 0
        self._failed: set[str] = set()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        for name in ("chat/completions", "completions", "responses", "embeddings", "messages"):
            router.add_post(f"/v1/{name}", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests += 1
        plan = body["plan"]
        name = plan["id"]
        headers = {"x-request-id": name}
        if plan["fails"] and name not in self._failed:
            self._failed.add(name)
            error = {"error": {"message": "x", "type": "server_error", "param": None, "code": "e"}}
            return web.json_response(error, status=plan["fails"], headers=headers)
        endpoint = request.path.removeprefix("/v1/")
        counts = _counts(endpoint, body, plan)
        if not body.get("stream"):
            self.bills[name] = nanodollars(plan["tier"], counts)
            if plan["end"] == "slow":
                await asyncio.sleep(0.3)
            return web.json_response(_whole(endpoint, plan, counts), headers=headers)
        return await self._stream(request, endpoint, body, plan, counts)

    async def _stream(
        self,
        request: web.Request,
        endpoint: str,
        body: dict,
        plan: dict,
        counts: dict[str, int],
    ) -> web.StreamResponse:
        """Stream word by word; what is billed in the end is what was sent until then."""
        name = plan["id"]
        headers = {"x-request-id": name, "content-type": "text/event-stream"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        wants_usage = endpoint in ("responses", "messages") or bool(
            (body.get("stream_options") or {}).get("include_usage")
        )
        words = plan["text"].split(" ")
        stops_at = len(words) // 2 if plan["end"] in ("cut", "left") else len(words)
        sent = ""
        write = response.write
        try:
            for event in _opening(endpoint, plan, counts):
                await write(event)
            for word in words[:stops_at]:
                sent += word + " "
                self.bills[name] = _so_far(plan, counts, sent)
                await write(_delta(endpoint, plan, word + " "))
                if plan["end"] == "left":
                    await asyncio.sleep(0.001)
            if plan["end"] == "left":
                if plan["drains"]:
                    for word in words[stops_at:]:
                        await asyncio.sleep(0.002)
                        await write(_delta(endpoint, plan, word + " "))
                else:
                    await asyncio.sleep(5)  # until the gateway hangs up
            if plan["end"] == "cut":
                request.transport.abort()
                return response
            self.bills[name] = nanodollars(plan["tier"], counts)
            for event in _closing(endpoint, plan, counts, wants_usage and plan["reports"]):
                await write(event)
        except (ConnectionError, asyncio.CancelledError):
            pass
        return response


def _counts(endpoint: str, body: dict, plan: dict) -> dict[str, int]:
    """Return the billed tokens by kind."""
    messages = body.get("messages") or [{"content": body.get("input") or body.get("prompt")}]
    prompt = sum(tokens_in(str(message["content"])) + 4 for message in messages) + 3
    counts = {"input": prompt}
    if endpoint == "embeddings":
        return counts
    counts["cached"] = prompt * plan["cached"] // 100
    counts["write"] = prompt * plan["write"] // 100 if endpoint == "messages" else 0
    counts["input"] -= counts["cached"] + counts["write"]
    counts["output"] = tokens_in(plan["text"])
    counts["reasoning"] = plan["reasoning"] if endpoint in ("chat/completions", "responses") else 0
    return counts


def _so_far(plan: dict, counts: dict[str, int], sent: str) -> int:
    return nanodollars(plan["tier"], counts | {"output": tokens_in(sent)})


def _usage(endpoint: str, counts: dict[str, int]) -> dict:
    """Report the counts under the endpoint's names."""
    prompt = sum(counts.get(kind, 0) for kind in ("input", "cached", "write"))
    if endpoint == "embeddings":
        return {"prompt_tokens": prompt, "total_tokens": prompt}
    completion = counts["output"] + counts["reasoning"]
    if endpoint == "messages":
        return {
            "input_tokens": counts["input"],
            "cache_read_input_tokens": counts["cached"],
            "cache_creation_input_tokens": counts["write"],
            "output_tokens": completion,
        }
    names = ("input", "output") if endpoint == "responses" else ("prompt", "completion")
    return {
        f"{names[0]}_tokens": prompt,
        f"{names[0]}_tokens_details": {"cached_tokens": counts["cached"]},
        f"{names[1]}_tokens": completion,
        f"{names[1]}_tokens_details": {"reasoning_tokens": counts["reasoning"]},
        "total_tokens": prompt + completion,
    }


def _tier(plan: dict) -> dict:
    return {} if plan["tier"] == "standard" else {"service_tier": plan["tier"]}


def _whole(endpoint: str, plan: dict, counts: dict[str, int]) -> dict:
    usage = {"usage": _usage(endpoint, counts)} if plan["reports"] else {}
    head = {"id": f"answer-{plan['id']}", "model": "billed-model"} | usage | _tier(plan)
    text = plan["text"]
    if endpoint == "embeddings":
        return head | {"data": [{"index": 0, "embedding": [0.5]}]}
    if endpoint == "messages":
        content = [{"type": "text", "text": text}]
        return head | {"type": "message", "content": content, "stop_reason": "end_turn"}
    if endpoint == "responses":
        content = [{"type": "output_text", "text": text}]
        output = [{"type": "message", "content": content}]
        return head | {"object": "response", "status": "completed", "output": output}
    said = {"text": text}
    if endpoint == "chat/completions":
        said = {"message": {"role": "assistant", "content": text}}
    return head | {"choices": [{"index": 0, "finish_reason": "stop"} | said]}


def _event(value: dict) -> bytes:
    name = f"event: {value['type']}\n" if "type" in value else ""
    return f"{name}data: {json.dumps(value)}\n\n".encode()


def _opening(endpoint: str, plan: dict, counts: dict[str, int]) -> list[bytes]:
    identity = {"id": f"answer-{plan['id']}", "model": "billed-model"}
    if endpoint == "messages":
        usage = {"usage": _usage(endpoint, counts) | {"output_tokens": 1}}
        usage = usage if plan["reports"] else {}
        message = identity | {"type": "message", "content": []} | usage
        block = {"type": "text", "text": ""}
        return [
            _event({"type": "message_start", "message": message}),
            _event({"type": "content_block_start", "index": 0, "content_block": block}),
        ]
    if endpoint == "responses":
        begun = identity | {"object": "response", "status": "in_progress", "output": []}
        return [_event({"type": "response.created", "response": begun})]
    return []


def _delta(endpoint: str, plan: dict, text: str) -> bytes:
    if endpoint == "messages":
        delta = {"type": "text_delta", "text": text}
        return _event({"type": "content_block_delta", "index": 0, "delta": delta})
    if endpoint == "responses":
        return _event({"type": "response.output_text.delta", "output_index": 0, "delta": text})
    said = {"delta": {"content": text}} if endpoint == "chat/completions" else {"text": text}
    choice = {"index": 0, "finish_reason": None} | said
    return _event({"id": f"answer-{plan['id']}", "model": "billed-model", "choices": [choice]})


def _closing(endpoint: str, plan: dict, counts: dict[str, int], reports: bool) -> list[bytes]:
    if endpoint == "messages":
        usage = {"output_tokens": _usage(endpoint, counts)["output_tokens"]}
        delta = {"stop_reason": "end_turn"}
        last = {"type": "message_delta", "delta": delta} | ({"usage": usage} if reports else {})
        return [_event(last), _event({"type": "message_stop"})]
    if endpoint == "responses":
        answer = _whole(endpoint, plan | {"reports": reports}, counts)
        return [_event({"type": "response.completed", "response": answer})]
    said = {"delta": {}} if endpoint == "chat/completions" else {"text": ""}
    head = {"id": f"answer-{plan['id']}", "model": "billed-model"} | _tier(plan)
    events = [_event(head | {"choices": [{"index": 0, "finish_reason": "stop"} | said]})]
    if reports:
        events.append(_event(head | {"choices": [], "usage": _usage(endpoint, counts)}))
    return [*events, b"data: [DONE]\n\n"]
