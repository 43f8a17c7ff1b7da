"""The metrics that come with the product."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, nan

from llm_canary.metrics.spec import Declared, MetricSpec, Missing, ResponseFacts, Scale, Unit

_UNSEEN = frozenset({"client_cancelled", "rejected"})  # the client left, or no variant was chosen
_FAILED = frozenset({"upstream_error", "truncated", "timeout"})
THUMBS, _TASK = "thumbs", "task_completed"
_HOUR_S, _DAY_S = 3_600.0, 86_400.0
_UNCACHED_BELOW_SHARE = 0.5  # a small canary has a cold prompt cache


def metric(name: str) -> MetricSpec | None:
    """Return the built-in metric `name`, or None when nothing measures it."""
    return BUILT_IN.get(name)


def response_rate_of(name: str) -> str:
    """Return the name of the companion that counts how often the conditional metric is observed."""
    return _COMPANIONS.get(name, f"{name}_response_rate")


def has_failed(facts: ResponseFacts) -> bool:
    """Say whether the client saw a failure."""
    return facts.terminal in _FAILED


def is_unseen(facts: ResponseFacts) -> bool:
    """Say whether nobody saw how the exchange ended."""
    return facts.terminal in _UNSEEN


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


def cost(facts: ResponseFacts) -> float | None:
    """Return what gates count as the cost of a completed response, in nano-dollars."""
    paid = (
        facts.uncached_cost_nanousd if facts.share < _UNCACHED_BELOW_SHARE else facts.cost_nanousd
    )
    # What a failed exchange cost is known only sometimes, and not equally often in both arms.
    if facts.terminal != "completed" or paid is None or paid < 0:
        return None
    return float(paid)


def _of_yes_or_no(
    name: str, *, better: bool, is_zero: bool
) -> Callable[[ResponseFacts], float | None]:
    def value(facts: ResponseFacts) -> float | None:
        given = facts.outcomes.get(name, 0.0 if is_zero else None)
        if given is None or facts.terminal in _UNSEEN:
            return None
        if given not in (0.0, 1.0):
            return nan  # neither yes nor no: refused and counted, not guessed
        return float((given > 0.0) != better)

    return value


def _of_amount(
    name: str, sign: float, absent: float | None
) -> Callable[[ResponseFacts], float | None]:
    def value(facts: ResponseFacts) -> float | None:
        given = facts.outcomes.get(name, absent)
        return None if given is None or facts.terminal in _UNSEEN else sign * given

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


def response_rate(name: str, outcome: str, window_s: float, *, prior: float = 0.9) -> MetricSpec:
    """Return the companion that counts who answers."""
    return MetricSpec(
        name=response_rate_of(name),
        unit=Unit.RATE,
        scale=Scale.RATE,
        value=_is_given(outcome),
        larger_is_better=True,
        outcome=outcome,
        window_s=window_s,
        missing=Missing.ZERO,
        prior=prior,
    )


def _asked(name: str, outcome: str, window_s: float, prior: float) -> tuple[MetricSpec, MetricSpec]:
    """Return a metric of those who answer, and the companion that counts who does."""
    answered = MetricSpec(
        name=name,
        unit=Unit.RATE,
        scale=Scale.RATE,
        value=_of_yes_or_no(outcome, better=True, is_zero=False),
        larger_is_better=True,
        outcome=outcome,
        window_s=window_s,
        prior=prior,
    )
    return answered, response_rate(name, outcome, window_s)


def declared_metrics(name: str, declared: Declared) -> tuple[MetricSpec, ...]:
    """Return the metric that the configuration declares, and its companion when it needs one."""
    better = declared.larger_is_better
    is_zero = declared.missing is Missing.ZERO
    if declared.amount:
        value = _of_amount(name, -1.0 if better else 1.0, 0.0 if is_zero else None)
    else:
        value = _of_yes_or_no(name, better=better, is_zero=is_zero)
    own = MetricSpec(
        name=name,
        unit=Unit.NUMBER if declared.amount else Unit.RATE,
        scale=Scale.WINSORISED if declared.amount else Scale.RATE,
        value=value,
        larger_is_better=better,
        is_signed=declared.amount and better,
        outcome=name,
        window_s=_HOUR_S,
        missing=declared.missing,
        is_unknown=True,
    )
    return (own, response_rate(name, name, _HOUR_S)) if own.is_conditional else (own,)


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
    _amount("cost_per_request", Unit.NANOUSD, cost),
    _amount("prompt_tokens", Unit.TOKENS, _of_number("prompt_tokens")),
    _amount("output_tokens", Unit.TOKENS, _of_number("completion_tokens")),
    MetricSpec(
        name="cost_per_resolved",
        unit=Unit.NANOUSD,
        scale=Scale.RATIO,
        value=cost,
        denominator=lambda facts: float(facts.outcomes.get(_TASK, 0.0) > 0.0),
        skips_warm_up=True,
        is_signed=True,
        outcome=_TASK,
        window_s=_DAY_S,
        missing=Missing.ZERO,
    ),
    MetricSpec(
        name="latency_rank",
        unit=Unit.RATE,
        scale=Scale.RIDIT,
        value=_of_number("latency_ms"),
        skips_warm_up=True,
    ),
    *_asked("thumbs_up_rate", THUMBS, _HOUR_S, 0.2),
    *_asked("task_completion", _TASK, _DAY_S, 0.3),
    MetricSpec(
        name="escalation",
        unit=Unit.RATE,
        scale=Scale.RATE,
        value=_of_yes_or_no("escalated", better=False, is_zero=True),
        outcome="escalated",
        window_s=_DAY_S,
        missing=Missing.ZERO,
        prior=0.05,
    ),
)
BUILT_IN: dict[str, MetricSpec] = {spec.name: spec for spec in _ALL}
