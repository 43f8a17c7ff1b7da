"""What both arms cost, what grading costs beside them, and the canary at all of the traffic."""

from __future__ import annotations

from dataclasses import dataclass

from llm_canary.decision.compare import Comparison
from llm_canary.pages.quantity import ABSENT, count_text, duration_text, money_text
from llm_canary.rollout.detail import RolloutDetail
from llm_canary.rollout.views import RolloutView, StageView

_DAY_S = 86_400.0
_LEAST_S = 3_600.0  # an hour's traffic at least, before it is taken for a day's
_PER_REQUEST, _PER_RESOLVED = "cost_per_request", "cost_per_resolved"


@dataclass(frozen=True)
class CostRow:
    """One line of the table."""

    name: str
    control: str
    canary: str
    note: str = ""


@dataclass(frozen=True)
class GradingCost:
    """What grading by one rubric has cost."""

    rubric: str
    judges: str
    reviews: str


@dataclass(frozen=True)
class Costs:
    """The whole section; without rows nothing in the plan measures costs."""

    rows: tuple[CostRow, ...]
    grading: tuple[GradingCost, ...]


def costs(found: RolloutDetail, now_s: float) -> Costs:
    """Return the costs of the rollout; money that nobody knows is absent, not zero."""
    view = found.view
    compared = {each.metric: each for each in view.comparisons}
    each = compared.get(_PER_REQUEST)
    rows = [] if each is None else _of_requests(found, each, now_s)
    if (resolved := compared.get(_PER_RESOLVED)) is not None:
        text = money_text(resolved.control), money_text(resolved.canary)
        rows.append(CostRow("For each resolved task", *text))
    return Costs(
        rows=tuple(rows),
        grading=tuple(
            GradingCost(
                rubric=one.rubric,
                judges=money_text(one.judge_nanousd)
                + (
                    f", and {count_text(one.judge_calls_of_unknown_cost)} calls of unknown cost"
                    if one.judge_calls_of_unknown_cost
                    else ""
                ),
                reviews=count_text(one.reviews)
                + ("" if one.review_s is None else f", {duration_text(one.review_s)} of work"),
            )
            for one in view.grading
        ),
    )


def _of_requests(found: RolloutDetail, each: Comparison, now_s: float) -> list[CostRow]:
    prices = "of uncached tokens while the share is below 50 %, dearest 0.1 % cut"
    control, canary = (money_text(arm.nanousd if arm.responses else None) for arm in found.spent)
    known = " / ".join(count_text(arm.responses) for arm in found.spent)
    rows = [
        CostRow("For each request", money_text(each.control), money_text(each.canary), prices),
        CostRow("Spent so far", control, canary, f"as charged, for {known} compared responses"),
    ]
    daily = daily_responses(found.view, now_s)
    if daily is None:
        return [*rows, CostRow("A day with all traffic", ABSENT, ABSENT, "after an hour of it")]
    note = f"at {count_text(daily)} responses a day, each at that cost"
    a_day = CostRow(
        "A day with all traffic", _times(each.control, daily), _times(each.canary, daily), note
    )
    return [*rows, a_day]


def daily_responses(view: RolloutView, now_s: float) -> float | None:
    """Return the compared responses of both arms a day, None before there is an hour of them."""
    stages = [each for each in view.stages if each.started_s is not None and each.is_measured]
    lasted = sum(_lasted_s(each, view, now_s) for each in stages)
    responses = sum(sum(each.responses) for each in stages)
    return responses * _DAY_S / lasted if lasted >= _LEAST_S and responses else None


def _lasted_s(stage: StageView, view: RolloutView, now_s: float) -> float:
    end_s = now_s if view.ended_s is None else view.ended_s
    if stage.ended_s is not None:
        end_s = stage.ended_s
    return max(end_s - (stage.started_s or end_s), 0.0)


def _times(mean: float | None, n: float) -> str:
    return money_text(None if mean is None else mean * n)
