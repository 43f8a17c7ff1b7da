"""From the entries of `upstreams` to what the data plane knows of them."""

from __future__ import annotations

from llm_canary.addresses import problem_of_url
from llm_canary.config import secrets
from llm_canary.config.upstream_entries import (
    OpenAIUpstream,
    PriceEntry,
    TierPriceEntry,
    UpstreamEntry,
)
from llm_canary.documents.problems import KeyPath, Problems, shown
from llm_canary.errors import ConfigError
from llm_canary.routing.table import Price, Upstream

_EXPECTED = "a URL such as https://api.openai.com/v1, without user, password, query or fragment"


def resolve_upstream(name: str, entry: UpstreamEntry, problems: Problems) -> Upstream | None:
    """Return the upstream; note what is wrong with its address or key, None without an address."""
    path: KeyPath = ("upstreams", name)
    if entry.api_key is not None:
        try:
            secrets.resolve(entry.api_key)
        except ConfigError as error:
            problems.add((*path, "api_key"), error.message)
    url = ""  # only a provider of LiteLLM's has an address of its own
    if entry.base_url is not None:
        found = _base_url((*path, "base_url"), entry.base_url, problems)
        if found is None:
            return None
        url = found
    azure = entry.azure if isinstance(entry, OpenAIUpstream) else None
    if azure is not None and url.endswith(("/openai", "/openai/v1")):
        wrong = "the gateway adds /openai/deployments/… to the address itself"
        expected = "the resource's address: https://NAME.openai.azure.com"
        do = "end base_url before /openai, or leave `azure` out to use its /openai/v1"
        problems.add((*path, "base_url"), wrong, expected=expected, do=do)
    return Upstream(
        name=name,
        kind=entry.kind,
        base_url=url,
        api_key=entry.api_key,
        price=None if entry.price is None else _price(entry.price),
        connect_timeout_s=entry.timeouts.connect,
        first_byte_timeout_s=entry.timeouts.first_byte,
        idle_timeout_s=entry.timeouts.idle,
        total_timeout_s=entry.timeouts.total,
        retries=entry.retries,
        breaker_failures=entry.breaker.failures,
        breaker_pause_s=entry.breaker.pause,
        azure_api_version=azure.api_version if azure else None,
        provider=entry.provider if entry.kind == "litellm" else None,
        network=entry.network,
    )


def _base_url(path: KeyPath, written: str, problems: Problems) -> str | None:
    try:
        url = secrets.interpolate(written)
    except ConfigError as error:
        problems.add(path, error.message)
        return None
    if (problem := problem_of_url(url)) is not None:
        problems.add(path, f"{shown(written)} does not fit: it is {problem}", expected=_EXPECTED)
        return None
    if set("?#") & set(url):
        problems.add(path, f"{shown(written)} has a query or fragment", expected=_EXPECTED)
        return None
    return url.rstrip("/")


def _price(entry: TierPriceEntry) -> Price:
    tiers = {}
    if isinstance(entry, PriceEntry):
        tiers = {name: _price(tier) for name, tier in entry.tiers if tier is not None}
    return Price(
        input=_nanousd_per_token(entry.input_per_million),
        output=_nanousd_per_token(entry.output_per_million),
        cached_input=_optional(entry.cached_input_per_million),
        cache_write=_optional(entry.cache_write_per_million),
        reasoning=_optional(entry.reasoning_per_million),
        tiers=tiers,
    )


def _optional(usd_per_million: float | None) -> float | None:
    return None if usd_per_million is None else _nanousd_per_token(usd_per_million)


def _nanousd_per_token(usd_per_million: float) -> float:
    return round(usd_per_million * 1000, 9)
