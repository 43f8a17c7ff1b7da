"""A routing table made ready for serving: secrets resolved, headers encoded, rules compiled.

Everything here is built once per table swap, so that a request only looks things up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from time import perf_counter

import msgspec

from llm_canary.config.secrets import resolve
from llm_canary.errors import ConfigError, InvalidRequest, UpstreamUnavailable
from llm_canary.gateway.asgi import Headers
from llm_canary.gateway.feedback_token import FeedbackTokens
from llm_canary.gateway.keys import GatewayKeys
from llm_canary.gateway.limits import Meter, Meters
from llm_canary.opaque import Opaque
from llm_canary.privacy.redact import Redactor
from llm_canary.providers.openai_wire import OpenAiWire
from llm_canary.providers.wire import Answer, Outbound, Wire
from llm_canary.routing.assign import Source, SplitRule, parse_source
from llm_canary.routing.bucket import canary_buckets
from llm_canary.routing.segment import SegmentSource, default_source
from llm_canary.routing.table import (
    ContentStore,
    Path,
    PromptVariable,
    Redaction,
    Role,
    Route,
    RoutingTable,
    Upstream,
    Variant,
)

_log = logging.getLogger(__name__)
# The gateway itself decides these; a variant's params must not.
_RESERVED_PARAMS = frozenset({"model", "messages", "input", "stream", "stream_options"})


@dataclass(slots=True, frozen=True)
class CompiledVariant:
    """A variant with everything that a request for it needs."""

    role: Role
    variant: Variant
    opaque_id: str
    headers: Headers  # x-canary-rollout and x-canary-variant
    model: msgspec.Raw
    prompt: bytes | None  # as a JSON string, when it is the same for all requests
    params: dict[str, msgspec.Raw]

    @property
    def prompt_chars(self) -> int:
        """How long the prompt is, without what requests fill in."""
        texts = (part for part in self.variant.prompt_parts if isinstance(part, str))
        return len(self.variant.prompt_text or "") + sum(map(len, texts))

    def prompt_for(self, value: Callable[[tuple[str, ...]], object]) -> bytes | None:
        """Return the prompt as a JSON string, None without one.

        `value` looks into the request's body. Raises InvalidRequest for a variable that the request
        does not fill.
        """
        parts = self.variant.prompt_parts
        if not parts:
            return self.prompt
        return msgspec.json.encode("".join([_filled(part, value, self.variant) for part in parts]))


@dataclass(slots=True, frozen=True)
class CompiledRoute:
    """A route with everything that a request for it needs."""

    route: Route
    sources: tuple[Source, ...]
    segments: tuple[SegmentSource, ...]
    eligible_segments: tuple[SegmentSource, ...]
    split: SplitRule | None
    variants: dict[Role, CompiledVariant]
    pins: dict[str, Role]
    is_quick_to_record: bool  # no answer is checked against a format
    redactor: Redactor | None  # None: its patterns cannot be used, so nothing is kept redacted
    meter: Meter | None  # None: nothing is limited


def _filled(
    part: str | PromptVariable, value: Callable[[tuple[str, ...]], object], variant: Variant
) -> str:
    if isinstance(part, str):
        return part
    given = value(part.path)
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, str | int | float):
        return str(given)
    if part.default is not None:
        return part.default
    name = ".".join(part.path)
    raise InvalidRequest(
        f"prompt {variant.prompt!r} needs `{name}`, a text or a number, and the request has none; "
        "send it, or give the variable a default in the prompt",
        param=name,
        code="missing_prompt_variable",
    )


class UnusableWire:
    """An upstream that cannot be used; requests for it are answered with the reason."""

    def __init__(self, message: str, code: str) -> None:
        self._message = message
        self._code = code

    path = Path.PASSTHROUGH
    api_key: Opaque | None = None

    def use(self, connector: object) -> None:
        """Do nothing: there is nothing to connect to."""

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    async def send(self, outbound: Outbound) -> Answer:
        """Raise UpstreamUnavailable with the reason."""
        del outbound
        raise UpstreamUnavailable(self._message, code=self._code)


class Snapshot:
    """One compiled routing table. Immutable once built."""

    def __init__(self, table: RoutingTable, meters: Meters | None = None) -> None:
        self._meters, self._now_s = meters or Meters(), perf_counter()
        self.table = table
        self.secret = table.unit_secret
        self.is_keyless = table.is_keyless
        self.feedback_tokens = FeedbackTokens(self.secret, table.feedback.token_lifetime_s)
        self.wires: dict[str, Wire] = {
            name: _wire(upstream) for name, upstream in table.upstreams.items()
        }
        self.routes = {name: self._compile(route) for name, route in table.routes.items()}
        self.max_body_bytes = table.max_body_bytes
        self.key_of = GatewayKeys(table, self._meters, self._now_s).find
        self.redactor = self._redactor_of_all()
        # What an outcome is about is not known when it comes: without a route that keeps text
        # there is none to whose answers a comment could belong.
        self.keeps_comments = any(
            route.content in (ContentStore.REDACTED, ContentStore.FULL)
            for route in table.routes.values()
        )

    def _compile(self, route: Route) -> CompiledRoute:
        variants = {Role.CONTROL: self._variant(route, Role.CONTROL, route.control)}
        split = None
        segments = tuple(SegmentSource(name, source) for name, source in route.segments.items())
        declared = {segment.name: segment for segment in segments}
        eligible: tuple[SegmentSource, ...] = ()
        if route.split is not None:
            variants[Role.CANARY] = self._variant(route, Role.CANARY, route.split.canary)
            split = SplitRule(route.split.salt, canary_buckets(route.split.share))
            eligible = tuple(
                declared.get(name) or default_source(name) for name in route.split.eligible
            )
        pins = {role.value: role for role in variants}
        pins.update({variant.opaque_id: role for role, variant in variants.items()})
        return CompiledRoute(
            route=route,
            sources=tuple(parse_source(label) for label in route.unit),
            segments=segments,
            eligible_segments=eligible,
            split=split,
            variants=variants,
            pins=pins,
            is_quick_to_record="response_format" not in route.control.params,
            redactor=self._redactor(route.name, route.redact),
            meter=self._meters.of_route(route.name, route.limits, self._now_s),
        )

    def _redactor(self, name: str, redaction: Redaction) -> Redactor | None:
        try:
            return Redactor(self.secret, redaction.kinds, redaction.patterns)
        except ConfigError as error:
            _log.warning("the patterns of %r cannot be used: %s", name, error.message)
            return None

    def _redactor_of_all(self) -> Redactor | None:
        """Return the redactor of outcomes, which may be about any route."""
        patterns: dict[str, str] = {}
        for route in self.table.routes.values():
            patterns |= route.redact.patterns
        return self._redactor("routes", Redaction(patterns=patterns))

    def _variant(self, route: Route, role: Role, variant: Variant) -> CompiledVariant:
        split = route.split
        subject = split.rollout_id if split is not None else f"route:{route.name}"
        opaque_id = self._opaque_id(subject, role)
        headers = [(b"x-canary-variant", opaque_id.encode())]
        if split is not None:
            headers.append((b"x-canary-rollout", _header_value(split.rollout)))
        prompt = variant.prompt_text
        return CompiledVariant(
            role=role,
            variant=variant,
            opaque_id=opaque_id,
            headers=headers,
            model=msgspec.Raw(msgspec.json.encode(variant.model)),
            prompt=msgspec.json.encode(prompt) if prompt is not None else None,
            params={
                name: msgspec.Raw(msgspec.json.encode(value))
                for name, value in variant.params.items()
                if name not in _RESERVED_PARAMS
            },
        )

    def _opaque_id(self, subject: str, role: Role) -> str:
        """Name an arm without telling which it is; the same on every replica."""
        text = f"variant\0{subject}\0{role}".encode(errors="surrogatepass")
        return "v-" + blake2b(text, digest_size=6, key=self.secret).hexdigest()


def _wire(upstream: Upstream) -> Wire:
    try:
        api_key = resolve(upstream.api_key) if upstream.api_key is not None else None
    except ConfigError as error:
        _log.warning("upstream %r has no usable key: %s", upstream.name, error.message)
        return UnusableWire(
            f"the gateway has no usable key for upstream {upstream.name!r}; set it",
            code="upstream_credentials",
        )
    if upstream.kind == "litellm":
        from llm_canary.providers.litellm_bridge import LiteLlmWire  # noqa: PLC0415

        return LiteLlmWire(upstream, api_key)
    try:
        return OpenAiWire(upstream, api_key)
    except ValueError as error:
        return UnusableWire(
            f"the base_url of upstream {upstream.name!r} is unusable: {error}",
            code="upstream_invalid_url",
        )


def _header_value(text: str) -> bytes:
    return text.encode("ascii", errors="replace")
