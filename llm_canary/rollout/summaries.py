"""Rollouts as a list shows them: what each waits for, without the evidence of all the others.

Statuses are those of the last stored decision, which a controller renews whenever one of them
changes; the numbers of the one gate that is shown are of this moment.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlmodel import Session

from llm_canary.decision.compare import Comparison, compare, with_evidence
from llm_canary.decision.engine import Decision
from llm_canary.decision.gates import GateResult, GateStatus
from llm_canary.decision.outlook import Outlook, outlook
from llm_canary.decision.plan import MetricKind, Stage
from llm_canary.decision.rules import specs_of
from llm_canary.metrics.state import ALL, MetricState, Rollup, SliceState, Totals, unpack
from llm_canary.rollout.analysis import evidence_of
from llm_canary.rollout.replay import decode
from llm_canary.rollout.views import HELD
from llm_canary.routing.table import Variant
from llm_canary.storage.repositories.rollout_reads import DecisionHead, results, sums
from llm_canary.storage.repositories.rollouts import RolloutRecord

_SETTLED = (GateStatus.PASS, GateStatus.NOT_APPLICABLE)
_NO_BYTES: Mapping[tuple[str, str], bytes] = {}


class RolloutSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout that is not over; `worst` is the gate that stands in its way most."""

    id: str
    name: str
    route: str
    plan: str
    state: str  # "held" while held
    control: str  # the models
    canary: str
    attempt: int = 1
    stage: str | None = None
    stage_number: int = 0  # from 1; 0: none yet
    stage_count: int = 0
    share: float = 0.0
    started_s: float | None = None
    stage_started_s: float | None = None
    hold_by: str | None = None
    hold_reason: str | None = None
    units: tuple[int, int] = (0, 0)
    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    gates: tuple[int, int] = (0, 0)  # passed, asked for
    worst: GateResult | None = None
    outlook: Outlook | None = None


def summaries(
    session: Session,
    records: tuple[RolloutRecord, ...],
    controls: Mapping[str, Variant],
    now_s: float,
) -> tuple[RolloutSummary, ...]:
    """Return the summaries of `records`, with three queries for all of them."""
    heads = results(session, [each.last_decision_id for each in records if each.last_decision_id])
    packed = sums(session, [each.id for each in records if each.is_active])
    return tuple(
        _summary(
            record,
            record.control or controls.get(record.route) or record.spec.canary,
            heads.get(record.last_decision_id or ""),
            packed.get(record.id, _NO_BYTES),
            now_s,
        )
        for record in records
    )


def _summary(
    record: RolloutRecord,
    control: Variant,
    head: DecisionHead | None,
    packed: Mapping[tuple[str, str], bytes],
    now_s: float,
) -> RolloutSummary:
    hold, stages = record.hold, record.spec.plan.stages
    names = [each.name for each in stages]
    position = names.index(record.stage) if record.stage in names else None
    base = RolloutSummary(
        id=record.id,
        name=record.name,
        route=record.route,
        plan=record.spec.plan.name,
        state=HELD if hold else record.state.value,
        control=control.model,
        canary=record.spec.canary.model,
        attempt=record.attempt,
        stage=record.stage,
        stage_number=0 if position is None else position + 1,
        stage_count=len(stages),
        share=record.share,
        started_s=record.started_at_s,
        stage_started_s=record.stage_started_at_s,
        hold_by=hold.by if hold else None,
        hold_reason=hold.reason if hold else None,
    )
    if position is None or not record.is_active:
        return base
    return _with_numbers(base, record, stages[position], head, packed, now_s)


def _with_numbers(
    base: RolloutSummary,
    record: RolloutRecord,
    stage: Stage,
    head: DecisionHead | None,
    packed: Mapping[tuple[str, str], bytes],
    now_s: float,
) -> RolloutSummary:
    # A decision of an earlier stage says nothing of this one's gates.
    decision = decode(head.result) if head is not None and head.stage == stage.name else None
    asked = [each.metric for each in stage.gates if each.kind is not MetricKind.SECONDARY]
    gates = {} if decision is None else {each.metric: each for each in decision.gates}
    open_ = [name for name in asked if name not in gates or gates[name].status not in _SETTLED]
    worst = _worst(decision, asked)
    needed = {*open_, *([worst.metric] if worst else [])}
    rollup = _rollup(packed, needed)
    evidence = evidence_of(record, rollup, now_s, only=needed)
    by_name = {each.metric: each for each in evidence.metrics}
    if worst is not None and worst.metric in by_name:
        plan, found = record.spec.plan, by_name[worst.metric]
        spec = specs_of(plan)[worst.metric]
        shown: Comparison = compare(spec, worst.kind, found)
        shown = with_evidence(shown, spec, found, plan=plan, stage=stage.name)
        worst = msgspec.structs.replace(worst, comparison=shown)
    return msgspec.structs.replace(
        base,
        units=(rollup.totals.units[0], rollup.totals.units[1]),
        verdict=None if decision is None else decision.verdict.value,
        reasons=() if decision is None else decision.reasons,
        gates=(len(asked) - len(open_), len(asked)),
        worst=worst,
        outlook=None if record.hold else outlook(record.spec.plan, stage, evidence, open_),
    )


def _worst(decision: Decision | None, asked: list[str]) -> GateResult | None:
    """Return the gate that stands in the way most: harm, then doubt, then too little data."""
    gates = [] if decision is None else [each for each in decision.gates if each.metric in asked]
    return max(gates, key=_weight, default=None)


def _weight(gate: GateResult) -> tuple[int, float]:
    order = (
        GateStatus.NOT_APPLICABLE, GateStatus.PASS, GateStatus.NO_DATA,
        GateStatus.INCONCLUSIVE, GateStatus.FAIL,
    )  # fmt: skip
    shown = gate.comparison
    reach = float("inf")
    if shown.high is not None and shown.margin:
        reach = shown.high / shown.margin
    return order.index(gate.status) + gate.needs_person, reach


def _rollup(packed: Mapping[tuple[str, str], bytes], names: set[str]) -> Rollup:
    """Return the sums over all units of the metrics in `names` only."""
    rollup = Rollup()
    if ("", "") in packed:
        rollup.totals = unpack(packed["", ""], Totals)
        rollup.totals.segment_values = {}
    for name in names:
        if (name, "") in packed:
            state = rollup.metrics[name] = unpack(packed[name, ""], MetricState)
            state.bins = [{}, {}]  # a list shows no quantiles, and they take a while to find
        if (name, ALL) in packed:
            rollup.slices[name, ALL] = unpack(packed[name, ALL], SliceState)
    return rollup
