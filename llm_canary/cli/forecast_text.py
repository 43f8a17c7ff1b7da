"""A forecast as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from llm_canary.cli.output import ABSENT, print_facts, print_lines, print_table
from llm_canary.cli.rollout import percent
from llm_canary.config.rollout_spec import RolloutSpec
from llm_canary.decision.planner import Forecast, GateForecast, StageForecast
from llm_canary.decision.sample_size import Collection
from llm_canary.decision.traffic import Traffic

_OVER_A_YEAR = "over a year"


def collection_lines(found: Collection) -> Iterator[str]:
    """Say how long it takes, and whether so much is needed."""
    yield (
        f"{found.days:.1f} days: {found.needed:,.0f} canary responses at {percent(found.share)} of "
        f"{found.daily:,.0f} a day, {found.canary_daily:,.0f} a day"
    )
    if found.effect is None or found.equal_arm is None:
        return
    points = f"{found.effect * 100:g} percentage points"
    yield ""
    yield (
        f"{found.needed:,.0f} is about the textbook size of each of two equal arms that show "
        f"{points} at a rate of 50 % ({found.equal_arm:,}; two-sided 5 %, power 80 %)."
    )
    enough = " or ".join(
        f"{size.responses:,} ({_days(size.days)}) at a rate of {percent(size.rate)}"
        for size in found.with_large_control
    )
    yield (
        f"Here the control has the other {percent(1.0 - found.share)}, so for the same the canary "
        f"needs {enough}."
    )


def print_forecast(
    found: Forecast,
    warnings: Sequence[str],
    traffic: Traffic,
    *,
    rollout: RolloutSpec | None,
    grading_usd: Mapping[str, Mapping[str, float | None]] = MappingProxyType({}),
) -> None:
    """Print the forecast: the plan, its stages, its gates, what to change, what is assumed."""
    print_facts([*_facts(found, traffic, rollout), *_grading(found, grading_usd)])
    print_lines([""])
    print_table(
        ("stage", "share", "days", "expected", "passes", "slowest gate", "canary responses",
         "users exposed", "canary cost", "extra cost"),
        [_stage(stage) for stage in found.stages],
    )  # fmt: skip
    print_lines([""])
    print_table(
        ("stage", "gate", "margin", "needs responses", "of users", "for 90 %", "passes at min",
         "at max", "smallest shown"),
        [_gate(stage, gate) for stage in found.stages for gate in stage.gates],
    )  # fmt: skip
    if warnings:
        print_lines(["", *(f"warning: {each}" for each in warnings)])
    print_lines([""])
    print_table(
        ("assumed", "value", "from"),
        [(each.what, each.text, each.source) for each in found.assumptions],
    )


def _facts(found: Forecast, traffic: Traffic, rollout: RolloutSpec | None) -> list[tuple[str, str]]:
    whose = f", rollout {rollout.name} on route {rollout.route}" if rollout else ""
    worth = (
        f"{traffic.daily.value:,.0f} requests a day of {found.units_daily:,.0f} users, worth "
        f"{found.independent_daily:,.0f} of users who come once"
    )
    until = (
        f"{_days(found.days_expected)} expected, {_days(found.days_min)} at least, "
        f"{_days(found.days_max)} at most, then {_days(found.standby_days)} of standby"
    )
    passes = (
        f"{_chance(found.chance)} without a person, if the canary is equal (gates taken as "
        f"independent; {_chance(found.chance_at_least)} at least)"
    )
    if found.canary_usd is None:
        cost = "unknown; give --cost"
    else:
        standby = "" if found.standby_usd is None else f", {_usd(found.standby_usd)} in standby"
        cost = f"{_usd(found.canary_usd)} until full{standby}"
    return [
        ("plan", f"{found.plan}{whose}"),
        ("traffic", worth),
        ("until full", until),
        ("passes", passes),
        ("canary cost", cost),
    ]


def _grading(
    found: Forecast, usd: Mapping[str, Mapping[str, float | None]]
) -> Iterator[tuple[str, str]]:
    for each in found.grading:
        known = usd.get(each.rubric, {})
        if each.judge is None:
            yield f"rubric {each.rubric}", f"{each.judged:,.0f} answers graded by programs"
            continue
        judge, people = _usd(known.get("judge")), _usd(known.get("reviewers"))
        yield (
            f"rubric {each.rubric}",
            (
                f"{each.judged:,.0f} answers judged by {each.judge} ({judge}), {each.reviews:,.0f} "
                f"reviews ({people}), beside the canary's cost"
            ),
        )


def _stage(stage: StageForecast) -> tuple[str, ...]:
    least, most = f"{stage.days_min:.3g}", f"{stage.days_max:.3g}"
    return (
        stage.name,
        percent(stage.share),
        least if least == most else f"{least} to {most}",
        f"{stage.days_expected:.1f}",
        _chance(stage.chances[-1]),
        stage.binding or ABSENT,
        f"{stage.canary_responses:,.0f}",
        f"{stage.exposed_units:,.0f}",
        _usd(stage.canary_usd),
        _usd(stage.extra_usd),
    )


def _gate(stage: StageForecast, gate: GateForecast) -> tuple[str, ...]:
    return (
        stage.name,
        gate.metric,
        gate.written,
        _count(gate.needed_responses),
        _count(gate.needed_units),
        _OVER_A_YEAR if gate.days is None else _days(gate.days),
        _chance(gate.chances[0]),
        _chance(gate.chances[-1]),
        gate.smallest_text or ABSENT,
    )


def _count(number: float | None) -> str:
    if number is None:
        return ABSENT
    return "no more" if number < 1.0 else f"{number:,.0f}"


def _chance(chance: float) -> str:
    """Never print a certainty that nobody has."""
    if chance > 0.995:
        return "> 99 %"
    return "< 1 %" if 0.0 < chance < 0.005 else f"{chance * 100:.0f} %"


def _usd(dollars: float | None) -> str:
    if dollars is None:
        return ABSENT
    sign = "-" if dollars < 0 else ""
    return f"{sign}${abs(dollars):,.2f}"


def _days(days: float) -> str:
    text = f"{days:.1f}".removesuffix(".0")
    return f"{text} day" if text == "1" else f"{text} days"
