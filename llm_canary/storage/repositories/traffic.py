"""A route's past traffic: sums made by the database, and a sample of whole units."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Float, and_, case, cast, func, or_, select
from sqlalchemy.sql import ColumnElement
from sqlmodel import Session, col

from llm_canary.clock import utc
from llm_canary.routing.table import Role
from llm_canary.storage.models.inferences import Inference

DAY_S = 86_400.0
_DIGITS = 8  # of the hash: samples are taken to one part in four billion
_READ = (
    "id", "at", "share", "assigned", "served", "unit_hash", "session_hash", "response_id",
    "stream", "terminal", "ttft_ms", "latency_ms", "prompt_tokens", "completion_tokens",
    "cost_nanousd", "uncached_cost_nanousd", "schema_expected", "output_valid", "empty", "refusal",
    "key_name",
)  # fmt: skip


class Day(msgspec.Struct, frozen=True):
    """One day's responses with a unit, `age` days before the end, and how units share them."""

    age: int
    responses: int
    units: int
    scored: int  # of the responses, those within the cap of each unit
    scored_squares: float  # sum over units of their scored responses, squared


class Returns(msgspec.Struct, frozen=True):
    """Sums over units: of the days on which they came and of their scored responses."""

    units: int
    days: int
    days_squared: int
    scored_squares: float


class TrafficRepository:
    """Reads one route from `since_s` up to `until_s`; both arms count, a rollout may be running."""

    def __init__(self, session: Session, route: str, since_s: float, until_s: float) -> None:
        self._session = session
        self._until_s = until_s
        self._days = max(round((until_s - since_s) / DAY_S), 1)
        self._is_traffic = and_(
            col(Inference.route) == route,
            col(Inference.at) >= utc(since_s),
            col(Inference.at) < utc(until_s),
            col(Inference.unit_hash).is_not(None),
            or_(col(Inference.rollout_id).is_(None), col(Inference.eligible)),
        )

    def first_s(self) -> float | None:
        """Return when the first response came, or None when there is none."""
        first = self._session.execute(
            select(func.min(col(Inference.at))).where(self._is_traffic)
        ).scalar_one()
        return None if first is None else float(first.timestamp())

    def days(self, cap: int) -> list[Day]:
        """Return the days that have responses; a unit's responses above `cap` are not scored."""
        each = self._unit_days(cap)
        query = select(
            each.c.age,
            func.sum(each.c.responses),
            func.count(),
            func.sum(each.c.scored),
            func.sum(cast(each.c.scored, Float) * each.c.scored),
        ).group_by(each.c.age)
        rows = self._session.execute(query.order_by(each.c.age))
        return [
            Day(age, int(responses), units, int(scored), float(squares))
            for age, responses, units, scored, squares in rows
        ]

    def returns(self, cap: int) -> Returns:
        """Return how often units come again, with at most `cap` scored responses a day."""
        each = self._unit_days(cap)
        counted = select(func.count().label("days"), func.sum(each.c.scored).label("scored"))
        unit = counted.group_by(each.c.unit_hash).subquery()
        units, days, days_squared, squares = self._session.execute(
            select(
                func.count(),
                func.sum(unit.c.days),
                func.sum(unit.c.days * unit.c.days),
                func.sum(cast(unit.c.scored, Float) * unit.c.scored),
            )
        ).one()
        return Returns(units, int(days or 0), int(days_squared or 0), float(squares or 0.0))

    def sample(self, responses: int, limit: int) -> list[Any]:
        """Return about `limit` of the control's rows, all those of a unit or none.

        `responses` is how many there are in all.
        """
        columns = [getattr(Inference, name) for name in _READ]
        is_control = or_(
            col(Inference.rollout_id).is_(None), col(Inference.assigned) == Role.CONTROL.value
        )
        query = select(*columns).where(self._is_traffic, is_control)
        if responses > limit:
            bound = int(16**_DIGITS * limit / responses)
            query = query.where(col(Inference.unit_hash) < f"{bound:0{_DIGITS}x}")
        query = query.order_by(col(Inference.at).desc()).limit(2 * limit)
        return list(self._session.execute(query))

    def _unit_days(self, cap: int) -> Any:  # noqa: ANN401 - a subquery
        responses = func.count()
        age = self._age().label("age")
        return (
            select(
                col(Inference.unit_hash),
                age,
                responses.label("responses"),
                case((responses > cap, cap), else_=responses).label("scored"),
            )
            .where(self._is_traffic)
            .group_by(col(Inference.unit_hash), age)
            .subquery()
        )

    def _age(self) -> ColumnElement[int]:
        """Return a row's age in whole days; dates are written differently in the two databases."""
        starts = [utc(self._until_s - (age + 1) * DAY_S) for age in range(self._days - 1)]
        if not starts:
            return cast(0, Float)
        return case(
            *((col(Inference.at) >= start, age) for age, start in enumerate(starts)),
            else_=self._days - 1,
        )
