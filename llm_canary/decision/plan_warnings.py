"""What a person should change in a plan before it starts, from its forecast."""

from __future__ import annotations

from collections.abc import Iterator

from llm_canary.decision.plan import Gate, MarginUnit, MetricKind, Plan, Stage, stage_index
from llm_canary.decision.planner import Forecast, GateForecast, StageForecast
from llm_canary.decision.proof import DAY_S
from llm_canary.decision.rules import specs_of
from llm_canary.decision.traffic import DEFAULT, Traffic, written_margin
from llm_canary.decision.words import duration_text

_UNLIKELY = 0.5
_LIKELY = 0.8  # a stage that passes less often usually ends at a person's desk
_QUIET = 0.7
_WEEK_S = 7 * DAY_S
_PATIENCE_DAYS = 30.0  # for one stage
_TINY = 0.001  # of a rate; a difference of so little needs hundreds of thousands of responses


def warnings_of(plan: Plan, traffic: Traffic, found: Forecast) -> tuple[str, ...]:
    """Return one sentence or two for each thing that will not work as one may hope."""
    return tuple(_all(plan, traffic, found))


def _all(plan: Plan, traffic: Traffic, found: Forecast) -> Iterator[str]:
    for name in found.unknown:
        yield (
            f"{name}: nothing is known of its values, so the plan cannot be forecast; give "
            f"--mean {name}=MEAN:SD, or plan from recorded traffic (without --daily)"
        )
    for metric in dict.fromkeys(
        gate.metric for one in found.stages for gate in one.gates if not gate.is_measured
    ):
        yield (
            f"{metric}: nothing measures it in this release, so no stage can be left without a "
            "person; make the gate secondary"
        )
    for one in found.stages:
        stage = plan.stages[stage_index(plan, one.name)]
        yield from _of_stage(plan, traffic, stage, one)
    yield from _assumed(found)


def _of_stage(plan: Plan, traffic: Traffic, stage: Stage, one: StageForecast) -> Iterator[str]:
    if stage.min_s < plan.full_cycle_s:
        yield (
            f"stage {one.name}: its min of {duration_text(stage.min_s)} is shorter than a traffic "
            f"cycle of {duration_text(plan.full_cycle_s)}, which it lasts in any case"
        )
    quiet = traffic.quietest
    if quiet is not None and quiet.value < _QUIET and plan.full_cycle_s < _WEEK_S:
        yield (
            f"stage {one.name}: the quietest day of the week brings {quiet.value:.0%} of the mean, "
            "and a stage shorter than a week may see only such days; set full_cycle: 7d"
        )
    if all(gate.kind is MetricKind.SECONDARY for gate in stage.gates):
        yield f"stage {one.name}: no gate decides, so only a person can leave it; add one"
    written = {gate.metric: gate for gate in stage.gates}
    yield from _floors(stage, one)
    for gate in one.gates:
        own = written[gate.metric]
        yield from _tiny(own, gate, one)
        if gate.is_measured and gate.is_floor_reached and gate.chances[-1] < _UNLIKELY:
            yield (
                f"stage {one.name}, {gate.metric}: the margin of {gate.written} is shown within "
                f"{_days(one.days_max)} with {gate.chances[-1]:.0%} only, even if the canary is "
                f"equal{_ways(plan, stage, own, gate)}"
            )
    worst = min(one.gates, key=lambda gate: gate.chances[-1], default=None)
    if worst is not None and worst.chances[-1] >= _UNLIKELY and one.chances[-1] < _LIKELY:
        yield (
            f"stage {one.name}: all its gates pass within {_days(one.days_max)} with "
            f"{one.chances[-1]:.0%} if the canary is equal, else a person is asked; the weakest is "
            f"{worst.metric}{_ways(plan, stage, written[worst.metric], worst)}"
        )


def _floors(stage: Stage, one: StageForecast) -> Iterator[str]:
    """Name the gates together that lack the same number of units."""
    lacking: dict[str, list[GateForecast]] = {}
    for gate in one.gates:
        if gate.margin <= 0.0:
            yield (
                f"stage {one.name}, {gate.metric}: a relative margin of a control value of 0 is 0; "
                "give the gate an absolute one"
            )
        elif not gate.is_floor_reached:
            is_own = gate.floor_units > stage.min_units
            needed = f"{gate.floor_units:,.0f} that a margin of {gate.written} asks for at least"
            why = needed if is_own else f"min_units of {stage.min_units}"
            lacking.setdefault(why, []).append(gate)
    for why, gates in lacking.items():
        units = min(gate.units_at_max for gate in gates)
        yield (
            f"stage {one.name}, {', '.join(gate.metric for gate in gates)}: {units:,.0f} effective "
            f"canary units within {_days(one.days_max)}, fewer than the {why}; raise the share or "
            "max"
        )


def _ways(plan: Plan, stage: Stage, gate: Gate, of: GateForecast) -> str:
    ways = []
    spec = specs_of(plan).get(gate.metric)
    if of.wider_factor is not None and spec is not None:
        ways.append(f"a margin of about {written_margin(spec, stage, gate, of.wider_factor)} here")
    if of.share_needed is not None:
        ways.append(f"a share of {of.share_needed:.0%}")
    if of.days is not None and of.days <= _PATIENCE_DAYS:
        ways.append(f"a max of {_days(of.days)}")
    return f"; 90 % needs {_either(ways)}" if ways else ""


def _tiny(gate: Gate, of: GateForecast, one: StageForecast) -> Iterator[str]:
    is_relative = gate.margin.unit is MarginUnit.RELATIVE
    if is_relative and of.is_rate and 0.0 < of.margin < _TINY:
        yield (
            f"stage {one.name}, {gate.metric}: {of.written} of so small a rate is "
            f"{of.margin * 100:.2g} pp, which hardly any traffic shows; give the gate an absolute "
            "margin such as 0.5pp"
        )


def _assumed(found: Forecast) -> Iterator[str]:
    guessed = [
        f"{each.what.partition(':')[0]} ({each.text})"
        for each in found.assumptions
        if each.source == DEFAULT and each.what.endswith(": control")
    ]
    if guessed:
        yield (
            f"no traffic estimate for {', '.join(guessed)}: defaults are used; give --rate or "
            "--mean, or plan from recorded traffic (without --daily)"
        )


def _days(days: float) -> str:
    return duration_text(days * DAY_S)


def _either(ways: list[str]) -> str:
    return ways[0] if len(ways) == 1 else f"{', '.join(ways[:-1])} or {ways[-1]}"
