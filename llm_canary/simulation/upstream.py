"""A simulated OpenAI-compatible upstream on loopback: it answers as the laws of a world say."""

from __future__ import annotations

import asyncio
import threading
import uuid
from types import TracebackType
from typing import Any, Self

import numpy as np
from aiohttp import web

from llm_canary.simulation.laws import Amount, Answers, Rate, World

CONTROL, CANARY = "control", "canary"  # the model names
LIKED, DISLIKED = "It is on its way.", "I do not know."
_SLEEP_PART = 0.02  # of the simulated latency is really waited for
_READY_S = 10.0


class SimulatedUpstream:
    """Serves both models while the context lasts, in a thread; `seen` counts requests by model."""

    def __init__(self, world: World, seed: int) -> None:
        self.base_url = ""
        self.seen = {CONTROL: 0, CANARY: 0}
        self._answers: dict[str, Answers] = {CONTROL: world.control, CANARY: world.canary}
        self._rng = np.random.default_rng(seed)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulated-upstream", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait(_READY_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_READY_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._serve())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _serve(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        return runner

    async def _chat(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        model = body["model"]
        self.seen[model] += 1
        answers = self._answers[model]
        await asyncio.sleep(self._amount(answers, "latency") / 1_000.0 * _SLEEP_PART)
        if self._is_bad(answers, "error_rate"):
            error = {"message": "simulated failure", "type": "server_error", "code": "simulated"}
            return web.json_response({"error": error}, status=500)
        prompt = max(round(self._amount(answers, "prompt_tokens")), 1)
        # The price is 1 nano-dollar per token of the answer, so the cost is what the law says.
        completion = max(round(self._amount(answers, "cost")), 1)
        text = DISLIKED if self._is_bad(answers, "thumbs_up_rate") else LIKED
        message = {"role": "assistant", "content": text}
        return web.json_response(
            {
                "id": f"chatcmpl-{uuid.uuid4().hex}",
                "object": "chat.completion",
                "created": 0,
                "model": model,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {
                    "prompt_tokens": prompt,
                    "completion_tokens": completion,
                    "total_tokens": prompt + completion,
                },
            }
        )

    def _is_bad(self, answers: Answers, name: str) -> bool:
        law = answers[name]
        return isinstance(law, Rate) and bool(self._rng.random() < law.bad)

    def _amount(self, answers: Answers, name: str) -> float:
        law = answers[name]
        if not isinstance(law, Amount):
            return 0.0
        return law.median * float(np.exp(law.sigma * self._rng.standard_normal()))
