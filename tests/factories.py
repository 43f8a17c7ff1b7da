"""Facts with sensible defaults, so that a test shows only what matters to it."""

from __future__ import annotations

from typing import Any

from llm_canary.ids import uuid7
from llm_canary.telemetry.events import InferenceEvent, OutcomeEvent, TargetKind, UsageSource

NOON_S = 1_800_000_000.0


def make_inference(**changes: Any) -> InferenceEvent:
    """A completed, comparable response of the canary."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "at_s": NOON_S,
        "endpoint": "chat.completions",
        "route": "support-bot",
        "rollout_id": "rollout-1",
        "stage": "initial",
        "share": 0.05,
        "assigned": "canary",
        "served": "canary",
        "reason": "hash",
        "eligible": True,
        "unit_hash": "0123456789abcdef0123456789abcdef",
        "unit_source": "header:x-canary-user",
        "segments": {"tier": "free", "language": "de"},
        "upstream": "openai",
        "requested_model": "support-bot",
        "model": "gpt-5-mini",
        "reported_model": "gpt-5-mini-2026",
        "response_id": "chatcmpl-1",
        "prompt": "support/v13",
        "config_hash": "c0ffee",
        "status": 200,
        "finish_reason": "stop",
        "latency_ms": 812.5,
        "prompt_tokens": 120,
        "completion_tokens": 40,
        "usage_source": UsageSource.PROVIDER,
        "cost_nanousd": 110_000,
        "body_hash": "b0d1",
    }
    return InferenceEvent(**values | changes)


def make_outcome(**changes: Any) -> OutcomeEvent:
    """A thumb up for a request."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "target_kind": TargetKind.REQUEST,
        "target_id": "request-1",
        "metric": "thumbs",
        "value": True,
        "at_s": NOON_S + 60,
        "occurred_at_s": NOON_S + 60,
    }
    return OutcomeEvent(**values | changes)
