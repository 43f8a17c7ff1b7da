"""The metrics that come with the product."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from llm_canary.metrics.spec import MetricSpec, Missing, ResponseFacts, Scale, Unit

_UNSEEN = frozenset({"client_cancelled", "rejected"})  # the client left, or no variant was chosen
_FAILED = frozenset({"upstream_error", "truncated", "timeout"})
_THUMBS = "thumbs"
_HOUR_S, _DAY_S = 3_600.0, 86_400.0
_UNCACHED_BELOW_SHARE = 0.5  # a small canary has a cold prompt cache


def metric(name: str) -> MetricSpec | None:
    """Return the built-in metric `name`, or None when nothing measures it."""
    return BUILT_IN.get(name)


def response_rate_of(name: str) -> str:
    """Return the name of the companion that counts how often the conditional metric is observed."""
    return _COMPANIONS[name]


def has_failed(facts: ResponseFacts) -> bool:
    """Say whether the client saw a failure."""
    return facts.terminal in _FAILED


def _of_terminal(wanted: frozenset[str]) -> Callable[[ResponseFacts], float | None]:
    def value(facts: ResponseFacts) -> float | None:
        return None if facts.terminal in _UNSEEN else float(facts.terminal in wanted)

    return value


def _of_answer(name: str) -> Callable[[ResponseFacts], float | None]:
    def value(facts: ResponseFacts) -> float | None:
        flag: bool | None = getattr(facts, name)
        return None if facts.terminal != "completed" or flag is None else float(flag)

    return value


def _of_number(name: str) -> Callable[[ResponseFacts], float | None]:
    def value(facts: ResponseFacts) -> float | None:
        number: float | None = getattr(facts, name)
        if facts.terminal != "completed" or number is None:
            return None
        return float(number) if isfinite(number) and number >= 0 else None

    return value


def _invalid_output(facts: ResponseFacts) -> float | None:
    if facts.terminal != "completed" or facts.output_valid is None:
        return None
    return float(not facts.output_valid)


def _cost(facts: ResponseFacts) -> float | None:
    cost = (
        facts.uncached_cost_nanousd if facts.share < _UNCACHED_BELOW_SHARE else facts.cost_nanousd
    )
    # What a failed exchange cost is known only sometimes, and not equally often in both arms.
    if facts.terminal != "completed" or cost is None or cost < 0:
        return None
    return float(cost)


def _of_outcome(name: str, *, good_is: float) -> Callable[[ResponseFacts], float | None]:
    def value(facts: ResponseFacts) -> float | None:
        given = facts.outcomes.get(name)
        if given is None or facts.terminal in _UNSEEN:
            return None
        return float((given > 0.0) != (good_is > 0.0))

    return value


def _is_given(name: str) -> Callable[[ResponseFacts], float | None]:
    def value(facts: ResponseFacts) -> float | None:
        return None if facts.terminal in _UNSEEN else float(name not in facts.outcomes)

    return value


def _rate(
    name: str, value: Callable[[ResponseFacts], float | None], prior: float, *, hard: bool = False
) -> MetricSpec:
    return MetricSpec(
        name=name, unit=Unit.RATE, scale=Scale.RATE, value=value, prior=prior, hard_failure=hard
    )


def _time(name: str, field: str, quantile: float | None) -> MetricSpec:
    return MetricSpec(
        name=name,
        unit=Unit.MILLISECONDS,
        scale=Scale.WINSORISED if quantile is None else Scale.QUANTILE,
        quantile=quantile,
        value=_of_number(field),
        applies=_is_stream if field == "ttft_ms" else _always,
        skips_warm_up=True,
    )


def _amount(name: str, unit: Unit, value: Callable[[ResponseFacts], float | None]) -> MetricSpec:
    return MetricSpec(
        name=name,
        unit=unit,
        scale=Scale.WINSORISED,
        value=value,
        skips_warm_up=unit is Unit.NANOUSD,
    )


def _always(_facts: ResponseFacts) -> bool:
    return True


def _is_stream(facts: ResponseFacts) -> bool:
    return facts.stream


def _has_schema(facts: ResponseFacts) -> bool:
    return facts.schema_expected


def _asked(name: str, outcome: str, window_s: float, prior: float) -> tuple[MetricSpec, MetricSpec]:
    """Return a metric of those who answer, and the companion that counts who does."""
    answered = MetricSpec(
        name=name,
        unit=Unit.RATE,
        scale=Scale.RATE,
        value=_of_outcome(outcome, good_is=1.0),
        larger_is_better=True,
        outcome=outcome,
        window_s=window_s,
        prior=prior,
    )
    companion = MetricSpec(
        name=_COMPANIONS[name],
        unit=Unit.RATE,
        scale=Scale.RATE,
        value=_is_given(outcome),
        larger_is_better=True,
        outcome=outcome,
        window_s=window_s,
        missing=Missing.ZERO,
        prior=0.9,
    )
    return answered, companion


_COMPANIONS = {
    "thumbs_up_rate": "thumbs_response_rate",
    "task_completion": "task_completion_response_rate",
}
_ALL = (
    _rate("error_rate", _of_terminal(_FAILED), 0.01, hard=True),
    _rate("timeout_rate", _of_terminal(frozenset({"timeout"})), 0.005, hard=True),
    MetricSpec(
        name="invalid_output",
        unit=Unit.RATE,
        scale=Scale.RATE,
        value=_invalid_output,
        applies=_has_schema,
        hard_failure=True,
        prior=0.02,
    ),
    _rate("empty_rate", _of_answer("empty"), 0.005, hard=True),
    _rate("refusal_rate", _of_answer("refusal"), 0.02),
    _time("latency_p50", "latency_ms", 0.5),
    _time("latency_p95", "latency_ms", 0.95),
    _time("latency_p99", "latency_ms", 0.99),
    _time("latency_mean", "latency_ms", None),
    _time("ttft", "ttft_ms", 0.95),
    _time("ttft_p50", "ttft_ms", 0.5),
    _time("ttft_p95", "ttft_ms", 0.95),
    _amount("cost_per_request", Unit.NANOUSD, _cost),
    _amount("prompt_tokens", Unit.TOKENS, _of_number("prompt_tokens")),
    _amount("output_tokens", Unit.TOKENS, _of_number("completion_tokens")),
    *_asked("thumbs_up_rate", _THUMBS, _HOUR_S, 0.2),
    *_asked("task_completion", "task_completed", _DAY_S, 0.3),
    MetricSpec(
        name="escalation",
        unit=Unit.RATE,
        scale=Scale.RATE,
        value=lambda facts: (
            None if facts.terminal in _UNSEEN else float(facts.outcomes.get("escalated", 0.0) > 0.0)
        ),
        outcome="escalated",
        window_s=_DAY_S,
        missing=Missing.ZERO,
        prior=0.05,
    ),
)
BUILT_IN: dict[str, MetricSpec] = {spec.name: spec for spec in _ALL}
