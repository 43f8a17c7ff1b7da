"""Prices from LiteLLM's list, read as a data file.

Importing litellm would take seconds and open the network.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from llm_canary.routing.table import Price

_FILE = "model_prices_and_context_window_backup.json"
_NANO = 1e9


def lookup(model: str, provider: str | None = None) -> Price | None:
    """Return the price of `model`, as LiteLLM's `provider` sells it; None = not in the list."""
    entries = _entries()
    for name in (f"{provider}/{model}" if provider else model, model):
        entry = entries.get(name)
        if isinstance(entry, dict) and (price := _price(entry)):
            return price
    return None


def _price(entry: dict[str, Any]) -> Price | None:
    per_input = _nano(entry.get("input_cost_per_token"))
    per_output = _nano(entry.get("output_cost_per_token"))
    if per_input is None or per_output is None:
        return None
    cached = _nano(entry.get("cache_read_input_token_cost"))
    return Price(input=per_input, output=per_output, cached_input=cached)


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
