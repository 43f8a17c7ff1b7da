"""The routing table: an immutable snapshot of everything the data plane needs.

It is JSON (msgspec) so that it can lie on disk as the last good plan and travel to another process.
It holds no key of a provider or of the file: `KeyRef.secret` and `Upstream.api_key` are references
such as `${OPENAI_API_KEY}` or `file:/run/secrets/x`. It does hold the installation's own secrets,
under which units and stored keys are hashed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from llm_canary.addresses import Network
from llm_canary.auth import AccessRole
from llm_canary.opaque import Opaque
from llm_canary.privacy.kinds import Kind
from llm_canary.routing.limits import Limits

BUCKETS = 1_000_000
TABLE_FORMAT = 1


class Role(StrEnum):
    """The two roles a variant can have in a rollout."""

    CONTROL = "control"
    CANARY = "canary"


class Reason(StrEnum):
    """Why a request got its variant."""

    NO_ROLLOUT = "no_rollout"  # the route has no running rollout
    HASH = "hash"  # the unit's bucket decided: the only reason that enters a comparison
    PIN = "pin"  # x-canary-pin
    PREVIOUS_RESPONSE = "previous_response"  # it continues a response of the other arm
    ANONYMOUS = "anonymous"  # no unit and `anonymous: control`
    INELIGIBLE = "ineligible"  # the rollout's `eligible` rules exclude the request


class Anonymous(StrEnum):
    """What happens to a request in which no unit is found."""

    CONVERSATION = "conversation"
    CONTROL = "control"


class ContentStore(StrEnum):
    """How much of prompts and answers is kept."""

    NONE = "none"
    HASH = "hash"
    REDACTED = "redacted"
    FULL = "full"


class OnDisconnect(StrEnum):
    """What happens to the upstream's answer when the client leaves."""

    CANCEL = "cancel"  # the upstream is aborted at once
    DRAIN = "drain"  # the answer is read to its end, so that its usage is known


class Path(StrEnum):
    """How a request reached its upstream."""

    PASSTHROUGH = "passthrough"  # byte for byte
    TRANSLATED = "translated"  # by LiteLLM: another arm than the same model untranslated


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Price in nano-dollars per token; without a price the cost is unknown, not zero.

    A price that is None costs what the tokens cost that it is a kind of: cached and cache-writing
    tokens are input, reasoning tokens are output.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None
    tiers: dict[str, Price] = {}  # by the provider's `service_tier`: "flex", "priority", "batch"


class Upstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider endpoint with its credentials by reference and its time limits in seconds."""

    name: str
    kind: str  # "openai" and "anthropic": bytes are relayed; "litellm": LiteLLM translates
    base_url: str  # "" for a litellm provider's own address
    api_key: str | None = None  # a reference, never the secret
    price: Price | None = None
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 300.0
    idle_timeout_s: float = 60.0
    total_timeout_s: float = 600.0  # of answers that are no streams
    retries: int = 0  # further attempts before the first byte
    breaker_failures: int = 10  # so many failures in a row open the breaker; 0 = it never opens
    breaker_pause_s: float = 10.0
    azure_api_version: str | None = None  # Azure OpenAI: deployments below base_url
    provider: str | None = None  # LiteLLM's name of the provider
    network: Network = Network.PUBLIC  # where the name in base_url may lead


class PromptVariable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place in a prompt that each request fills: `{{ metadata.name }}`."""

    path: tuple[str, ...]  # of keys in the request's body: ("metadata", "name")
    default: str | None = None  # None: a request without the value is refused


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Immutable pair of upstream model and prompt version, with parameters."""

    upstream: str
    model: str
    prompt: str | None = None  # "support/v12"
    prompt_hash: str | None = None  # content hash of the prompt text
    prompt_text: str | None = None  # rendered system message
    prompt_parts: tuple[str | PromptVariable, ...] = ()  # instead of the text: it has variables
    params: dict[str, Any] = {}
    price: Price | None = (
        None  # resolved when the table is built: the upstream's, else the price list's
    )


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The part of a running rollout that the data plane needs."""

    rollout_id: str
    rollout: str  # its name in the file
    salt: str
    stage: str
    share: float  # canary fraction of units in force, 0-1
    canary: Variant
    fallback: bool = False  # a failed canary's request is answered by control
    settle_s: float = 15.0  # how long scoring waits for a retry by the client
    eligible: dict[str, Any] = {}  # segment -> allowed values, or {"min": x, "max": y}


class Redaction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is looked for in texts before they are stored."""

    kinds: tuple[Kind, ...] = tuple(Kind)
    patterns: dict[str, str] = {}  # name -> RE2


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What apps send as `model`."""

    name: str
    control: Variant
    unit: tuple[str, ...]  # "header:x-canary-user", "body:user", "body:metadata.user_id" ...
    anonymous: Anonymous = Anonymous.CONVERSATION
    segments: dict[str, str] = {}  # name -> "header:..." | "detect" | "first_message" | "derive"
    content: ContentStore = ContentStore.NONE
    redact: Redaction = Redaction()
    hash_segments: tuple[str, ...] = ()  # stored as a keyed hash only
    on_disconnect: OnDisconnect = OnDisconnect.CANCEL
    split: Split | None = None
    limits: Limits | None = None


class KeyRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An API key of an app, by reference."""

    name: str
    secret: str  # a reference
    may_pin: bool = False
    role: AccessRole = AccessRole.APP
    routes: tuple[str, ...] | None = None  # None: every route
    limits: Limits | None = None


class StoredKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An API key of the database. Those that have ended stay a while, so that they can be told."""

    id: str
    name: str
    hash: str  # hex, HMAC-SHA256 under `StoredKeys.secret`
    role: AccessRole
    routes: tuple[str, ...] | None = None  # None: every route
    may_pin: bool = False
    expires_s: float | None = None
    is_revoked: bool = False
    limits: Limits | None = None


class StoredKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of the database's keys without the database."""

    keys: tuple[StoredKey, ...] = ()
    secret: Opaque = Opaque()
    any_made: bool = False  # then nobody comes without a key, also when all have ended


class FeedbackRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What browsers may say without an API key, by a signed token."""

    origins: tuple[str, ...] = ()  # of web pages that may read the answer
    metrics: tuple[str, ...] = ("thumbs",)
    token_lifetime_s: float = 30 * 86_400.0


class RoutingTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One immutable snapshot; a promotion or a rollback is a new one."""

    config_hash: str
    version: int  # rises with every publication
    routes: dict[str, Route]
    upstreams: dict[str, Upstream]
    keys: tuple[KeyRef, ...] = ()
    stored: StoredKeys = StoredKeys()
    unit_secret: Opaque = Opaque()  # keys the hash under which units are stored
    default_upstream: str | None = None
    max_body_bytes: int = 10_000_000
    feedback: FeedbackRules = FeedbackRules()
    format: int = TABLE_FORMAT

    @property
    def is_keyless(self) -> bool:
        """Whether nobody needs a key, so that only this machine may call."""
        return not self.keys and not self.stored.any_made


def encode(table: RoutingTable) -> bytes:
    """Return the table as JSON."""
    return msgspec.json.encode(table, enc_hook=_written)


def decode(data: bytes) -> RoutingTable:
    """Return the table of `data`; raise msgspec.ValidationError when it is not one."""
    return msgspec.json.decode(data, type=RoutingTable, dec_hook=_read)


def _written(value: object) -> str:
    """Return the installation's secrets in hex: the file is readable by its owner only."""
    if isinstance(value, Opaque):
        return value.hex()
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def _read(kind: type, value: str) -> Opaque:
    if kind is not Opaque:
        raise NotImplementedError(f"{kind.__name__} has no form in JSON")
    return Opaque.fromhex(value)
