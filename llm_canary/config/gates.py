"""Gates as written -> gates that decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from llm_canary.config.file import GateEntry
from llm_canary.decision.plan import Gate, Margin, MarginUnit, MetricKind
from llm_canary.documents.problems import KeyPath, Problems, did_you_mean, one_of
from llm_canary.metrics.builtin import BUILT_IN
from llm_canary.metrics.graded import NET_BENEFIT, RUBRIC
from llm_canary.metrics.spec import Declared, Unit

_NANO = 1e9  # nano-dollars in a dollar
# Their values arrive in a later release, so their gates have no data until then.
LATER_METRICS = frozenset({"session_length", "session_bounce", "pairwise_win_rate"})


@dataclass(frozen=True, slots=True)
class WrittenGate:
    """A gate and where it stands, for messages."""

    entry: GateEntry
    path: KeyPath


Written = dict[str, WrittenGate]


def written(gates: Mapping[str, GateEntry], path: KeyPath) -> Written:
    """Return `gates`, which stand under `path`."""
    return {metric: WrittenGate(entry, (*path, metric)) for metric, entry in gates.items()}


def merge(base: Written, over: Written) -> Written:
    """Return `base` with the gates of `over` added; a key that is set there wins."""
    result = dict(base)
    for metric, gate in over.items():
        result[metric] = _merge_one(base[metric], gate) if metric in base else gate
    return result


def _merge_one(base: WrittenGate, over: WrittenGate) -> WrittenGate:
    changes = {name: getattr(over.entry, name) for name in over.entry.model_fields_set}
    return WrittenGate(base.entry.model_copy(update=changes), over.path)


def expand_rubrics(gates: Written, rubrics: Iterable[str]) -> Written:
    """Return `gates` with the gate `rubric` replaced by one for each rubric of the route."""
    result = {metric: gate for metric, gate in gates.items() if metric != RUBRIC}
    if RUBRIC in gates:
        for rubric in rubrics:
            metric = f"{RUBRIC}:{rubric}"
            own = gates.get(metric)
            result[metric] = _merge_one(gates[RUBRIC], own) if own else gates[RUBRIC]
    return result


def decides(gates: Iterable[Gate]) -> bool:
    """Say whether any of `gates` can keep a canary from being promoted."""
    return any(gate.kind is not MetricKind.SECONDARY for gate in gates)


def to_gates(
    gates: Written,
    declared: Mapping[str, Declared],
    problems: Problems,
    *,
    rubrics: Sequence[str] = (),
) -> tuple[Gate, ...]:
    """Return the gates that are complete; note what the others lack.

    `rubrics` are those of the route; the points of its first are worth dollars unless a gate says
    whose.
    """
    names = {*BUILT_IN, *declared, NET_BENEFIT, *LATER_METRICS, RUBRIC}
    result = []
    for metric, gate in gates.items():
        if metric not in names and not metric.startswith(f"{RUBRIC}:"):
            do = did_you_mean(metric, names) or "choose another or remove the gate"
            problems.add(gate.path, "there is no such metric", expected=one_of(names), do=do)
        elif built := _gate(metric, gate, declared, problems):
            result.append(_with_rubric(built, gate, rubrics, problems))
    return tuple(result)


def _gate(
    metric: str, gate: WrittenGate, declared: Mapping[str, Declared], problems: Problems
) -> Gate | None:
    entry, path = gate.entry, gate.path
    margin = _net_benefit_margin(gate, problems) if metric == NET_BENEFIT else entry.margin
    if entry.kind is None:
        expected = "guardrail, goal or secondary"
        problems.add(
            (*path, "kind"), "the gate overrides no other", expected=expected, do="add `kind:`"
        )
    if metric == NET_BENEFIT:
        pass
    elif entry.margin_usd is not None or entry.value_per_rubric_point_usd is not None:
        expected = "`margin_usd` and `value_per_rubric_point_usd` only on net_benefit"
        problems.add(path, "the gate is not in dollars", expected=expected, do="use `margin`")
        return None
    elif margin is None:
        expected = "how much worse the canary may be, such as 0.5pp, 10% or 0.03"
        problems.add(
            (*path, "margin"), "the gate overrides no other", expected=expected, do="add `margin:`"
        )
    if margin is None or entry.kind is None:
        return None
    unit = _unit_of(metric, declared)
    if not (_margin_fits(unit, gate, margin, problems) and _tolerance_fits(gate, margin, problems)):
        return None
    return Gate(
        metric=metric,
        kind=entry.kind,
        margin=margin,
        tolerance=None if entry.tolerance is None else entry.tolerance.value,
        value_per_rubric_point_usd=entry.value_per_rubric_point_usd,
    )


def _with_rubric(
    built: Gate, gate: WrittenGate, rubrics: Sequence[str], problems: Problems
) -> Gate:
    named = gate.entry.rubric
    if named is not None and (built.metric != NET_BENEFIT or named not in rubrics):
        expected = f"on net_benefit, {one_of(rubrics) if rubrics else 'a route with `rubrics`'}"
        problems.add((*gate.path, "rubric"), f"{named!r} cannot stand here", expected=expected)
        return built
    if built.metric != NET_BENEFIT or not rubrics:
        return built
    return msgspec.structs.replace(built, rubric=named or rubrics[0])


def _net_benefit_margin(gate: WrittenGate, problems: Problems) -> Margin | None:
    entry = gate.entry
    if (
        entry.margin_usd is None
        or entry.value_per_rubric_point_usd is None
        or entry.margin is not None
    ):
        wrong = "net_benefit is measured in dollars per response"
        expected = "`margin_usd` and `value_per_rubric_point_usd`, and no `margin`"
        problems.add(gate.path, wrong, expected=expected)
        return None
    return Margin(value=entry.margin_usd * _NANO, unit=MarginUnit.ABSOLUTE)


def _unit_of(metric: str, declared: Mapping[str, Declared]) -> Unit | None:
    """Return the unit in which the metric's margin is written; None when any number may be."""
    if metric.startswith(RUBRIC):
        return Unit.RATE
    if metric in declared:
        return None if declared[metric].amount else Unit.RATE
    spec = BUILT_IN.get(metric)
    return None if spec is None else spec.unit


def _margin_fits(unit: Unit | None, gate: WrittenGate, margin: Margin, problems: Problems) -> bool:
    """Refuse margins in another unit than the metric's: 5 meant as 5 %, 0.5pp of a time."""
    if margin.unit is MarginUnit.RELATIVE or unit is None:
        return True
    is_rate = unit is Unit.RATE
    if is_rate == (margin.value < 1):
        return True
    wrong = f"a margin of {margin.value:g} is in another unit than the metric ({unit.value})"
    expected = "below 1, such as 5pp or 0.05" if is_rate else "10%, or at least 1 of that unit"
    problems.add((*gate.path, "margin"), wrong, expected=expected)
    return False


def _tolerance_fits(gate: WrittenGate, margin: Margin, problems: Problems) -> bool:
    tolerance = gate.entry.tolerance
    if tolerance is None or tolerance.value == 0:
        return True
    if tolerance.unit is not margin.unit or tolerance.value > margin.value:
        wrong = "the tolerance does not fit the margin"
        expected = f"the margin's unit ({margin.unit}) and at most {margin.value:g}"
        problems.add((*gate.path, "tolerance"), wrong, expected=expected)
        return False
    return True
