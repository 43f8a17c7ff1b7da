"""Tokens to money, in whole nano-dollars."""

from __future__ import annotations

from dataclasses import dataclass

from llm_canary.routing.table import Price


@dataclass(slots=True, frozen=True)
class Usage:
    """Counts of tokens; None = not reported.

    Cached and cache-writing tokens are part of the prompt, reasoning tokens of the completion.
    """

    prompt: int
    completion: int
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


def cost_nanousd(price: Price, usage: Usage, service_tier: str | None = None) -> int:
    """Return what the provider charges in the tier that it served the request in.

    A kind of token without a price of its own costs as much as the others; a tier without prices
    costs what the price says without tiers.
    """
    price = price.tiers.get(service_tier or "", price)
    cached = min(usage.cached or 0, usage.prompt)
    written = min(usage.cache_write or 0, usage.prompt - cached)
    cached_price = price.input if price.cached_input is None else price.cached_input
    write_price = price.input if price.cache_write is None else price.cache_write
    fresh = (usage.prompt - cached - written) * price.input
    prompt = fresh + cached * cached_price + written * write_price
    return round(prompt + _completion(price, usage))


def uncached_cost_nanousd(price: Price, usage: Usage, service_tier: str | None = None) -> int:
    """Return the cost with every prompt token at the full price.

    A small canary meets a cold prompt cache; this is what makes its cost comparable.
    """
    price = price.tiers.get(service_tier or "", price)
    return round(usage.prompt * price.input + _completion(price, usage))


def _completion(price: Price, usage: Usage) -> float:
    reasoning = min(usage.reasoning or 0, usage.completion)
    reasoning_price = price.output if price.reasoning is None else price.reasoning
    return (usage.completion - reasoning) * price.output + reasoning * reasoning_price
