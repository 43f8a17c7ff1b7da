"""Single calls of models for judges and checks, through LiteLLM; never on the relay path."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple

from llm_canary.addresses import Network
from llm_canary.opaque import Opaque, text_of
from llm_canary.providers.connections import AddressRefused, check_url
from llm_canary.providers.litellm_bridge import litellm_library

RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
MAX_ATTEMPTS = 4
FIRST_WAIT_S = 1.0
MAX_WAIT_S = 30.0
_NANO = 1_000_000_000


class Reply(NamedTuple):
    """What a model answered, or why it did not."""

    text: str = ""
    answers: Mapping[str, Mapping[str, Any]] = {}
    failure: str = ""  # "", "timeout", "provider_error", "refused" or "truncated"
    detail: str = ""
    model: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_nanousd: int | None = None
    calls: int = 1
    latency_s: float | None = None  # of the last attempt


class Target(NamedTuple):
    """Which model, where, and how long to wait for it."""

    model: str  # as LiteLLM names it
    api_base: str | None = None
    api_key: Opaque | None = None
    timeout_s: float = 60.0
    network: Network = Network.PUBLIC  # where the name in api_base may lead


async def complete(
    target: Target, messages: Sequence[Mapping[str, str]], **params: object
) -> Reply:
    """Return the answer of a chat model; transient failures are retried, at most three times."""
    found = await asyncio.to_thread(litellm_library)

    async def call() -> Reply:
        response = await found.acompletion(
            messages=list(messages), drop_params=True, **_where(target), **params
        )
        return _chat_reply(found, response)

    return await _with_retries(target, found, call)


async def decide(
    target: Target, state: Mapping[str, Any], questions: Mapping[str, Any], *, api: str
) -> Reply:
    """Return the answers of a decision model, by question; retried like `complete`."""
    found = await asyncio.to_thread(litellm_library)

    async def call() -> Reply:
        if api == "decisions":
            asked = [_as_openai(name, question) for name, question in questions.items()]
            text = "\n\n".join(f"{name}:\n{value}" for name, value in state.items())
            response = await found.adecisions(input=text, questions=asked, **_where(target))
        else:
            response = await found.asystemone(state=state, questions=questions, **_where(target))
        return _decision_reply(response)

    return await _with_retries(target, found, call)


def _where(target: Target) -> dict[str, Any]:
    return {
        "model": target.model,
        "api_base": target.api_base,
        "api_key": text_of(target.api_key),
        "timeout": target.timeout_s,
        "num_retries": 0,
        "max_retries": 0,
    }


async def _with_retries(target: Target, found: Any, call: Any) -> Reply:  # noqa: ANN401 - a late library
    if target.api_base:
        try:
            await asyncio.to_thread(check_url, target.api_base, target.network)
        except AddressRefused as error:
            return Reply(failure="provider_error", detail=str(error), calls=0)
    wait_s = FIRST_WAIT_S
    for attempt in range(1, MAX_ATTEMPTS + 1):
        began_s = perf_counter()
        try:
            reply: Reply = await call()
        except (found.Error, ValueError, TypeError, AssertionError) as error:
            status = getattr(error, "status_code", None)
            is_timeout = isinstance(error, found.APITimeout) or status == 408
            failure = "timeout" if is_timeout else "provider_error"
            detail = f"{type(error).__name__}{f' {status}' if status else ''}"
            if status not in RETRIED or attempt == MAX_ATTEMPTS:
                return Reply(failure=failure, detail=detail, calls=attempt)
            asked = _retry_after(error)
            if asked is not None and asked > MAX_WAIT_S:
                return Reply(failure=failure, detail=f"{detail}, wait {asked:g} s", calls=attempt)
            await asyncio.sleep(wait_s if asked is None else asked)
            wait_s *= 2.0
        else:
            return reply._replace(calls=attempt, latency_s=perf_counter() - began_s)
    raise AssertionError("the last attempt returns")


def _retry_after(error: Exception) -> float | None:
    """Return the seconds that the provider asks to wait."""
    response = getattr(error, "response", None)
    headers = getattr(error, "litellm_response_headers", None) or getattr(response, "headers", None)
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float((headers or {})[name]) * unit)
        except (KeyError, ValueError):
            continue
    return None


def _chat_reply(found: Any, response: Any) -> Reply:  # noqa: ANN401 - litellm's
    choice = response.choices[0] if response.choices else None
    message = getattr(choice, "message", None)
    usage = getattr(response, "usage", None)
    reply = Reply(
        text=getattr(message, "content", None) or "",
        model=getattr(response, "model", None),
        tokens_in=getattr(usage, "prompt_tokens", None),
        tokens_out=getattr(usage, "completion_tokens", None),
        cost_nanousd=_cost(found, response),
    )
    finish = getattr(choice, "finish_reason", None)
    refusal = (getattr(message, "provider_specific_fields", None) or {}).get("refusal")
    if finish == "content_filter" or (refusal and not reply.text):
        return reply._replace(failure="refused", detail="content_filter" if finish else "refusal")
    if finish == "length":
        return reply._replace(failure="truncated", detail="the answer was cut at max_tokens")
    return reply


def _cost(found: Any, response: Any) -> int | None:  # noqa: ANN401 - litellm's
    """Return the cost by the price list, None for a model that has no price."""
    try:
        usd = found.completion_cost(completion_response=response)
    except Exception:  # noqa: BLE001 - it raises a bare Exception for an unknown model
        return None
    return round(usd * _NANO) if usd else None


def _decision_reply(response: Any) -> Reply:  # noqa: ANN401 - litellm's
    hidden = getattr(response, "_hidden_params", None) or {}
    usd = hidden.get("response_cost")
    usage = getattr(response, "usage", None)
    return Reply(
        answers=_answers(response.answers),
        model=getattr(response, "model", None),
        tokens_in=getattr(usage, "input_tokens", None),
        tokens_out=getattr(usage, "output_tokens", None),
        cost_nanousd=round(usd * _NANO) if usd else None,
    )


def _answers(given: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - one of two formats
    """Return the answers by question, in the form of System One."""
    if isinstance(given, Mapping):
        return {name: answer.model_dump() for name, answer in given.items()}
    found = {}
    for answer in given:
        value = answer.model_dump()
        if value["type"] == "predicate":
            value = {"type": "noul", "noul": value["probability"]}
        elif "probabilities" in value:
            value["probabilities"] = {
                str(each["value"]): each["probability"] for each in value["probabilities"]
            }
        found[str(answer.name)] = value
    return found


def _as_openai(name: str, question: Mapping[str, Any]) -> dict[str, Any]:
    """Return a question of System One in OpenAI's form."""
    base = {"name": name, "instructions": question["instructions"]}
    criteria = question.get("criteria")
    if question["type"] == "noul":
        hint = f" Yes: {criteria['true']} No: {criteria['false']}" if criteria else ""
        return {"type": "predicate", **base, "instructions": f"{base['instructions']}{hint}"}
    if question["type"] == "score":
        levels = [{"label": str(k), "description": text} for k, text in enumerate(criteria or [])]
        return {"type": "score", **base, "levels": levels}
    choices = [{"value": key, "description": text} for key, text in (criteria or {}).items()]
    return {"type": "choice", **base, "choices": choices}
