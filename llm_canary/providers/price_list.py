"""Prices from LiteLLM's list, read as a data file.

Importing litellm would take seconds and open the network.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from msgspec import structs

from llm_canary.routing.table import Price

_FILE = "model_prices_and_context_window_backup.json"
_NANO = 1e9
_INPUT = "input_cost_per_token"
_OUTPUT = "output_cost_per_token"
_CACHE_READ = "cache_read_input_token_cost"
_CACHE_WRITE = "cache_creation_input_token_cost"
_REASONING = "output_cost_per_reasoning_token"
_KEYS = (_INPUT, _OUTPUT, _CACHE_READ, _CACHE_WRITE, _REASONING)
_TIERS = {"batch": "_batches", "flex": "_flex", "priority": "_priority"}  # -> end of the list's key


def lookup(model: str, provider: str | None = None) -> Price | None:
    """Return the price of `model`, as LiteLLM's `provider` sells it; None = not in the list."""
    entries = _entries()
    for name in (f"{provider}/{model}" if provider else model, model):
        entry = entries.get(name)
        if isinstance(entry, dict) and (price := _price(entry)):
            return price
    return None


def _price(entry: dict[str, Any]) -> Price | None:
    price = _standard(entry)
    if price is None:
        return None
    tiers = {tier: _tier(entry, suffix) for tier, suffix in _TIERS.items()}
    return structs.replace(
        price, tiers={name: tier for name, tier in tiers.items() if tier is not None}
    )


def _standard(entry: dict[str, Any]) -> Price | None:
    per_input, per_output = _nano(entry.get(_INPUT)), _nano(entry.get(_OUTPUT))
    if per_input is None or per_output is None:
        return None
    return Price(
        input=per_input,
        output=per_output,
        cached_input=_nano(entry.get(_CACHE_READ)),
        cache_write=_nano(entry.get(_CACHE_WRITE)) or None,  # 0 in the list: nothing beside input
        reasoning=_nano(entry.get(_REASONING)),
    )


def _tier(entry: dict[str, Any], suffix: str) -> Price | None:
    """Return the prices of one tier, None when the list has neither its input nor its output.

    What the tier does not price costs as without a tier. Reasoning alone is then the tier's output:
    the standard price of reasoning would undo the tier's discount.
    """
    written = {key: entry.get(f"{key}{suffix}") for key in _KEYS}
    own = {key: value for key, value in written.items() if _nano(value) is not None}
    if not own.keys() & {_INPUT, _OUTPUT}:
        return None
    if _OUTPUT in own:
        own.setdefault(_REASONING, None)
    return _standard(entry | own)


def _nano(dollars: object) -> float | None:
    """Return nano-dollars without binary noise: 2.5e-07 is 250, not 250.00000000000003."""
    if isinstance(dollars, bool) or not isinstance(dollars, int | float):
        return None
    return round(dollars * _NANO, 6)


@cache
def _entries() -> dict[str, Any]:
    spec = importlib.util.find_spec("litellm")  # finds a top-level package without importing it
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / _FILE
        if path.is_file():
            entries: dict[str, Any] = orjson.loads(path.read_bytes())
            return entries
    return {}
