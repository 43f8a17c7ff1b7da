"""Metrics of graded answers: the points of a rubric, and their worth less what they cost."""

from __future__ import annotations

from collections.abc import Callable

from llm_canary.metrics.builtin import cost, is_unseen, response_rate
from llm_canary.metrics.spec import MetricSpec, ResponseFacts, Scale, Unit

RUBRIC = "rubric"
NET_BENEFIT, QUALITY = "net_benefit", "quality"
_JUDGE, _HUMAN = "judge", "human"
_HOUR_S = 3_600.0
_PRIOR = 0.25  # points that a usual answer misses


def rubric_metric(rubric: str) -> str:
    """Return the name of the metric: judge and people combined into one number per answer."""
    return f"{RUBRIC}:{rubric}"


def judge_metric(rubric: str) -> str:
    """Return the name of what the judge alone says; shown, never gated."""
    return f"{rubric_metric(rubric)}:{_JUDGE}"


def human_metric(rubric: str) -> str:
    """Return the name of what people alone say; shown, never gated."""
    return f"{rubric_metric(rubric)}:{_HUMAN}"


def rubric_metrics(
    rubric: str, window_s: float, *, needs_judge: bool = True
) -> tuple[MetricSpec, ...]:
    """Return the metric of a rubric, and those beside it.

    Who has no grade, and where a judge grades, what it and people say by themselves. Values are
    the points that an answer misses: larger is worse.
    """
    name = rubric_metric(rubric)
    shown = [name, *([judge_metric(rubric), human_metric(rubric)] if needs_judge else [])]
    points = [
        MetricSpec(
            name=each,
            unit=Unit.POINTS,
            scale=Scale.POINTS,
            value=_missed(each),
            larger_is_better=True,
            is_signed=True,  # a correction may carry one answer beyond all points
            outcome=name,
            window_s=window_s,
            prior=_PRIOR,
        )
        for each in shown
    ]
    return (points[0], response_rate(name, name, window_s, prior=0.02), *points[1:])


def net_benefit(
    value_per_point_nanousd: float, *, outcome: str = QUALITY, window_s: float = _HOUR_S
) -> tuple[MetricSpec, MetricSpec]:
    """Return the metric "cost less the worth of the answer", in nano-dollars, and its companion.

    The worth is the score (0-1, beyond it where people correct a judge) times what a point is
    worth. Oriented like every metric: larger is worse. Only the cost is cut: what people correct is
    unbiased only whole.
    """

    def gained(facts: ResponseFacts) -> float:
        return -value_per_point_nanousd * facts.outcomes.get(outcome, 0.0)

    def value(facts: ResponseFacts) -> float | None:
        paid, points = cost(facts), facts.outcomes.get(outcome)
        if paid is None or points is None:
            return None
        if outcome == QUALITY and not 0.0 <= points <= 1.0:
            return None
        return paid + gained(facts)

    own = MetricSpec(
        name=NET_BENEFIT,
        unit=Unit.NANOUSD,
        scale=Scale.WINSORISED,
        value=value,
        skips_warm_up=True,
        larger_is_better=True,
        is_signed=True,
        uncut=gained,
        outcome=outcome,
        window_s=window_s,
    )
    return own, response_rate(NET_BENEFIT, outcome, window_s)


def _missed(name: str) -> Callable[[ResponseFacts], float | None]:
    def value(facts: ResponseFacts) -> float | None:
        points = facts.outcomes.get(name)
        return None if points is None or is_unseen(facts) else 1.0 - points

    return value
