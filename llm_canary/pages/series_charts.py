"""The charts of one rollout: from sums over time to tables and facts in words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from llm_canary.pages.chart import (
    Chart,
    Column,
    Line,
    Value,
    comparison_text,
    over_time,
    shares_chart,
    spread,
)
from llm_canary.pages.quantity import BARE, Unit, unit_of
from llm_canary.routing.table import Role
from llm_canary.storage.repositories.series import (
    MOST_SCORED,
    Point,
    Scores,
    Window,
    quantiles,
    total,
)

_FAILED = ("upstream_error", "truncated", "timeout")
_UNSEEN = ("client_cancelled", "rejected")  # as the metrics of gates leave them out
_PERCENT = Unit(1.0, "\N{NARROW NO-BREAK SPACE}%", "")
_MS, _USD, _TOKENS = unit_of("ms"), Unit(1.0, "", "", "$"), unit_of("tokens")
_POINTS = Unit(100.0, "", "")
_LEAST_PART = 0.25  # of a bin: the rate of less says more about one request than about the traffic

Points = Mapping[Role, Mapping[int, Point]]
Rubrics = Mapping[str, Mapping[Role, Mapping[int, Scores]]]


class Mark(NamedTuple):
    """A change of stage."""

    at_s: float
    text: str


@dataclass(frozen=True)
class Series:
    """What is known of both arms within a window."""

    window: Window
    points: Points
    scores: Rubrics = field(default_factory=dict)

    @property
    def times(self) -> list[int]:
        """When there is anything, in order."""
        return sorted({at for arm in self.points.values() for at in arm})


def charts(series: Series, when: str) -> tuple[Chart, ...]:
    """Return every chart that has something to show; `when` says the range in words."""
    totals = {role: total(series.points[role].values()) for role in Role}
    scored = _scored_when(series, when)
    found = [
        _requests(series, totals, when),
        _errors(series, totals, when),
        _quantiles(series, totals, "Latency", "latency", when),
        _quantiles(series, totals, "Time to first token", "ttft", when),
        _tokens(series, totals, when),
        _cost(series, totals, when),
        _spent(series, totals, when),
        _thumbs(series, totals, when),
        *(_points(name, arms, scored) for name, arms in sorted(series.scores.items())),
        _spread(totals, "Distribution of latency", "latency", _MS, when),
        _spread(totals, "Distribution of output tokens", "output_tokens", _TOKENS, when),
        *(_tenths(name, arms, scored) for name, arms in sorted(series.scores.items())),
    ]
    return tuple(chart for chart in found if chart is not None)


def _scored_when(series: Series, when: str) -> str:
    count = sum(
        scores.count
        for arms in series.scores.values()
        for points in arms.values()
        for scores in points.values()
    )
    return when if count < MOST_SCORED else f"among the newest {MOST_SCORED:,} scored answers"


def failed_share(point: Point) -> float | None:
    """Return the errors in percent of the exchanges that somebody saw."""
    seen = point.counts["requests"] - sum(point.counts[name] for name in _UNSEEN)
    return _ratio(100 * sum(point.counts[name] for name in _FAILED), seen)


def _requests(series: Series, totals: Mapping[Role, Point], when: str) -> Chart | None:
    shown = series.window
    # The rollout begins within its first bin, and the last one is under way.
    lasted_s = {
        at: min(at + shown.step_s, shown.until_s) - max(at, shown.since_s) for at in series.times
    }
    times = [at for at, each in lasted_s.items() if each >= shown.step_s * _LEAST_PART]

    def value(role: Role, at: int) -> float | None:
        point = series.points[role].get(at)
        return None if point is None else 60 * point.counts["requests"] / max(lasted_s[at], 1.0)

    counts: dict[Role, float | None] = {
        role: float(point.counts["requests"]) for role, point in totals.items()
    }
    fact = comparison_text("Requests", counts, BARE, when, places=0)
    return over_time("Requests", "per minute", fact, _pair(value), times or series.times)


def _errors(series: Series, totals: Mapping[Role, Point], when: str) -> Chart | None:
    fact = comparison_text("Errors", _each(totals, failed_share), _PERCENT, when)
    return over_time("Error rate", "%", fact, _lines(series, failed_share), series.times)


def _quantiles(
    series: Series, totals: Mapping[Role, Point], title: str, name: str, when: str
) -> Chart | None:
    p95 = _each(totals, lambda point: point.quantile(name, 0.95))
    fact = comparison_text(f"{title}, p95", p95, _MS, when)
    weights = {0.5: "light", 0.95: "heavy"}
    known = {role: quantiles(series.points[role], name, tuple(weights)) for role in Role}

    def at_q(q: float) -> Value:
        return lambda role, at: known[role][q].get(at)

    lines = [
        Line(Column(f"{role.capitalize()} p{q * 100:.0f}", role, weight), at_q(q))
        for role in Role
        for q, weight in weights.items()
    ]
    return over_time(title, "ms", fact, lines, series.times)


def _tokens(series: Series, totals: Mapping[Role, Point], when: str) -> Chart | None:
    def mean(name: str) -> Callable[[Point], float | None]:
        return lambda point: _ratio(point.counts[name], point.counts[f"{name}_known"])

    fact = comparison_text("Output", _each(totals, mean("completion_tokens")), _TOKENS, when)
    lines = [
        Line(Column(f"{role.capitalize()} {word}", role, weight), _of(series, mean(name)))
        for role in Role
        for word, name, weight in (
            ("input", "prompt_tokens", "light"),
            ("output", "completion_tokens", "heavy"),
        )
    ]
    return over_time("Tokens per request", "tokens", fact, lines, series.times)


def _cost(series: Series, totals: Mapping[Role, Point], when: str) -> Chart | None:
    fact = comparison_text("Cost per request", _each(totals, cost_per_request), _USD, when)
    return over_time("Cost per request", "$", fact, _lines(series, cost_per_request), series.times)


def cost_per_request(point: Point) -> float | None:
    """Return the mean cost in dollars of the exchanges whose cost is known."""
    return _ratio(point.counts["cost_nanousd"] / 1e9, point.counts["cost_known"])


def _spent(series: Series, totals: Mapping[Role, Point], when: str) -> Chart | None:
    def spent(point: Point) -> float | None:
        return point.counts["cost_nanousd"] / 1e9 if point.counts["cost_known"] else None

    upto: dict[Role, dict[int, float]] = {}
    for role, points in series.points.items():
        known = [at for at in sorted(points) if points[at].counts["cost_known"]]
        costs = accumulate(points[at].counts["cost_nanousd"] / 1e9 for at in known)
        upto[role] = dict(zip(known, costs, strict=True))
    fact = comparison_text("Spent", _each(totals, spent), _USD, when)
    lines = _pair(lambda role, at: upto[role].get(at))
    return over_time("Cost, added up", "$", fact, lines, series.times)


def _thumbs(series: Series, totals: Mapping[Role, Point], when: str) -> Chart | None:
    def up(point: Point) -> float | None:
        given = point.counts["thumbs_up"] + point.counts["thumbs_down"]
        return _ratio(100 * point.counts["thumbs_up"], given)

    fact = comparison_text("Thumbs up, of those given", _each(totals, up), _PERCENT, when)
    return over_time("Thumbs up", "% of thumbs", fact, _lines(series, up), series.times)


def _points(name: str, arms: Mapping[Role, Mapping[int, Scores]], when: str) -> Chart | None:
    def value(role: Role, at: int) -> float | None:
        scores = arms[role].get(at)
        return None if scores is None else _ratio(100 * scores.total, scores.count)

    means = {
        role: _ratio(
            sum(each.total for each in points.values()), sum(each.count for each in points.values())
        )
        for role, points in arms.items()
    }
    times = sorted({at for points in arms.values() for at in points})
    fact = comparison_text(f"Points by {name}", means, _POINTS, when)
    return over_time(f"Rubric {name}", "points of 100", fact, _pair(value), times)


def _spread(
    totals: Mapping[Role, Point], title: str, name: str, unit: Unit, when: str
) -> Chart | None:
    medians = _each(totals, lambda point: point.quantile(name, 0.5))
    histograms = {role: point.histogram(name) for role, point in totals.items()}
    fact = comparison_text("Median", medians, unit, when)
    return spread(title, unit.value.strip(), fact, histograms)


def _tenths(name: str, arms: Mapping[Role, Mapping[int, Scores]], when: str) -> Chart:
    counts = {role: [0] * 10 for role in Role}
    for role, points in arms.items():
        for scores in points.values():
            counts[role] = [a + b for a, b in zip(counts[role], scores.tenths, strict=True)]
    answers: dict[Role, float | None] = {role: float(sum(each)) for role, each in counts.items()}
    shares = {
        role: [100 * count / sum(each) if sum(each) else 0.0 for count in each]
        for role, each in counts.items()
    }
    labels = [f"{10 * place} to {10 * place + 10}" for place in range(10)]
    fact = comparison_text("Scored answers", answers, BARE, when, places=0)
    return shares_chart(f"Distribution of points by {name}", "points", fact, labels, shares)


def _each(
    totals: Mapping[Role, Point], value: Callable[[Point], float | None]
) -> dict[Role, float | None]:
    return {role: value(point) for role, point in totals.items()}


def _of(series: Series, value: Callable[[Point], float | None]) -> Value:
    def at(role: Role, starts_s: int) -> float | None:
        point = series.points[role].get(starts_s)
        return None if point is None else value(point)

    return at


def _lines(series: Series, value: Callable[[Point], float | None]) -> list[Line]:
    return _pair(_of(series, value))


def _pair(value: Value) -> list[Line]:
    return [Line(Column(role.capitalize(), role), value) for role in Role]


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
