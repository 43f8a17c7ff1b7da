"""Tokens to money, in whole nano-dollars."""

from __future__ import annotations

from llm_canary.routing.table import Price


def cost_nanousd(
    price: Price, prompt_tokens: int, completion_tokens: int, cached_tokens: int | None
) -> int:
    """Return what the provider charges.

    `cached_tokens` are part of `prompt_tokens`; without a price of their own they cost as much as
    the others.
    """
    cached = min(cached_tokens or 0, prompt_tokens)
    cached_price = price.input if price.cached_input is None else price.cached_input
    fresh = (prompt_tokens - cached) * price.input
    return round(fresh + cached * cached_price + completion_tokens * price.output)


def uncached_cost_nanousd(price: Price, prompt_tokens: int, completion_tokens: int) -> int:
    """Return the cost with every prompt token at the full price.

    A small canary meets a cold prompt cache; this is what makes its cost comparable.
    """
    return round(prompt_tokens * price.input + completion_tokens * price.output)
