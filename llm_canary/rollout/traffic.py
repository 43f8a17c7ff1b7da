"""Learns a route's traffic from what its last days have left in the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import fsum
from typing import Any

from sqlalchemy.engine import Engine

from llm_canary.clock import Clock
from llm_canary.decision.plan import Plan
from llm_canary.decision.rules import rules_of, specs_of, window_s
from llm_canary.decision.traffic import MetricTraffic, Number, Traffic
from llm_canary.errors import NotFound
from llm_canary.metrics.freeze import MIN_BASELINE, freeze, scored
from llm_canary.metrics.spec import MetricSpec, Scale
from llm_canary.pricing import Usage, uncached_cost_nanousd
from llm_canary.rollout.scoring import facts_of
from llm_canary.routing.table import Price
from llm_canary.stats.clusters import intraclass_correlation
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.scoring import ScoringRepository
from llm_canary.storage.repositories.traffic import DAY_S, Day, Returns, TrafficRepository

_SAMPLE = 20_000
_FREEZE = 5_000
_CHUNK = 500
_WEEK_DAYS = 6.9  # a route is not called on the stroke of midnight
_LEAST_DAYS = 1.0 / 24.0
_LEAST_UNITS = 30  # fewer units that come twice say little of how alike they are


def learn_traffic(
    engine: Engine, clock: Clock, plan: Plan, route: str, *, days: int, canary: Price | None
) -> Traffic:
    """Return the traffic of the last `days`, as far as it is there; `canary` is the new price."""
    until_s = clock.now_s()
    with read_session(engine) as session:
        repository = TrafficRepository(session, route, until_s - days * DAY_S, until_s)
        first_s = repository.first_s()
        if first_s is None:
            raise NotFound(
                f"route {route!r} has no recorded traffic in the last {days} days; "
                "say what you expect with --daily, such as --daily 50000"
            )
        covered = min(max((until_s - first_s) / DAY_S, _LEAST_DAYS), float(days))
        by_day = repository.days(plan.max_per_unit_day)
        returns = repository.returns(plan.max_per_unit_day)
        responses = sum(day.responses for day in by_day)
        rows = repository.sample(responses, _SAMPLE)
        outcomes = _outcomes(ScoringRepository(session), rows, plan)
    source = (
        f"from the last {covered:.0f} days"
        if covered >= 1.5
        else (f"from the last {covered * 24:.0f} hours")
    )
    return _traffic(
        by_day, returns, covered, source, _Sample(plan, rows, outcomes, until_s, canary)
    )


class _Sample:
    """The control's rows with their outcomes."""

    def __init__(
        self,
        plan: Plan,
        rows: Sequence[Any],
        outcomes: Mapping[str, dict[str, float]],
        until_s: float,
        canary: Price | None,
    ) -> None:
        self._plan = plan
        self._rows = rows
        self._outcomes = outcomes
        self._until_s = until_s
        self._canary = canary

    def metrics(self, source: str) -> dict[str, MetricTraffic]:
        """Return what is known of each metric of the plan."""
        found = {}
        for spec in specs_of(self._plan).values():
            known = self._metric(spec, source)
            if known is not None:
                found[spec.name] = known
        return found

    def costs(self, source: str) -> tuple[Number | None, Number | None]:
        """Return what a control response costs, and the same tokens at the canary's price."""
        costs = [row.cost_nanousd for row in self._rows if row.cost_nanousd is not None]
        control = Number(fsum(costs) / len(costs), source) if costs else None
        if self._canary is None:
            return control, None
        other = [
            uncached_cost_nanousd(
                self._canary, Usage(prompt=row.prompt_tokens, completion=row.completion_tokens)
            )
            for row in self._rows
            if row.prompt_tokens is not None and row.completion_tokens is not None
        ]
        new = (
            Number(fsum(other) / len(other), f"{source}, at the canary's price") if other else None
        )
        return control, new

    def _metric(self, spec: MetricSpec, source: str) -> MetricTraffic | None:
        values, denominators, units, matured = [], [], [], 0
        closes_s = self._until_s - window_s(self._plan, spec)
        for row in self._rows:
            if row.at.timestamp() > closes_s:
                continue
            matured += 1
            facts = facts_of(row, self._outcomes.get(row.id, {}))
            value = spec.value(facts) if spec.applies(facts) else None
            if value is None:
                continue
            values.append(value)
            units.append(row.unit_hash)
            if spec.denominator is not None:
                denominators.append(spec.denominator(facts))
        if not values or (spec.denominator is not None and not sum(denominators) > 0.0):
            return None
        if spec.scale is not Scale.RATE and len(values) < MIN_BASELINE:
            return None
        return MetricTraffic(
            values=tuple(values[:_FREEZE]) if spec.scale is not Scale.RATE else tuple(values),
            denominators=tuple(denominators[:_FREEZE]),
            source=source,
            observed=Number(len(values) / matured, source),
            icc=self._icc(spec, values, denominators, units, source),
        )

    def _icc(
        self,
        spec: MetricSpec,
        values: list[float],
        denominators: list[float],
        units: list[str],
        source: str,
    ) -> Number | None:
        """Return how alike a unit's scored numbers are, not its raw ones."""
        if len(values) - len(set(units)) < _LEAST_UNITS:
            return None
        numbers = values
        if spec.scale is not Scale.RATE:
            rule = rules_of(self._plan)[spec.name]
            frozen = freeze(spec, rule, values[:_FREEZE], denominators[:_FREEZE])
            below = denominators or [1.0] * len(values)
            numbers = [scored(spec, frozen, *pair) for pair in zip(values, below, strict=True)]
        found = intraclass_correlation(zip(units, numbers, strict=True))
        return None if found is None else Number(found, source)


def _traffic(
    by_day: list[Day], returns: Returns, covered: float, source: str, sample: _Sample
) -> Traffic:
    units = sum(day.units for day in by_day)
    counted = sum(day.scored for day in by_day)
    squares = sum(day.scored_squares for day in by_day)
    control, canary = sample.costs(source)
    other_days = max(len(by_day) - 1, 1)
    again = (returns.days_squared / returns.days - 1.0) / other_days
    repeat = (returns.scored_squares - squares) / counted / other_days
    return Traffic(
        daily=Number(counted / covered, source),
        per_unit=Number(counted / units, source),
        spread=Number(squares / counted, source),
        **(
            {"returning": Number(min(again, 1.0), source), "repeat": Number(repeat, source)}
            if len(by_day) > 1
            else {}
        ),
        cost=control,
        canary_cost=canary,
        quietest=_quietest(by_day, covered, source),
        metrics=sample.metrics(source),
    )


def _quietest(by_day: list[Day], covered: float, source: str) -> Number | None:
    """Return the quietest day by the mean one; less than a week does not tell."""
    if covered < _WEEK_DAYS:
        return None
    responses = [day.responses for day in by_day]
    mean = sum(responses) / covered
    quietest = 0.0 if len(responses) < int(covered) else min(responses)
    return Number(quietest / mean, source)


def _outcomes(
    repository: ScoringRepository, rows: Sequence[Any], plan: Plan
) -> dict[str, dict[str, float]]:
    """Return the last value of each outcome of each row that was received within its window."""
    specs = specs_of(plan).values()
    windows_s = {spec.outcome: window_s(plan, spec) for spec in specs if spec.outcome is not None}
    last: dict[tuple[str, str], tuple[float, str, float | None]] = {}
    if not windows_s:
        return {}
    for kind, field in (
        ("request", "id"),
        ("response", "response_id"),
        ("session", "session_hash"),
    ):
        for chunk in _chunks(rows):
            about: dict[str, list[Any]] = defaultdict(list)
            for row in chunk:
                about[getattr(row, field)].append(row)
            about.pop(None, None)  # type: ignore[call-overload]
            found = repository.outcomes(kind, list(about), windows_s.keys())
            for said in found:
                for row in about[said.target]:
                    key, at = (row.id, said.metric), (said.occurred_s, said.id, said.value)
                    in_time = said.received_s <= row.at.timestamp() + windows_s[said.metric]
                    is_last = key not in last or at[:2] > last[key][:2]
                    if in_time and is_last and said.counts_for(row.key_name):
                        last[key] = at
    result: dict[str, dict[str, float]] = defaultdict(dict)
    for (row_id, metric), (_, _, value) in last.items():
        if value is not None:
            result[row_id][metric] = value
    return result


def _chunks(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
