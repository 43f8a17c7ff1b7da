"""The form of `upstreams`: providers with their prices, time limits and retries.

docs/configuration.md is generated from these models, as from those of file.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llm_canary.addresses import Network
from llm_canary.config.values import ApiVersion, Duration, Name, SecretReference
from llm_canary.documents.entry import Entry


class TierPriceEntry(Entry):
    """Dollars per million tokens of requests that the provider serves in this tier."""

    input_per_million: float = Field(ge=0, description="prompt tokens")
    output_per_million: float = Field(ge=0, description="answer tokens")
    cached_input_per_million: float | None = Field(
        default=None,
        ge=0,
        description="prompt tokens read from the provider's cache; unset: as prompt tokens",
    )
    cache_write_per_million: float | None = Field(
        default=None,
        ge=0,
        description="prompt tokens written to the provider's cache; unset: as prompt tokens",
    )
    reasoning_per_million: float | None = Field(
        default=None, ge=0, description="reasoning tokens; unset: as answer tokens"
    )


class TiersEntry(Entry):
    """Prices by the `service_tier` that the provider reports; unset: the prices without tier."""

    batch: TierPriceEntry | None = Field(default=None, description="prices of the batch tier")
    flex: TierPriceEntry | None = Field(default=None, description="prices of the flex tier")
    priority: TierPriceEntry | None = Field(default=None, description="prices of the priority tier")


class PriceEntry(TierPriceEntry):
    """Dollars per million tokens."""

    tiers: TiersEntry = Field(
        default_factory=TiersEntry, description="other prices by `service_tier`"
    )


class TimeoutsEntry(Entry):
    """How long the gateway waits for an upstream."""

    connect: Duration = Field(default=5.0, description="for a connection")
    first_byte: Duration = Field(default=300.0, description="for the first byte of the answer")
    idle: Duration = Field(default=60.0, description="between two pieces of a streamed answer")
    total: Duration = Field(
        default=600.0, description="for the whole of an answer that is no stream"
    )


class BreakerEntry(Entry):
    """When the gateway stops asking an upstream that fails, and for how long."""

    failures: int = Field(
        default=10, ge=0, le=1000, description="failures in a row that open it; 0: it never opens"
    )
    pause: Duration = Field(default=10.0, description="until one request may try again")


class AzureEntry(Entry):
    """Azure OpenAI with its deployments; a variant's `model` is the name of the deployment."""

    api_version: ApiVersion = Field(description="`api-version` of every request: `2024-10-21`")


class _UpstreamEntry(Entry):
    """What upstreams of every kind have."""

    api_key: SecretReference | None = Field(default=None, description="the upstream's credential")
    price: PriceEntry | None = Field(
        default=None, description="for models that no price list knows; wins over the list"
    )
    timeouts: TimeoutsEntry = Field(default_factory=TimeoutsEntry, description="time limits")
    retries: int = Field(
        default=0, ge=0, le=5, description="further attempts, all before the first byte; 0 to 5"
    )
    breaker: BreakerEntry = Field(
        default_factory=BreakerEntry, description="when it is left alone for a while"
    )
    network: Annotated[Network, Field(strict=False)] = Field(
        default=Network.PUBLIC,
        description="`private`: the name in its URL may lead to this machine or a private network; "
        "an address in the URL itself, and `localhost`, always may",
    )


class OpenAIUpstream(_UpstreamEntry):
    """An OpenAI-compatible server; bytes are relayed."""

    kind: Literal["openai"] = Field(description="`openai`: an OpenAI-compatible server")
    base_url: str = Field(description="URL up to and including `/v1`; may hold `${NAME}`")
    azure: AzureEntry | None = Field(
        default=None, description="Azure OpenAI: the URL is `https://NAME.openai.azure.com`"
    )


class AnthropicUpstream(_UpstreamEntry):
    """A server of Anthropic's Messages API, for `/v1/messages`; bytes are relayed."""

    kind: Literal["anthropic"] = Field(description="`anthropic`: a server of the Messages API")
    base_url: str = Field(description="URL up to and including `/v1`; may hold `${NAME}`")


class LiteLLMUpstream(_UpstreamEntry):
    """A provider that LiteLLM translates."""

    kind: Literal["litellm"] = Field(description="`litellm`: a translated provider")
    provider: Name = Field(description="LiteLLM's name of the provider: `anthropic`, `gemini`")
    base_url: str | None = Field(
        default=None, description="another address than the provider's; may hold `${NAME}`"
    )


KINDS = ("anthropic", "litellm", "openai")
UpstreamEntry = Annotated[
    OpenAIUpstream | AnthropicUpstream | LiteLLMUpstream, Field(discriminator="kind")
]
