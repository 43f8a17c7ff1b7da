"""One rollout through a running gateway: simulated users and upstream, everything between is real.

Days are pressed into minutes by a plan of its own with wide margins and low floors; every simulated
user asks once and gives a thumb.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from llm_canary.errors import LlmCanaryError
from llm_canary.simulation.upstream import CANARY, CONTROL, LIKED

_ROUTE, _ROLLOUT = "simulated", "rehearsal"
_AT_ONCE = 8
_LIMIT_S = 300.0
_POLL_S = 0.5
_ENDS = {
    "standby": "promoted",
    "finished": "promoted",
    "rolled_back": "rolled_back",
    "held": "held",
}
_FILE = """\
version: 1
upstreams:
  simulated:
    kind: openai
    base_url: "{base_url}"
    price: {{input_per_million: 0, output_per_million: 0.001}}
routes:
  simulated:
    control: {{upstream: simulated, model: {control}}}
rollouts:
  rehearsal:
    route: simulated
    canary: {{upstream: simulated, model: {canary}}}
    plan: minutes
plans:
  minutes: # days pressed into minutes; not for production
    full_cycle: 0s
    warmup: 0s
    settle: 0s
    stages:
      - {{name: initial, share: 10%, min: 5s, max: 90s, min_units: 60}}
      - {{name: broad, share: 50%, min: 5s, max: 90s, min_units: 60}}
      - {{name: full, holdback: 0%}}
      - {{name: standby, for: 60s}}
    gates:
      error_rate: {{kind: guardrail, margin: 5pp}}
      cost_per_request: {{kind: goal, margin: 25%}}
      latency_mean: {{kind: goal, margin: 50%}}
      thumbs_up_rate: {{kind: goal, margin: 15pp}}
metrics:
  thumbs_up_rate: {{window: 2s}}
"""


class SimulationError(LlmCanaryError):
    """The rehearsal through a gateway cannot go on."""

    code = "simulation_failed"


class GatewayRun(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rollout in the gateway."""

    end: str  # promoted, held, rolled_back
    seconds: float
    requests: int
    canary_requests: int
    canary_users: int
    reasons: tuple[str, ...]


def write_project(directory: Path, base_url: str) -> None:
    """Write the `canary.yaml` of the rehearsal."""
    text = _FILE.format(base_url=base_url, control=CONTROL, canary=CANARY)
    (directory / "canary.yaml").write_text(text, encoding="utf-8")


async def play(url: str, seed: int, watch: Callable[[str], object]) -> GatewayRun:
    """Start the rollout at the gateway, send users until it ends; `watch` is told each place."""
    async with aiohttp.ClientSession() as session:
        body = {"reason": "rehearsal", "actor": "simulate"}
        await _call(session, "POST", f"{url}/api/v1/rollouts/{_ROLLOUT}/start", body)
        began_s = time.monotonic()
        users = _Users(session, url, seed)
        view: dict[str, Any] = {}
        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(users.keep_asking()) for _ in range(_AT_ONCE)]
            try:
                view = await _until_it_ends(session, url, began_s + _LIMIT_S, watch)
            finally:
                for worker in workers:
                    worker.cancel()
    last = view.get("decision") or {}
    return GatewayRun(
        end=_ENDS[view["state"]],
        seconds=time.monotonic() - began_s,
        requests=users.asked,
        canary_requests=view["responses"][1],
        canary_users=view["units"][1],
        reasons=tuple(last.get("reasons", ())),
    )


async def _until_it_ends(
    session: aiohttp.ClientSession, url: str, deadline: float, watch: Callable[[str], object]
) -> dict[str, Any]:
    place = ""
    while True:
        view = await _call(session, "GET", f"{url}/api/v1/rollouts/{_ROLLOUT}")
        now = f"{view['state']} {view['stage']}"
        if now != place:
            watch(now)
            place = now
        if view["state"] in _ENDS:
            return view
        if time.monotonic() > deadline:
            raise SimulationError(
                f"the rollout is still {now} after {_LIMIT_S:.0f} s; see the gateway's page"
            )
        await asyncio.sleep(_POLL_S)


class _Users:
    """Users who each ask once and say whether they liked the answer."""

    def __init__(self, session: aiohttp.ClientSession, url: str, seed: int) -> None:
        self._session = session
        self._url = url
        self._seed = seed
        self.asked = 0

    async def keep_asking(self) -> None:
        """Send one user after the other until cancelled."""
        while True:
            self.asked += 1
            user = f"user-{self._seed}-{self.asked}"
            question = {"role": "user", "content": f"Where is parcel {self.asked}?"}
            async with self._session.post(
                f"{self._url}/v1/chat/completions",
                json={"model": _ROUTE, "messages": [question]},
                headers={"x-canary-user": user},
            ) as response:
                answer = await response.json()
            if response.ok:
                liked = answer["choices"][0]["message"]["content"] == LIKED
                thumb = {"response_id": answer["id"], "value": liked}
                await _call(self._session, "POST", f"{self._url}/v1/feedback", thumb)


async def _call(
    session: aiohttp.ClientSession, method: str, url: str, body: object = None
) -> dict[str, Any]:
    async with session.request(method, url, json=body) as answer:
        if not answer.ok:
            text = (await answer.text())[:400]
            raise SimulationError(f"the gateway refused {url}: {answer.status} {text}")
        found: dict[str, Any] = await answer.json()
        return found
