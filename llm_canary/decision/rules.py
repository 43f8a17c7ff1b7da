"""What a plan asks of each metric, in the form in which metrics are scored."""

from __future__ import annotations

from llm_canary.decision.plan import Gate, Grading, MarginUnit, MetricKind, Plan, Stage
from llm_canary.metrics.builtin import BUILT_IN, declared_metrics, response_rate_of
from llm_canary.metrics.freeze import Rule, StageMargin
from llm_canary.metrics.graded import (
    NET_BENEFIT,
    RUBRIC,
    net_benefit,
    rubric_metric,
    rubric_metrics,
)
from llm_canary.metrics.spec import MetricSpec

AV_PART = 0.2  # of alpha_promote is spent on always-valid evidence, the rest on planned looks


def measured(plan: Plan) -> tuple[Stage, ...]:
    """Return the stages that compare."""
    return tuple(stage for stage in plan.stages if stage.is_measured)


def gates_of(plan: Plan) -> tuple[Gate, ...]:
    """Return the gates of all measured stages, in their order."""
    return tuple(gate for stage in measured(plan) for gate in stage.gates)


def kinds(plan: Plan) -> dict[str, MetricKind]:
    """Return each metric's gravest kind in the plan, in the order in which gates name it."""
    order = list(MetricKind)
    found: dict[str, MetricKind] = {}
    for gate in gates_of(plan):
        known = found.setdefault(gate.metric, gate.kind)
        if known is not gate.kind:
            found[gate.metric] = min(known, gate.kind, key=order.index)
    return found


def graded_by(plan: Plan) -> dict[str, Grading]:
    """Return the rubrics that a gate of the plan reads, with how each is graded."""
    names = {gate.metric.removeprefix(f"{RUBRIC}:") for gate in gates_of(plan)}
    names |= {gate.rubric for gate in gates_of(plan) if gate.rubric is not None}
    return {name: grading for name, grading in plan.graded.items() if name in names}


def deciding(plan: Plan) -> tuple[str, ...]:
    """Return the metrics whose harm can roll back: registered with the plan, never edited."""
    return tuple(name for name, kind in kinds(plan).items() if kind is not MetricKind.SECONDARY)


def specs_of(plan: Plan) -> dict[str, MetricSpec]:
    """Return the metrics to accumulate, with the companions that watch who answers.

    A gate whose metric nothing measures is left out.
    """
    return {spec.name: spec for name in kinds(plan) for spec in _specs(plan, name)}


def _specs(plan: Plan, name: str) -> tuple[MetricSpec, ...]:
    if name == NET_BENEFIT:
        gate = next(gate for gate in gates_of(plan) if gate.metric == name)
        worth = (gate.value_per_rubric_point_usd or 0.0) * 1e9
        if gate.rubric is None:
            return net_benefit(worth)
        window_s = plan.graded[gate.rubric].window_s
        return net_benefit(worth, outcome=rubric_metric(gate.rubric), window_s=window_s)
    if name.startswith(f"{RUBRIC}:"):
        rubric = name.removeprefix(f"{RUBRIC}:")
        grading = plan.graded.get(rubric)
        if grading is None:
            return ()
        return rubric_metrics(rubric, grading.window_s, needs_judge=grading.needs_judge)
    if name in plan.declared:
        return declared_metrics(name, plan.declared[name])
    own, companion = BUILT_IN.get(name), BUILT_IN.get(response_rate_of(name))
    return tuple(each for each in (own, companion) if each is not None)


def window_s(plan: Plan, spec: MetricSpec) -> float:
    """Return after how many seconds the outcome of `spec` counts as matured."""
    own = plan.windows_s.get(spec.name)
    if own is None:
        of = [name for name, each in specs_of(plan).items() if each.outcome == spec.outcome]
        own = next((plan.windows_s[name] for name in of if name in plan.windows_s), None)
    if own is None and spec.outcome is not None:
        own = plan.windows_s.get(spec.outcome)
    return spec.window_s if own is None else own


def rules_of(plan: Plan, *, attempt: int = 1) -> dict[str, Rule]:
    """Return the rule of each metric in `specs_of(plan)`."""
    stages = measured(plan)
    share = stages[-1].share if stages else 0.5
    rules = {}
    for name in specs_of(plan):
        gates = {
            stage.name: (gate, stage.margin_factor)
            for stage in stages
            for gate in stage.gates
            if gate.metric == name
        }
        last = list(gates.values())[-1][0] if gates else None
        rules[name] = Rule(
            stages={stage: _margin(gate, factor) for stage, (gate, factor) in gates.items()},
            tolerance=last.tolerance if last else None,
            share=share,
            alpha_harm=plan.alpha_rollback,
            alpha_not_worse=alpha_promote(plan, attempt) * AV_PART,
        )
    return rules


def alpha_promote(plan: Plan, attempt: int) -> float:
    """Return the error rate of a wrong promotion for this attempt of the same build.

    Trying again until it passes would promote anything: later attempts get 6/(pi a)^2 of it.
    """
    return plan.alpha_promote * (1.0 if attempt <= 1 else 0.6079271 / attempt**2)


def _margin(gate: Gate, factor: float) -> StageMargin:
    return StageMargin(
        value=gate.margin.value * factor, relative=gate.margin.unit is MarginUnit.RELATIVE
    )
