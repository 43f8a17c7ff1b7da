"""Several hundred users with the official OpenAI client: each asks once and votes once."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import openai
from openai.types.chat import ChatCompletion

from llm_canary.demo.child import DemoError
from llm_canary.demo.script import Visit, visit

AT_ONCE = 4
_WARM_UP = 3
_GIVE_UP_AFTER = 20  # failed requests without a single answer between them


class Traffic:
    """Users of the routes; every user is a new one."""

    def __init__(self, url: str, seed: int) -> None:
        # The gateway has no keys configured; the client insists on one.
        self._client = openai.AsyncOpenAI(
            base_url=f"{url}/v1",
            api_key="none",
            max_retries=0,
            timeout=120.0,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        )
        self._seed = seed
        self._numbers = itertools.count(1)
        self._turn = itertools.count()
        self._failed_in_a_row = 0
        self.answered: Counter[str] = Counter()  # by route
        self.failed: Counter[str] = Counter()
        self.began_s = time.monotonic()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    @property
    def per_second(self) -> float:
        """Answers per second since the first visit."""
        return self.answered.total() / max(time.monotonic() - self.began_s, 0.001)

    async def warm_up(self, routes: Sequence[str]) -> None:
        """Let a few users in before any rollout; raise DemoError when the model refuses them."""
        for route in list(routes) * _WARM_UP:
            try:
                await self._ask(route, self._next(route))
            except openai.OpenAIError as error:
                raise DemoError(f"the model does not answer {route!r}: {error}") from error
        self.answered.clear()
        self.began_s = time.monotonic()

    async def run(self, routes: Callable[[], Sequence[str]]) -> None:
        """Send users to the routes in turn for as long as `routes` names any."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(self._worker(routes))

    async def _worker(self, routes: Callable[[], Sequence[str]]) -> None:
        while open_ := routes():
            route = open_[next(self._turn) % len(open_)]
            guest = self._next(route)
            try:
                answer = await self._ask(route, guest)
                await self._vote(answer, thumb=guest.thumb)
            except openai.OpenAIError as error:
                self.failed[route] += 1
                self._failed_in_a_row += 1
                if self._failed_in_a_row >= _GIVE_UP_AFTER:
                    raise DemoError(
                        f"{_GIVE_UP_AFTER} requests in a row have failed: {error}"
                    ) from error
            else:
                self._failed_in_a_row = 0

    def _next(self, route: str) -> Visit:
        return visit(route, self._seed, next(self._numbers))

    async def _ask(self, route: str, guest: Visit) -> ChatCompletion:
        answer = await self._client.chat.completions.create(
            model=route,
            messages=[{"role": "user", "content": guest.text}],
            seed=guest.seed,
            extra_headers={"x-canary-user": guest.user},
        )
        self.answered[route] += 1
        return answer

    async def _vote(self, answer: ChatCompletion, *, thumb: bool) -> None:
        body = {"response_id": answer.id, "value": thumb}
        await self._client.post("/feedback", cast_to=object, body=body)
