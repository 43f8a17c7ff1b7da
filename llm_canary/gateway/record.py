"""Makes the event of a finished exchange, in the telemetry thread what is not quick."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from llm_canary.gateway.content import NOTHING, Kept, keep_or_defer
from llm_canary.gateway.dialects.answer import AnswerFacts, facts_of_body, facts_of_stream
from llm_canary.gateway.dialects.request import InferenceRequest
from llm_canary.gateway.exchange import Exchange
from llm_canary.gateway.snapshot import CompiledRoute, Snapshot
from llm_canary.gateway.token_rates import TokenRates
from llm_canary.gateway.usage import usage_of
from llm_canary.gateway.validity import asks_for_json, is_valid
from llm_canary.pricing import Usage, cost_nanousd, uncached_cost_nanousd
from llm_canary.routing.assign import CONVERSATION, header_text
from llm_canary.routing.bucket import hidden_value, unit_hash
from llm_canary.routing.table import ContentStore, Price
from llm_canary.telemetry.events import InferenceEvent, Terminal, UsageSource

_MAX_LABEL_CHARS = 256
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclass(slots=True, frozen=True)
class Unredacted:
    """An event without its texts, in which there may be something to redact; call it for both."""

    event: InferenceEvent
    redact: Callable[[], Kept]

    def __call__(self) -> InferenceEvent:
        """Return the event with its texts redacted."""
        return msgspec.structs.replace(self.event, **_content_fields(self.redact()))


def event_of(
    exchange: Exchange, rates: TokenRates, *, keeps_text: bool = True
) -> InferenceEvent | Unredacted:
    """Return the event of `exchange`; `rates` estimate the tokens that nobody reported."""
    finished = exchange.finished if exchange.finished is not None else exchange.started
    fields: dict[str, Any] = {
        "id": exchange.id,
        "at_s": exchange.at_s,
        "endpoint": exchange.endpoint,
        "status": exchange.status,
        "terminal": exchange.terminal or Terminal.REJECTED,
        "error_code": _label(exchange.error_code),
        "ttft_ms": _milliseconds(exchange.started, exchange.first_content),
        "latency_ms": _milliseconds(exchange.started, finished),
        "upstream": exchange.upstream,
        "upstream_request_id": _label(exchange.upstream_request_id),
        "path": exchange.path,
        "attempts": exchange.attempts,
        "retry_count": _retry_count(exchange),
    }
    if exchange.absorbed:
        fields["absorbed"] = exchange.absorbed
    if exchange.sent_params is not None:
        fields["sent_params"] = exchange.sent_params
    if exchange.continuation is not None:
        fields["continuation"] = exchange.continuation
    if exchange.caller is not None:
        fields["key_name"] = exchange.caller.name
    facts = _facts(exchange)
    snapshot, request = exchange.snapshot, exchange.request
    kept: Kept | Callable[[], Kept] = NOTHING
    if snapshot is not None:
        fields["config_hash"] = snapshot.table.config_hash
        if request is not None:
            expected = _expected_format(exchange, request)
            fields["schema_expected"] = asks_for_json(expected)
            _note_request(fields, exchange, request, snapshot)
            _note_assignment(fields, exchange, snapshot)
            kept = _content(exchange, request, facts) if keeps_text else NOTHING
            if facts is not None:
                _note_answer(fields, exchange, facts, expected)
                _note_usage(fields, exchange, request, facts, rates)
    if not isinstance(kept, Kept):
        return Unredacted(InferenceEvent(**fields), kept)
    fields.update(_content_fields(kept))
    return InferenceEvent(**fields)


def _facts(exchange: Exchange) -> AnswerFacts | None:
    dialect = exchange.dialect
    if dialect is None:
        return None
    if exchange.answer is not None:
        return facts_of_body(exchange.answer, dialect.note_body)
    if exchange.tap is not None:
        return facts_of_stream(exchange.tap, dialect.note_event)
    return None


def _note_request(
    fields: dict[str, Any], exchange: Exchange, request: InferenceRequest, snapshot: Snapshot
) -> None:
    fields["requested_model"] = _label(request.model)
    fields["stream"] = request.stream
    if not exchange.no_log:
        digest = blake2b(request.body, digest_size=16, key=snapshot.secret)
        fields["body_hash"] = digest.hexdigest()
    if session := header_text(exchange.headers.get(b"x-canary-session", b"")):
        fields["session_hash"] = unit_hash(snapshot.secret, session)


def _note_assignment(fields: dict[str, Any], exchange: Exchange, snapshot: Snapshot) -> None:
    route, variant, assignment = exchange.route, exchange.variant, exchange.assignment
    fields["model"] = _label(exchange.model_sent)
    if route is None:
        return
    fields["route"] = route.route.name
    fields["segments"] = _segments(exchange, route)
    fields["content_store"] = route.route.content.value
    if (split := exchange.split) is not None:
        fields["rollout_id"] = split.rollout_id
        fields["stage"] = split.stage
        fields["share"] = split.share
        fields["settle_s"] = split.settle_s
    if assignment is not None:
        fields["assigned"] = assignment.role.value
        fields["reason"] = assignment.reason.value
        fields["eligible"] = assignment.eligible and not exchange.no_log
        fields["unit_source"] = assignment.unit_source
        # A conversation's unit is a hash of its opening messages.
        is_content = assignment.unit_source == CONVERSATION
        if assignment.unit is not None and not (exchange.no_log and is_content):
            fields["unit_hash"] = unit_hash(snapshot.secret, assignment.unit)
    if variant is not None:
        fields["served"] = variant.role.value
        fields["prompt"] = variant.variant.prompt
        fields["prompt_hash"] = variant.variant.prompt_hash


def _segments(exchange: Exchange, route: CompiledRoute) -> dict[str, str]:
    read = exchange.first_user_text()
    hidden = route.route.hash_segments
    secret = exchange.snapshot.secret if exchange.snapshot is not None else b""
    values = {}
    for segment in (*route.segments, *route.eligible_segments):
        value = segment.value(exchange.headers, exchange.at_s, read)
        if value is not None:
            is_hidden = segment.name in hidden
            values[segment.name] = hidden_value(secret, segment.name, value) if is_hidden else value
    return values


def _note_answer(
    fields: dict[str, Any], exchange: Exchange, facts: AnswerFacts, expected: object
) -> None:
    choices = facts.choices.values()
    fields["response_id"] = _label(facts.response_id)
    fields["reported_model"] = _label(facts.model)
    reasons = (choice.finish_reason for choice in choices if choice.finish_reason)
    fields["finish_reason"] = _word(next(reasons, None))
    if exchange.terminal is not Terminal.COMPLETED:
        return  # of half an answer it cannot be said what it would have been
    if not facts.has_text:
        return
    fields["refusal"] = any(choice.is_refusal for choice in choices)
    fields["empty"] = facts.is_whole and all(choice.is_empty for choice in choices)
    if facts.is_whole:
        fields["output_chars"] = sum(len(choice.content) for choice in choices)
        if fields["schema_expected"]:
            fields["output_valid"] = _validity(facts, expected)


def _validity(facts: AnswerFacts, expected: object) -> bool | None:
    """Judge the choices that could have been JSON: a refusal or a tool call could not."""
    verdicts = [
        is_valid(choice.content, expected)
        for choice in facts.choices.values()
        if not choice.is_refusal and not choice.tools
    ]
    if False in verdicts:
        return False
    return True if verdicts and None not in verdicts else None


def _expected_format(exchange: Exchange, request: InferenceRequest) -> object:
    """Return the `response_format` that both arms are measured by: the client's, else control's."""
    own = request.expected_format()
    if asks_for_json(own) or exchange.route is None:
        return own
    return exchange.route.route.control.params.get("response_format")


def _note_usage(
    fields: dict[str, Any],
    exchange: Exchange,
    request: InferenceRequest,
    facts: AnswerFacts,
    rates: TokenRates,
) -> None:
    """Note what the provider counted, else what the text it was seen to read and write suggests.

    A stream that broke off was paid for, too.
    """
    upstream, model = exchange.upstream or "", exchange.model_sent or ""
    usage = usage_of(facts.usage)
    if usage is not None:
        fields["usage_source"] = UsageSource.PROVIDER
        if exchange.terminal is Terminal.COMPLETED and rates.wants(upstream, model):
            rates.note(upstream, model, *_chars(exchange, request, facts), usage)
    else:
        fields["usage_source"] = UsageSource.ESTIMATED
        prompt, completion = rates.estimate(upstream, model, *_chars(exchange, request, facts))
        guess = {"completion_tokens": completion, "output_tokens": completion}
        # Anthropic's streams begin with the prompt's count.
        usage = usage_of((facts.usage or {}) | guess) or Usage(prompt, completion)
    fields["prompt_tokens"] = usage.prompt
    fields["completion_tokens"] = usage.completion
    fields["cached_tokens"] = usage.cached
    fields["cache_write_tokens"] = usage.cache_write
    fields["reasoning_tokens"] = usage.reasoning
    fields["service_tier"] = _word(facts.service_tier)
    price = _price(exchange)
    if price is not None:
        tier = facts.service_tier or _asked_tier(exchange, request)
        fields["cost_nanousd"] = cost_nanousd(price, usage, tier)
        fields["uncached_cost_nanousd"] = uncached_cost_nanousd(price, usage, tier)


def _chars(exchange: Exchange, request: InferenceRequest, facts: AnswerFacts) -> tuple[int, int]:
    """Return how many characters the prompt and the answer have."""
    prompt = sum(map(len, request.texts()))
    if exchange.variant is not None:
        prompt += exchange.variant.prompt_chars
    answer = sum(
        len(choice.content) + sum(len(tool["arguments"]) for tool in choice.tools.values())
        for choice in facts.choices.values()
    )
    return prompt, answer


def _asked_tier(exchange: Exchange, request: InferenceRequest) -> str | None:
    """Return the `service_tier` that was sent."""
    asked = request.value(("service_tier",))
    if exchange.variant is not None:
        asked = exchange.variant.variant.params.get("service_tier", asked)
    return asked if isinstance(asked, str) else None


def _price(exchange: Exchange) -> Price | None:
    if exchange.variant is not None:
        return exchange.variant.variant.price
    if exchange.snapshot is None or exchange.upstream is None:
        return None
    upstream = exchange.snapshot.table.upstreams.get(exchange.upstream)
    return upstream.price if upstream is not None else None


def _content(
    exchange: Exchange, request: InferenceRequest, facts: AnswerFacts | None
) -> Kept | Callable[[], Kept]:
    route, snapshot = exchange.route, exchange.snapshot
    if route is None or snapshot is None or exchange.no_log:
        return NOTHING
    policy = route.route.content
    if policy is ContentStore.NONE:
        return NOTHING
    text = facts.text if facts is not None else ""
    return keep_or_defer(policy, request.content(), text, snapshot.secret, route.redactor)


def _content_fields(kept: Kept) -> dict[str, Any]:
    content_hash, request_text, response_text = kept
    return {
        "content_hash": content_hash,
        "request_text": request_text,
        "response_text": response_text,
    }


def _label(text: str | None) -> str | None:
    return text[:_MAX_LABEL_CHARS] if text is not None else None


def _word(text: str | None) -> str | None:
    """Return a provider's word for a state; one that is no word may be somebody's text."""
    return text if text is None or _WORD.fullmatch(text) else "other"


def _milliseconds(start: float, end: float | None) -> float | None:
    return None if end is None else round((end - start) * 1000, 3)


def _retry_count(exchange: Exchange) -> int:
    count = exchange.headers.get(b"x-stainless-retry-count")
    return int(count) if count and count.isdigit() and len(count) < 6 else 0
