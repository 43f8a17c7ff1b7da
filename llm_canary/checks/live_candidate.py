"""Candidates that can be asked: a server, or a variant. What was answered once is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from openai import (
    APIConnectionError,
    APIStatusError,
    AsyncOpenAI,
    DefaultAsyncHttpxClient,
    OpenAIError,
)

from llm_canary.addresses import problem_of_url
from llm_canary.checks.candidate import Answer, Candidate
from llm_canary.config.load import LoadedConfig
from llm_canary.config.secrets import resolve
from llm_canary.documents.problems import one_of
from llm_canary.errors import ConfigError
from llm_canary.judging.cache import Cache, cache_key
from llm_canary.opaque import text_of
from llm_canary.providers.connections import AddressRefused, check_url
from llm_canary.providers.model_calls import MAX_WAIT_S, RETRIED, Target, complete
from llm_canary.routing.table import PromptVariable, Upstream, Variant
from llm_canary.rubric.item import Item, tool_calls_of

_ATTEMPTS = 4
_TIMEOUT_S = 120.0
_ROUTE = "route:"


class Live:
    """Somebody who can be asked; what was answered once is kept."""

    is_live = True

    def __init__(self, name: str, model: str, facts: Sequence[object], cache: Cache | None) -> None:
        self.name = name
        self.model: str | None = model
        self._facts = facts  # what an answer depends on, beside the item
        self._cache = cache

    async def answer(self, item: Item, repeat: int) -> Answer:
        """Return the answer, from the cache where it is there."""
        key = cache_key("answer", *self._facts, item.id, item.prompt, list(item.history), repeat)
        kept = self._cache.get(key, Answer) if self._cache else None
        if kept is not None:
            return kept
        answer = await self._asked(item)
        if self._cache and not answer.failure:
            self._cache.put(key, answer)
        return answer

    async def _asked(self, item: Item) -> Answer:
        raise NotImplementedError


class Endpoint(Live):
    """A running server of OpenAI's chat completions, such as the gateway itself."""

    def __init__(
        self,
        target: Target,
        *,
        params: Mapping[str, Any] | None = None,
        system: Sequence[str | PromptVariable] = (),
        cache: Cache | None = None,
    ) -> None:
        url, model = target.api_base or "", target.model
        if (problem := problem_of_url(url)) is not None:
            raise ConfigError(f"the candidate's server cannot be asked: its URL is {problem}")
        self._target = target
        self._params = dict(params or {})
        self._system = system
        facts = [url, model, self._params, [str(each) for each in system]]
        super().__init__(f"{model} at {url}", model, facts, cache)
        self._client = AsyncOpenAI(
            base_url=url,
            api_key=text_of(target.api_key) or "none",
            max_retries=0,
            timeout=_TIMEOUT_S,
            http_client=DefaultAsyncHttpxClient(follow_redirects=False, timeout=_TIMEOUT_S),
        )

    async def _asked(self, item: Item) -> Answer:
        """Return the answer; transient failures are retried, at most three times."""
        try:
            await asyncio.to_thread(check_url, self._target.api_base or "", self._target.network)
        except AddressRefused as error:
            return Answer(failure=f"not asked: {error}")
        wait_s = 1.0
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response = await self._client.chat.completions.create(
                    model=str(self.model),
                    messages=messages_of(item, self._system),  # type: ignore[arg-type]
                    **self._params,
                )
            except OpenAIError as error:
                status = getattr(error, "status_code", None)
                again = isinstance(error, APIConnectionError) or status in RETRIED
                if not again or attempt == _ATTEMPTS:
                    return Answer(failure=f"{type(error).__name__}{f' {status}' if status else ''}")
                asked = _retry_after(error)
                if asked is not None and asked > MAX_WAIT_S:
                    return Answer(failure=f"{type(error).__name__} {status}, wait {asked:g} s")
                await asyncio.sleep(wait_s if asked is None else asked)
                wait_s *= 2.0
                continue
            if not response.choices:
                return Answer(failure="the answer has no choices")
            message = response.choices[0].message
            calls = [call.model_dump() for call in message.tool_calls or []]
            return Answer(message.content or "", tuple(map(dict, tool_calls_of(calls))))
        raise AssertionError("the last attempt returns")


class Translated(Live):
    """A variant whose provider LiteLLM translates."""

    def __init__(self, upstream: Upstream, variant: Variant, cache: Cache | None) -> None:
        self._target = Target(
            f"{upstream.provider}/{variant.model}",
            upstream.base_url or None,
            resolve(upstream.api_key) if upstream.api_key else None,
            upstream.total_timeout_s,
            upstream.network,
        )
        self._variant = variant
        facts = [self._target.model, self._target.api_base, variant.params, variant.prompt_hash]
        super().__init__(f"{variant.model} at {upstream.name}", variant.model, facts, cache)

    async def _asked(self, item: Item) -> Answer:
        messages = messages_of(item, _system(self._variant))
        reply = await complete(self._target, messages, **self._variant.params)
        return Answer(reply.text, failure=reply.failure and f"{reply.failure}: {reply.detail}")


def variant_of(word: str, config: LoadedConfig, cache: Cache | None) -> Candidate:
    """Return the canary of the rollout `word`, or with `route:NAME` the control of a route."""
    if word.startswith(_ROUTE):
        route = config.routes.get(word.removeprefix(_ROUTE))
        if route is None:
            raise ConfigError(f"there is no route {word!r}; there are {one_of(config.routes)}")
        variant = route.control
    elif word in config.rollouts:
        variant = config.rollouts[word].canary
    else:
        raise ConfigError(
            f"there is no rollout {word!r} whose canary could be checked; there are "
            f"{one_of(config.rollouts)}; `route:NAME` is a route's control"
        )
    upstream = config.upstreams[variant.upstream]
    if upstream.kind == "litellm":
        return Translated(upstream, variant, cache)
    if upstream.kind != "openai":
        raise ConfigError(
            f"upstream {upstream.name!r} is of kind {upstream.kind}; a check asks upstreams of "
            "kind openai and litellm: ask the gateway with --endpoint, or give --responses"
        )
    if upstream.azure_api_version is not None:
        raise ConfigError(
            f"upstream {upstream.name!r} is Azure OpenAI, which a check does not ask itself: ask "
            "the gateway with --endpoint, or give --responses"
        )
    key = resolve(upstream.api_key) if upstream.api_key else None
    return Endpoint(
        Target(variant.model, upstream.base_url, key, network=upstream.network),
        params=variant.params,
        system=_system(variant),
        cache=cache,
    )


def messages_of(item: Item, system: Sequence[str | PromptVariable]) -> list[dict[str, str]]:
    """Return the messages of a request, the variant's prompt first, as the gateway sends them."""
    text = "".join(
        part if isinstance(part, str) else item.tags.get(part.path[-1], part.default or "")
        for part in system
    )
    history = [dict(turn) for turn in item.history]
    head = [{"role": "system", "content": text}] if text else []
    return [*head, *history, {"role": "user", "content": item.prompt}]


def _system(variant: Variant) -> tuple[str | PromptVariable, ...]:
    return variant.prompt_parts or ((variant.prompt_text,) if variant.prompt_text else ())


def _retry_after(error: OpenAIError) -> float | None:
    if not isinstance(error, APIStatusError):
        return None
    try:
        return max(0.0, float(error.response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None
