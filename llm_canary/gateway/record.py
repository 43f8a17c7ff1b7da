"""Makes the event of a finished exchange. Runs in the telemetry thread, never on the event loop."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from llm_canary.gateway.answer import AnswerFacts, facts_of_body, facts_of_stream
from llm_canary.gateway.content import NOTHING, Kept, keep
from llm_canary.gateway.exchange import Exchange
from llm_canary.gateway.request import text_of
from llm_canary.gateway.validity import asks_for_json, is_valid
from llm_canary.pricing import cost_nanousd, uncached_cost_nanousd
from llm_canary.routing.assign import header_text
from llm_canary.routing.bucket import unit_hash
from llm_canary.routing.table import ContentStore, Price
from llm_canary.telemetry.events import InferenceEvent, Terminal, UsageSource

ENDPOINT = "chat.completions"
_MAX_LABEL_CHARS = 256
_CHARS_PER_TOKEN = 4


def event_of(exchange: Exchange) -> InferenceEvent:
    """Return the event of `exchange`."""
    facts = _facts(exchange)
    fields: dict[str, Any] = {}
    if exchange.request is not None and exchange.snapshot is not None:
        fields |= _request_fields(exchange)
        fields |= _assignment_fields(exchange)
    if facts is not None:
        fields |= _answer_fields(exchange, facts)
        fields |= _usage_fields(exchange, facts)
    fields |= _content(exchange, facts)._asdict()
    finished = exchange.finished if exchange.finished is not None else exchange.started
    return InferenceEvent(
        id=exchange.id,
        at_s=exchange.at_s,
        endpoint=ENDPOINT,
        key_name=exchange.caller.name if exchange.caller is not None else None,
        upstream=exchange.upstream,
        upstream_request_id=_label(exchange.upstream_request_id),
        config_hash=exchange.snapshot.table.config_hash if exchange.snapshot is not None else "",
        status=exchange.status,
        terminal=exchange.terminal or Terminal.REJECTED,
        error_code=_label(exchange.error_code),
        ttft_ms=_milliseconds(exchange.started, exchange.first_content),
        latency_ms=_milliseconds(exchange.started, finished) or 0.0,
        retry_count=_retry_count(exchange),
        **fields,
    )


def _facts(exchange: Exchange) -> AnswerFacts | None:
    if exchange.answer is not None:
        return facts_of_body(exchange.answer)
    return facts_of_stream(exchange.tap) if exchange.tap is not None else None


def _request_fields(exchange: Exchange) -> dict[str, Any]:
    request, snapshot = exchange.request, exchange.snapshot
    assert request is not None and snapshot is not None  # noqa: S101, PT018 - checked by the caller
    session = header_text(exchange.headers.get(b"x-canary-session", b""))
    return {
        "requested_model": _label(request.model),
        "stream": request.stream,
        "session_hash": unit_hash(snapshot.secret, session) if session else None,
        "body_hash": None
        if exchange.no_log
        else blake2b(request.body, digest_size=16, key=snapshot.secret).hexdigest(),
        "schema_expected": asks_for_json(_expected_format(exchange)),
    }


def _assignment_fields(exchange: Exchange) -> dict[str, Any]:
    route, variant, assignment = exchange.route, exchange.variant, exchange.assignment
    snapshot = exchange.snapshot
    if route is None or snapshot is None:
        return {"model": _label(exchange.model_sent)}
    read = exchange.first_user_text()
    values = {
        segment.name: segment.value(exchange.headers, exchange.at_s, read)
        for segment in (*route.segments, *route.eligible_segments)
    }
    fields: dict[str, Any] = {
        "route": route.route.name,
        "segments": {name: value for name, value in values.items() if value is not None},
        "model": _label(exchange.model_sent),
        "content_store": route.route.content.value,
    }
    if (split := route.route.split) is not None:
        fields |= {"rollout_id": split.rollout_id, "stage": split.stage, "share": split.share}
    if assignment is not None:
        fields |= {
            "assigned": assignment.role.value,
            "reason": assignment.reason.value,
            "eligible": assignment.eligible and not exchange.no_log,
            "unit_source": assignment.unit_source,
        }
        if assignment.unit is not None:
            fields["unit_hash"] = unit_hash(snapshot.secret, assignment.unit)
    if variant is not None:
        fields |= {
            "served": variant.role.value,
            "prompt": variant.variant.prompt,
            "prompt_hash": variant.variant.prompt_hash,
        }
    return fields


def _answer_fields(exchange: Exchange, facts: AnswerFacts) -> dict[str, Any]:
    reasons = [choice.finish_reason for choice in facts.choices.values() if choice.finish_reason]
    fields: dict[str, Any] = {
        "response_id": _label(facts.response_id),
        "reported_model": _label(facts.model),
        "finish_reason": _label(reasons[0]) if reasons else None,
    }
    if exchange.terminal is not Terminal.COMPLETED:
        return fields  # of half an answer it cannot be said what it would have been
    choices = facts.choices.values()
    fields["refusal"] = any(choice.is_refusal for choice in choices)
    fields["empty"] = facts.is_whole and all(choice.is_empty for choice in choices)
    if facts.is_whole:
        fields["output_chars"] = sum(len(choice.content) for choice in choices)
        fields["output_valid"] = _validity(exchange, facts)
    return fields


def _validity(exchange: Exchange, facts: AnswerFacts) -> bool | None:
    """Judge the choices that could have been JSON: a refusal or a tool call could not."""
    expected = _expected_format(exchange)
    if not asks_for_json(expected):
        return None
    verdicts = [
        is_valid(choice.content, expected)
        for choice in facts.choices.values()
        if not choice.is_refusal and not choice.tools
    ]
    if False in verdicts:
        return False
    return True if verdicts and None not in verdicts else None


def _expected_format(exchange: Exchange) -> object:
    """Return the `response_format` that both arms are measured by: the client's, else control's."""
    if exchange.request is None:
        return None
    own = exchange.request.value(("response_format",))
    if asks_for_json(own) or exchange.route is None:
        return own
    return exchange.route.route.control.params.get("response_format")


def _usage_fields(exchange: Exchange, facts: AnswerFacts) -> dict[str, Any]:
    prompt, completion = facts.tokens("prompt_tokens"), facts.tokens("completion_tokens")
    source = UsageSource.PROVIDER
    if prompt is None or completion is None:
        source = UsageSource.ESTIMATED
        prompt, completion = _estimated(exchange, facts)
    cached = facts.tokens("prompt_tokens_details", "cached_tokens")
    fields: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": cached,
        "reasoning_tokens": facts.tokens("completion_tokens_details", "reasoning_tokens"),
        "usage_source": source,
    }
    price = _price(exchange)
    if price is not None:
        fields["cost_nanousd"] = cost_nanousd(price, prompt, completion, cached)
        fields["uncached_cost_nanousd"] = uncached_cost_nanousd(price, prompt, completion)
    return fields


def _estimated(exchange: Exchange, facts: AnswerFacts) -> tuple[int, int]:
    """Estimate tokens by characters: a stream that broke off was paid for, too."""
    messages = exchange.request.messages if exchange.request is not None else []
    prompt = sum(len(text_of(message.content)) for message in messages)
    if exchange.variant is not None:
        prompt += len(exchange.variant.variant.prompt_text or "")
    answer = sum(
        len(choice.content) + sum(len(tool["arguments"]) for tool in choice.tools.values())
        for choice in facts.choices.values()
    )
    return -(-prompt // _CHARS_PER_TOKEN), -(-answer // _CHARS_PER_TOKEN)


def _price(exchange: Exchange) -> Price | None:
    if exchange.variant is not None:
        return exchange.variant.variant.price
    if exchange.snapshot is None or exchange.upstream is None:
        return None
    upstream = exchange.snapshot.table.upstreams.get(exchange.upstream)
    return upstream.price if upstream is not None else None


def _content(exchange: Exchange, facts: AnswerFacts | None) -> Kept:
    route, request, snapshot = exchange.route, exchange.request, exchange.snapshot
    if route is None or request is None or snapshot is None or exchange.no_log:
        return NOTHING
    policy = route.route.content
    if policy is ContentStore.NONE:
        return NOTHING
    return keep(
        policy, bytes(request.fields["messages"]), facts.text if facts else "", snapshot.secret
    )


def _label(text: str | None) -> str | None:
    return text[:_MAX_LABEL_CHARS] if text is not None else None


def _milliseconds(start: float, end: float | None) -> float | None:
    return None if end is None else round((end - start) * 1000, 3)


def _retry_count(exchange: Exchange) -> int:
    count = exchange.headers.get(b"x-stainless-retry-count", b"")
    return int(count) if count.isdigit() and len(count) < 6 else 0
