"""Plans: the built-in `standard`, what extends it, and the rules that every plan keeps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llm_canary.config.file import PlanEntry, RolloutEntry, StageEntry
from llm_canary.config.gates import (
    Written,
    decides,
    expand_rubrics,
    merge,
    to_gates,
    written,
)
from llm_canary.decision.plan import Grading, Plan, Stage
from llm_canary.documents.problems import KeyPath, Problems, did_you_mean, one_of, shown
from llm_canary.metrics.graded import NET_BENEFIT, RUBRIC
from llm_canary.metrics.spec import Declared

STANDARD = "standard"
FULL = "full"
STANDBY = "standby"
_MAX_MARGIN_FACTOR = 3
_STANDARD: dict[str, Any] = {
    "stages": [
        {"name": "initial", "share": "5%", "min": "24h", "max": "72h", "min_units": 200},
        {"name": "expanded", "share": "25%", "min": "24h", "max": "72h", "min_units": 200},
        {"name": "broad", "share": "50%", "min": "24h", "max": "72h", "min_units": 200},
        {"name": FULL, "holdback": "1%"},
        {"name": STANDBY, "for": "48h"},
    ],
    "gates": {
        "error_rate": {"kind": "guardrail", "margin": "0.5pp"},
        "latency_p95": {"kind": "guardrail", "margin": "10%"},
        "invalid_output": {"kind": "guardrail", "margin": "1pp"},
        "thumbs_up_rate": {"kind": "goal", "margin": "5pp"},
        RUBRIC: {"kind": "goal", "margin": "0.03"},
        "cost_per_request": {"kind": "goal", "margin": "10%"},
    },
    "alpha": {"rollback": 0.01, "promote": 0.05},
    "full_cycle": "24h",
}


class Outcomes(NamedTuple):
    """What the file says of outcome metrics."""

    windows_s: dict[str, float]  # metric -> seconds until an outcome counts as matured
    declared: dict[str, Declared]  # those that are not built in


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan with what it extends, before gates are complete."""

    name: str
    stages: tuple[StageEntry, ...]
    stages_path: KeyPath
    own_stages: bool  # written in this plan, not in one it extends
    gates: Written
    options: dict[str, Any] = field(default_factory=dict)  # fields of Plan


def drafts(
    entries: Mapping[str, PlanEntry], names: Collection[str], problems: Problems
) -> dict[str, Draft]:
    """Return every usable plan; `names` also holds those whose form is faulty."""
    resolver = _Resolver(entries, {*names, STANDARD}, problems)
    found = {name: resolver.draft(name, ()) for name in {STANDARD: None, **entries}}
    result = {name: draft for name, draft in found.items() if draft is not None}
    for draft in result.values():
        _check_stages(draft, problems)
    return result


def to_plan(
    draft: Draft,
    problems: Problems,
    *,
    outcomes: Outcomes,
    rollout: tuple[KeyPath, RolloutEntry, Mapping[str, Grading]] | None = None,
) -> Plan:
    """Return the plan; `rollout` (path, entry, the route's rubrics) adds that rollout's gates."""
    path, entry, rubrics = rollout or ((), None, {})
    over = written(entry.gates, (*path, "gates")) if entry else {}
    measured = [stage for stage in draft.stages if _is_measured(stage)]
    stages = []
    for index, stage in enumerate(draft.stages):
        where = (*draft.stages_path, index)
        gates: Written = {}
        if _is_measured(stage):
            own = written(stage.gates, (*where, "gates"))
            gates = expand_rubrics(merge(merge(draft.gates, own), over), rubrics)
        built = to_gates(gates, outcomes.declared, problems, rubrics=tuple(rubrics))
        if entry:
            _check_gates(built, gates, rubrics, (stage.name, path), problems)
        from_last = len(measured) - measured.index(stage) if stage in measured else 1
        stages.append(_stage(stage, draft.stages, built, min(from_last, _MAX_MARGIN_FACTOR)))
    _check_worth(stages, path or ("plans", draft.name), problems)
    return Plan(
        name=draft.name,
        stages=tuple(stages),
        declared=outcomes.declared,
        graded=dict(rubrics),
        windows_s=outcomes.windows_s,
        **draft.options,
    )


def _check_worth(stages: list[Stage], path: KeyPath, problems: Problems) -> None:
    """Refuse a rubric point that is worth more in one stage: the sums go through all of them."""
    worth = {
        gate.value_per_rubric_point_usd
        for stage in stages
        for gate in stage.gates
        if gate.metric == NET_BENEFIT
    }
    if len(worth) > 1:
        wrong = "a rubric point is worth different dollars in different stages"
        expected = "one `value_per_rubric_point_usd` for the whole plan"
        problems.add((*path, "gates", NET_BENEFIT), wrong, expected=expected)


def check_unused(plan: Plan, path: KeyPath, problems: Problems) -> None:
    """Note the measured stages without gates of a plan that no rollout completes."""
    for stage in plan.stages:
        if stage.is_measured:
            _check_gates(stage.gates, {}, (), (stage.name, path), problems)


def _stage(
    stage: StageEntry, stages: tuple[StageEntry, ...], gates: tuple[Any, ...], factor: int
) -> Stage:
    full = next((one for one in stages if one.name == FULL), None)
    top = 1.0 - ((full.holdback or 0.0) if full else 0.0)
    return Stage(
        name=stage.name,
        share=(stage.share or 0.0) if _is_measured(stage) else top,
        min_s=stage.min or 0.0,
        max_s=stage.max or 0.0,
        min_units=200 if stage.min_units is None else stage.min_units,
        gates=gates,
        margin_factor=float(factor),
        for_s=stage.for_ or 0.0,
        is_measured=_is_measured(stage),
    )


def _is_measured(stage: StageEntry) -> bool:
    return stage.name not in (FULL, STANDBY)


def _check_gates(
    built: tuple[Any, ...],
    gates: Written,
    rubrics: Collection[str],
    where: tuple[str, KeyPath],
    problems: Problems,
) -> None:
    stage, path = where
    for metric, gate in gates.items():
        rubric = metric.removeprefix(f"{RUBRIC}:")
        if metric.startswith(f"{RUBRIC}:") and rubric not in rubrics:
            do = f"add {rubric} to the route's `rubrics`"
            problems.add(gate.path, "the route has no such rubric", expected=one_of(rubrics), do=do)
    if stage not in (FULL, STANDBY) and not decides(built):
        wrong = f"stage {stage!r} ends up without a gate that decides"
        do = "add `gates:` of kind guardrail or goal to the plan, the stage or the rollout"
        problems.add((*path, "gates"), wrong, expected="at least one", do=do)


class _Resolver:
    """Follows `extends`."""

    def __init__(
        self, entries: Mapping[str, PlanEntry], names: set[str], problems: Problems
    ) -> None:
        self._entries = entries
        self._names = names
        self._problems = problems

    def draft(self, name: str, chain: tuple[str, ...]) -> Draft | None:
        entry = self._entries.get(name)
        if entry is None:
            return _built_in() if name == STANDARD else None
        path: KeyPath = ("plans", name)
        if entry.extends is None:
            if entry.stages is None:
                do = f"add `stages:` or `extends: {STANDARD}`"
                self._problems.add(
                    (*path, "stages"), "the plan has no stages", expected="stages", do=do
                )
                return None
            return _layer(name, entry, None)
        base = self._base(name, entry.extends, (*chain, name))
        return None if base is None else _layer(name, entry, base)

    def _base(self, name: str, base: str, chain: tuple[str, ...]) -> Draft | None:
        path: KeyPath = ("plans", name, "extends")
        if base == name == STANDARD:
            return _built_in()
        if base in chain:
            wrong = f"the plans extend each other in a circle ({' -> '.join([*chain, base])})"
            self._problems.add(
                path, wrong, expected="an end", do=f"let one extend {STANDARD} or nothing"
            )
            return None
        if base not in self._names:
            do = did_you_mean(base, self._names)
            wrong = f"there is no plan {shown(base)}"
            self._problems.add(path, wrong, expected=one_of(self._names), do=do)
            return None
        return self.draft(base, chain)


def _built_in() -> Draft:
    return _layer(STANDARD, PlanEntry.model_validate(_STANDARD), None)


def _layer(name: str, entry: PlanEntry, base: Draft | None) -> Draft:
    path: KeyPath = ("plans", name)
    options = {
        "alpha_rollback": entry.alpha.rollback,
        "alpha_promote": entry.alpha.promote,
        "full_cycle_s": entry.full_cycle,
        "warmup_s": entry.warmup,
        "settle_s": entry.settle,
        "max_per_unit_day": entry.max_per_unit_day,
    }
    own = {key: value for key, value in options.items() if value is not None}
    gates = written(entry.gates, (*path, "gates"))
    return Draft(
        name=name,
        stages=tuple(entry.stages) if entry.stages is not None else base.stages if base else (),
        stages_path=(*path, "stages") if entry.stages or base is None else base.stages_path,
        own_stages=entry.stages is not None,
        gates=merge(base.gates, gates) if base else gates,
        options={**base.options, **own} if base else own,
    )


def _check_stages(draft: Draft, problems: Problems) -> None:
    names = [stage.name for stage in draft.stages]
    path = draft.stages_path
    order = [
        *(name for name in names if name not in (FULL, STANDBY)),
        *(n for n in (FULL, STANDBY) if n in names),
    ]
    if (
        FULL not in names
        or len(set(names)) < len(names)
        or order != names
        or len(order) == names.count(FULL)
    ):
        wrong = f"the stages are {', '.join(names)}"
        expected = f"measured stages with names of their own, then {FULL}, then perhaps {STANDBY}"
        problems.add(path, wrong, expected=expected)
    share = 0.0
    for index, stage in enumerate(draft.stages):
        where = (*path, index)
        if _is_measured(stage):
            _check_measured(stage, where, draft, problems)
        else:
            _check_unmeasured(stage, where, problems)
        reached = 1.0 - (stage.holdback or 0.0) if stage.name == FULL else stage.share
        if reached is not None and stage.name != STANDBY:
            if reached <= share or (_is_measured(stage) and reached >= 1):
                key = "holdback" if stage.name == FULL else "share"
                wrong = f"stage {stage.name!r} has share {reached:g} after {share:g}"
                problems.add(
                    (*where, key), wrong, expected="shares that rise, below 1 while measured"
                )
            share = reached


def _check_measured(stage: StageEntry, path: KeyPath, draft: Draft, problems: Problems) -> None:
    for key in ("share", "min", "max"):
        if getattr(stage, key) is None:
            wrong = f"the measured stage {stage.name!r} lacks it"
            problems.add((*path, key), wrong, expected=_meaning(key), do=f"add `{key}:`")
    for key, value in (("holdback", stage.holdback), ("for", stage.for_)):
        if value is not None:
            owner = FULL if key == "holdback" else STANDBY
            problems.add(
                (*path, key), "a measured stage has no such key", expected=f"it on {owner} only"
            )
    if stage.min is not None and stage.max is not None and stage.min > stage.max:
        wrong = f"min {stage.min:g} s is longer than max {stage.max:g} s"
        problems.add((*path, "max"), wrong, expected="min <= max")
    if stage.max == 0:
        problems.add((*path, "max"), "the stage has no time at all", expected="a time above 0")
    cycle = draft.options.get("full_cycle_s", Plan(name="", stages=()).full_cycle_s)
    if stage.min is not None and stage.min < cycle:
        where = (*path, "min") if draft.own_stages else ("plans", draft.name, "full_cycle")
        wrong = (
            f"stage {stage.name!r} has min {stage.min:g} s, less than the full cycle of {cycle:g} s"
        )
        do = "raise `min`, or lower `full_cycle` if all traffic shows itself sooner"
        problems.add(where, wrong, expected="min >= full_cycle", do=do)


def _check_unmeasured(stage: StageEntry, path: KeyPath, problems: Problems) -> None:
    own = "holdback" if stage.name == FULL else "for"
    values = {
        name: getattr(stage, name) for name in ("share", "min", "max", "min_units", "holdback")
    }
    values |= {"for": stage.for_, "gates": stage.gates or None}
    for key, value in values.items():
        if value is not None and key != own:
            problems.add(
                (*path, key), f"{stage.name!r} is not measured", expected=f"only `{own}` here"
            )
    if stage.name == STANDBY and stage.for_ is None:
        wrong = "standby has no end"
        problems.add((*path, "for"), wrong, expected="a duration such as 48h", do="add `for:`")


def _meaning(key: str) -> str:
    return {"share": "a share such as 5%", "min": "a duration such as 24h"}.get(
        key, "a duration such as 72h"
    )
