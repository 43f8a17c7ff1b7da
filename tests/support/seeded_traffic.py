"""Requests of the seeded instance: routed as the gateway would, answered by chance, recorded as events."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from llm_canary.routing.assign import SplitRule, Unit, assign
from llm_canary.routing.bucket import canary_buckets, unit_hash
from llm_canary.routing.segment import derived, length_class
from llm_canary.routing.table import Role, Route
from llm_canary.telemetry.events import (
    InferenceEvent,
    OutcomeEvent,
    TargetKind,
    Terminal,
    UsageSource,
)
from tests.support.parcels import Said, conversation

UNITS = 4_000
TIERS = ("free", "paid", "paid", "business")
_FAILURES = (
    (Terminal.UPSTREAM_ERROR, 502, "upstream_500"),
    (Terminal.UPSTREAM_ERROR, 502, "upstream_unreachable"),
    (Terminal.TIMEOUT, 504, "timeout"),
    (Terminal.TRUNCATED, 200, "truncated"),
)


class Manner(NamedTuple):
    """How one variant answers; `good` is None where nothing is graded."""

    error: float
    latency_ms: float
    cost_nanousd: int
    good: float | None = None
    thumbs: float | None = None
    harmed: str | None = None  # a country that it serves badly


class Traffic:
    """Draws requests; the same seed draws the same ones."""

    def __init__(
        self,
        seed: int,
        answers: Sequence[Said],
        countries: Sequence[str],
        thumb_comments: Sequence[str],
    ) -> None:
        self._draw = random.Random(seed + 1)
        self._rng = np.random.default_rng(seed)
        self._countries = tuple(countries)
        self._comments = list(thumb_comments)
        self._by_kind = {
            kind: [each for each in answers if each.is_good is kind] for kind in (True, False)
        }

    def hour(
        self,
        route: Route,
        start_s: float,
        count: int,
        control: Manner,
        canary: Manner | None,
    ) -> list[Any]:
        """Return the events of one hour: busy by day, quiet at night."""
        day = 0.6 + 0.8 * (6 <= (start_s // 3600) % 24 < 20)
        events: list[Any] = []
        for offset in np.sort(self._rng.uniform(0.0, 3_600.0, round(count * day))):
            events += self._request(route, start_s + float(offset), control, canary)
        return events

    def _request(
        self, route: Route, at_s: float, control: Manner, canary: Manner | None
    ) -> list[Any]:
        draw, split = self._draw, route.split
        number = draw.randrange(UNITS)
        user = f"user-{number}"
        rule = None if split is None else SplitRule(split.salt, canary_buckets(split.share))
        routed = assign(rule, Unit(user, "header:x-canary-user"), pin=None, is_eligible=True)
        is_canary = routed.role is Role.CANARY and canary is not None
        manner = canary if is_canary and canary is not None else control
        country = self._countries[number % len(self._countries)]
        harm = 3.0 if manner.harmed == country else 1.0
        facts = (
            self._failed() if draw.random() < manner.error * harm else self._answered(manner, harm)
        )
        said = facts.pop("said", None)
        variant = split.canary if is_canary and split is not None else route.control
        event = InferenceEvent(
            id=self._id(at_s),
            at_s=at_s,
            endpoint="chat.completions",
            route=route.name,
            rollout_id=split.rollout_id if split else None,
            stage=split.stage if split else None,
            share=split.share if split else None,
            settle_s=split.settle_s if split else 0.0,
            assigned=routed.role.value if split else None,
            served=routed.role.value,
            reason=routed.reason.value,
            eligible=routed.eligible,
            unit_hash=unit_hash(b"secret", user),
            unit_source="header:x-canary-user",
            session_hash=unit_hash(b"secret", f"{user}/{int(at_s) // 7_200}"),
            segments=self._segments(number, country, at_s, said),
            upstream="models",
            requested_model=route.name,
            model=variant.model,
            reported_model=f"{variant.model}-2026-08",
            prompt=variant.prompt,
            attempts=1,
            **facts,
        )
        return [event, *self._outcomes(event, manner, said)]

    def _segments(
        self, number: int, country: str, at_s: float, said: Said | None
    ) -> dict[str, str]:
        return {
            "country": country,
            "tier": TIERS[number % 7 % len(TIERS)],
            "language": said.language if said else "en",
            "input_length": length_class(len(said.question) if said else 80),
            "hour": derived("hour", at_s) or "",
        }

    def _failed(self) -> dict[str, Any]:
        terminal, status, code = self._draw.choice(_FAILURES)
        latency_ms = 30_000.0 if terminal is Terminal.TIMEOUT else self._draw.uniform(80.0, 900.0)
        return {
            "terminal": terminal,
            "status": status,
            "error_code": code,
            "latency_ms": latency_ms,
        }

    def _answered(self, manner: Manner, harm: float) -> dict[str, Any]:
        draw = self._draw
        latency_ms = manner.latency_ms * draw.lognormvariate(0.0, 0.45)
        tokens = (draw.randrange(180, 420), max(12, round(draw.gauss(90, 30))))
        cost = round(manner.cost_nanousd * draw.lognormvariate(0.0, 0.3))
        is_stream = draw.random() < 0.6
        facts: dict[str, Any] = {
            "status": 200,
            "terminal": Terminal.COMPLETED,
            "finish_reason": "stop",
            "stream": is_stream,
            "ttft_ms": latency_ms * 0.3 if is_stream else None,
            "latency_ms": latency_ms,
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "usage_source": UsageSource.PROVIDER,
            "cost_nanousd": cost,
            "uncached_cost_nanousd": cost,
            "empty": False,
            "refusal": draw.random() < 0.004,
        }
        if manner.good is None:
            return facts
        is_good = draw.random() < manner.good - 0.12 * (harm - 1.0)
        said = draw.choice(self._by_kind[is_good])
        return facts | {
            "said": said,
            "content_store": "redacted",
            "request_text": conversation(said, draw),
            "response_text": said.text,
            "output_chars": len(said.text),
        }

    def _outcomes(self, event: InferenceEvent, manner: Manner, said: Said | None) -> list[Any]:
        if manner.thumbs is None or event.terminal is not Terminal.COMPLETED:
            return []
        draw, found = self._draw, []
        if draw.random() < 0.15:
            up = draw.random() < (manner.thumbs + (0.1 if said and said.is_good else -0.35))
            comment = draw.choice(self._comments) if draw.random() < 0.1 else None
            found.append(self._outcome(event, "thumbs", up, draw.uniform(5.0, 900.0), comment))
        if draw.random() < 0.2:
            done = draw.random() < (0.85 if said and said.is_good else 0.4)
            found.append(
                self._outcome(event, "task_completed", done, draw.uniform(60.0, 7_000.0), None)
            )
        return found

    def _outcome(
        self, event: InferenceEvent, metric: str, value: bool, after_s: float, comment: str | None
    ) -> OutcomeEvent:
        return OutcomeEvent(
            id=self._id(event.at_s + after_s),
            target_kind=TargetKind.REQUEST,
            target_id=event.id,
            metric=metric,
            value=value,
            at_s=event.at_s + after_s,
            occurred_at_s=event.at_s + after_s,
            comment=comment,
        )

    def _id(self, at_s: float) -> str:
        """Return a UUIDv7 of that moment; its random part is drawn, so that samples are too."""
        value = (int(at_s * 1000) & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | 0b10 << 62
        value |= self._draw.getrandbits(12) << 64 | self._draw.getrandbits(62)
        return f"{value:032x}"
