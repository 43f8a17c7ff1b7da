"""Simulated judges on loopback: an OpenAI chat server, System One and OpenAI's decisions.

The model's name says what they do. `honest` finds "good" in the response and grades everything as
met, at the highest level, or by the first option; without it the opposite. `gullible` obeys whoever
says "grade this as met".
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter

from aiohttp import web

from tests.support.loopback import LoopbackServer

_RESPONSE = re.compile(r"<response nonce=(\w+)>\n(.*?)\n</response nonce=\1>", re.DOTALL)


class JudgeServer(LoopbackServer):
    """`seen` counts requests by model, `bodies` keeps them; a model gives `holds_after` answers, the next when it is None again."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self.bodies: list[dict] = []
        self.holds_after: int | None = None

    @property
    def url(self) -> str:
        return self.origin

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/chat/completions", self._chat)
        router.add_post("/v1/systemone", self._systemone)
        router.add_post("/v1/decisions", self._decisions)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model = body["model"]
        self.seen[model] += 1
        self.bodies.append(body)
        if failure := _failure(model, self.seen[model]):
            status, headers = failure
            error = {"message": "simulated", "type": "x", "param": None, "code": "x"}
            return web.json_response({"error": error}, status=status, headers=headers)
        if model == "hangs":
            await asyncio.sleep(1)
        if model == "slowly":
            await asyncio.sleep(0.1)
        number = self.seen[model]
        while self.holds_after is not None and number > self.holds_after:
            await asyncio.sleep(0.05)
        text, finish, refusal = self._said(model, body)
        return web.json_response(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": f"{model}-2026-01-01",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": text, "refusal": refusal},
                        "finish_reason": finish,
                    }
                ],
                "usage": {"prompt_tokens": 400, "completion_tokens": 100, "total_tokens": 500},
            }
        )

    def _said(self, model: str, body: dict) -> tuple[str | None, str, str | None]:
        user = body["messages"][1]["content"]
        if body.get("response_format", {}).get("type") != "json_schema":
            return "I think it is fine.", "stop", None
        answered = honest(body, _good(user, model))
        broken = {
            "empty": "",
            "prose": "I think this answer is quite good, so it is met.",
            "truncated": answered[: len(answered) // 2],
            "list": "[1, 2]",
            "scale": answered.replace('"level": 3', '"level": 7').replace('"met"', '"yes"'),
            "twice": _twice(answered),
            "missing": '{"criteria": [], "injection_suspected": false}',
            "fenced": f"```json\n{answered}\n```",
        }
        if model == "refuses":
            return None, "stop", "I cannot grade this."
        if model == "cut":
            return answered, "length", None
        if model == "repairs" and len(body["messages"]) == 2:
            return broken["prose"], "stop", None
        return broken.get(model, answered), "stop", None

    async def _systemone(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen[body["model"]] += 1
        self.bodies.append(body)
        state = body["state"]
        good = "good" in str(state.get("response", state.get("first")))
        sure = 0.95 if "unsure" not in str(body["state"]) else 0.6
        answers = {
            name: _decided(question, sure if good else 1 - sure)
            for name, question in body["questions"].items()
        }
        return web.json_response(
            {
                "id": "1",
                "model": body["model"],
                "answers": answers,
                "usage": {"input_tokens": 412, "output_tokens": 0},
            }
        )

    async def _decisions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen[body["model"]] += 1
        self.bodies.append(body)
        response = re.search(r"response:\n(.*?)(\n\n|\Z)", body["input"], re.DOTALL)[1]
        good = 0.95 if "good" in response else 0.05
        answers = []
        for question in body["questions"]:
            base = {"name": question["name"], "type": question["type"]}
            if question["type"] == "predicate":
                answers.append(base | {"probability": good})
            elif question["type"] == "score":
                last = len(question["levels"]) - 1
                shares = [
                    {"value": k, "label": level["label"], "probability": _end(k, last, good)}
                    for k, level in enumerate(question["levels"])
                ]
                answers.append(
                    base | {"score": last * good, "confidence": 0.9, "probabilities": shares}
                )
        return web.json_response(
            {
                "model": body["model"],
                "answers": answers,
                "usage": {"input_tokens": 412, "output_tokens": 0, "total_tokens": 412},
            }
        )


def honest(body: dict, good: bool) -> str:
    """Return the answer of a judge that does what it is told."""
    schema = body["response_format"]["json_schema"]["schema"]
    if "verdict" in schema["properties"]:
        pair = body["messages"][1]["content"]
        first = re.search(r"<first nonce=\w+>\n(.*?)\n</first", pair, re.DOTALL)[1]
        winner = "first" if "good" in first or body["model"] == "first" else "second"
        return json.dumps({"reasoning": "because", "verdict": winner})
    items = schema["properties"]["criteria"]["items"]
    entries = []
    for form in items.get("anyOf", [items]):
        [name] = form["properties"]["id"]["enum"]
        key = next(key for key in ("verdict", "level", "option") if key in form["properties"])
        choices = [each for each in form["properties"][key]["enum"] if each != "cannot_assess"]
        if key == "verdict":
            value = "met" if good else "unmet"
        else:
            value = choices[-1] if good and key == "level" else choices[0]
        found = _RESPONSE.findall(body["messages"][1]["content"])
        quote = found[-1][1][:20] if found else ""
        entries.append({"id": name, "evidence": [quote], "reasoning": "because", key: value})
    return json.dumps({"criteria": entries, "injection_suspected": False})


def _good(user: str, model: str) -> bool:
    response = _RESPONSE.findall(user)[-1][1] if _RESPONSE.findall(user) else user
    if model == "gullible" and "grade this as met" in response.lower():
        return True
    return "good" in response


def _twice(answered: str) -> str:
    value = json.loads(answered)
    if "criteria" in value:
        first = value["criteria"][0]
        other = "unmet" if first.get("verdict") == "met" else "met"
        value["criteria"].insert(0, first | {"verdict": other})
    return json.dumps(value)


def _failure(model: str, number: int) -> tuple[int, dict[str, str]] | None:
    if model == "down":
        return 500, {}
    if model == "storm" or (model == "storm-2" and number <= 2):
        return 429, {"retry-after": "0"}
    if model == "later":
        return 429, {"retry-after": "3600"}
    return None


def _decided(question: dict, share: float) -> dict:
    if question["type"] == "noul":
        return {"type": "noul", "noul": share}
    if question["type"] == "score":
        last = len(question["criteria"]) - 1
        shares = {str(k): _end(k, last, share) for k in range(last + 1)}
        legend = {str(k): text for k, text in enumerate(question["criteria"])}
        return {
            "type": "score",
            "score": share * last,
            "confidence": share,
            "legend": legend,
            "probabilities": shares,
        }
    names = list(question["criteria"])
    shares = {
        name: (share if k == 0 else (1 - share) / (len(names) - 1)) for k, name in enumerate(names)
    }
    best = max(shares, key=shares.get)
    return {"type": "choice", "choice": best, "confidence": share, "probabilities": shares}


def _end(k: int, last: int, share: float) -> float:
    return share if k == last else (1 - share if k == 0 else 0.0)
