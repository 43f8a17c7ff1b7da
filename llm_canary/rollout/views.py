"""What the API and the page show of a rollout; pairs are (control, canary)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlmodel import Session

from llm_canary.config.rollout_spec import RolloutSpec
from llm_canary.decision.compare import Comparison
from llm_canary.decision.engine import Decision
from llm_canary.decision.evidence import Evidence, GradingEvidence
from llm_canary.decision.evidence import decode as decode_evidence
from llm_canary.decision.gates import GateResult
from llm_canary.decision.plan import Plan, Stage
from llm_canary.metrics.state import Totals
from llm_canary.rollout.known import Known, known
from llm_canary.rollout.replay import decode
from llm_canary.routing.table import Role, Variant
from llm_canary.storage.repositories.rollout_reads import DecisionHead
from llm_canary.storage.repositories.rollouts import (
    DecisionRecord,
    RolloutRecord,
    State,
    TransitionRecord,
)
from llm_canary.storage.repositories.sample_facts import ArmSamples, SampleFacts, effort_of

HELD = "held"
EXTEND = "extend"


class StageView(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the plan; `status` is done, current or ahead."""

    name: str
    share: float
    status: str
    min_s: float
    max_s: float
    for_s: float
    is_measured: bool
    started_s: float | None = None
    ended_s: float | None = None
    units: tuple[int, int] = (0, 0)
    responses: tuple[int, int] = (0, 0)


class DecisionView(msgspec.Struct, frozen=True, kw_only=True):
    """A stored decision; with plan, evidence and result only when asked for by its id."""

    id: str
    stage: str
    verdict: str
    at_s: float
    reasons: tuple[str, ...]
    applied: bool = False
    evidence_hash: str = ""
    plan: Plan | None = None
    evidence: Evidence | None = None
    result: Decision | None = None


class TransitionView(msgspec.Struct, frozen=True, kw_only=True):
    """One change that was applied.

    `outcome` is set where one was reached: promoted, rolled_back or aborted on the change that
    ended the rollout, extended on each that gave a stage more time.
    """

    id: str
    rollout: str
    route: str
    attempt: int
    seq: int
    at_s: float
    action: str
    actor: str
    reason: str
    from_state: str
    to_state: str
    from_stage: str | None
    to_stage: str | None
    share: float
    decision_id: str | None = None
    outcome: str | None = None


class GradingView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a rollout's answers under one rubric, and what that has cost; apart from it.

    In each arm eligible = without_text + not_sampled + waiting + judged + failed + shed. `targeted`
    are the answers that were drawn because they are worth a look; they decide nothing. `standing`,
    `reason`, `labels` and `drift` are the judge's of now, of the last decision once it is over.
    """

    rubric: str
    eligible: tuple[int, int]
    without_text: tuple[int, int]
    not_sampled: tuple[int, int]
    waiting: tuple[int, int]
    judged: tuple[int, int]
    failed: tuple[int, int]
    shed: tuple[int, int]
    labelled: tuple[int, int]
    targeted: tuple[int, int] = (0, 0)
    judges: tuple[str, ...] = ()
    standing: str = ""
    reason: str = ""
    labels: int = 0
    drift: str | None = None
    judge_points: tuple[float | None, float | None] = (None, None)  # uncorrected averages, 0 to 1
    judge_nanousd: int | None = None  # None: nobody said, or no judge was asked
    judge_calls: int = 0
    judge_calls_of_unknown_cost: int = 0
    reviews: int = 0
    review_s: float | None = None  # active time, of the reviews that say


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout as it stands. Times are UTC seconds.

    `comparisons` are all metrics, `gates` those of the present stage; both are as of now while the
    rollout runs and as last decided once it is over. `verdict` and `reasons` are what `decide` says
    now, `decision` is the last one stored.
    """

    id: str
    name: str
    route: str
    plan: str
    state: str  # "held" while held
    control: Variant
    canary: Variant
    stages: tuple[StageView, ...]
    stage: str | None
    share: float
    started_s: float | None
    stage_started_s: float | None
    units: tuple[int, int]
    responses: tuple[int, int]
    min_units: int | None
    gates: tuple[GateResult, ...]
    comparisons: tuple[Comparison, ...]
    decision: DecisionView | None
    ended_s: float | None = None
    hold_by: str | None = None
    hold_reason: str | None = None
    hold_s: float | None = None
    reminders: int = 0
    outcome: str | None = None
    attempt: int = 1
    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    log_e_global: float | None = None
    alpha_rollback: float | None = None
    alpha_promote: float | None = None
    unscored: dict[str, tuple[int, int]] = {}  # over the daily cap, replaced by a retry, too late
    unusable: int = 0
    grading: tuple[GradingView, ...] = ()


def rollout_view(
    session: Session, record: RolloutRecord, control: Variant, now_s: float
) -> RolloutView:
    """Return the rollout as it stands at `now_s`; `control` is used while none is frozen."""
    return view_of(session, record, control, known(session, record, now_s))


def view_of(session: Session, record: RolloutRecord, control: Variant, found: Known) -> RolloutView:
    """Return the rollout as it stands, of what is known."""
    decision, last, totals, hold = found.decision, found.last, found.rollup.totals, record.hold
    stages = _stages(record, totals, found.transitions)
    present = next((each for each in record.spec.plan.stages if each.name == record.stage), None)
    return RolloutView(
        id=record.id,
        name=record.name,
        route=record.route,
        plan=record.spec.plan.name,
        state=HELD if hold else record.state.value,
        control=record.control or control,
        canary=record.spec.canary,
        stages=stages,
        stage=record.stage,
        share=record.share,
        started_s=record.started_at_s,
        stage_started_s=record.stage_started_at_s,
        units=_units(totals),
        responses=_sum([stage.responses for stage in stages]),
        min_units=present.min_units if present and present.is_measured else None,
        gates=decision.gates if decision else (),
        comparisons=decision.comparisons if decision else (),
        decision=None if last is None else head_view(last),
        ended_s=record.ended_at_s,
        hold_by=hold.by if hold else None,
        hold_reason=hold.reason if hold else None,
        hold_s=hold.at_s if hold else None,
        reminders=record.reminders,
        outcome=record.outcome,
        attempt=record.attempt,
        verdict=decision.verdict.value if decision else None,
        reasons=decision.reasons if decision else (),
        log_e_global=decision.log_e_global if decision else None,
        alpha_rollback=record.spec.plan.alpha_rollback,
        alpha_promote=record.spec.plan.alpha_promote,
        unscored={
            "over_cap": (totals.over_cap[0], totals.over_cap[1]),
            "superseded": (totals.superseded[0], totals.superseded[1]),
            "late": (totals.late[0], totals.late[1]),
        },
        unusable=totals.unusable,
        grading=tuple(
            _grading(session, record, each, found.facts[name])
            for name, each in found.grading.items()
        ),
    )


def _grading(
    session: Session,
    record: RolloutRecord,
    found: GradingEvidence,
    facts: SampleFacts,
) -> GradingView:
    pairs = [facts.targeted.get(arm, ArmSamples()) for arm in (Role.CONTROL, Role.CANARY)]
    effort = effort_of(session, record.id, found.rubric)
    needs_judge = record.spec.plan.graded[found.rubric].needs_judge
    return GradingView(
        rubric=found.rubric,
        eligible=found.eligible,
        without_text=found.without_text,
        not_sampled=(
            found.eligible[0] - found.without_text[0] - found.drawn[0],
            found.eligible[1] - found.without_text[1] - found.drawn[1],
        ),
        waiting=found.waiting,
        judged=found.judged,
        failed=found.failed,
        shed=found.shed,
        labelled=found.labelled,
        targeted=(sum(pairs[0][:4]), sum(pairs[1][:4])),
        judges=found.judges,
        standing=found.standing if needs_judge else "",
        reason=found.reason,
        labels=found.labels,
        drift=found.drift,
        judge_points=(
            facts.judge_points.get(Role.CONTROL),
            facts.judge_points.get(Role.CANARY),
        ),
        **effort._asdict(),
    )


def unstarted_view(spec: RolloutSpec, control: Variant) -> RolloutView:
    """Return a rollout that only the file knows."""
    return RolloutView(
        id=spec.name,
        name=spec.name,
        route=spec.route,
        plan=spec.plan.name,
        state=State.DRAFT.value,
        control=control,
        canary=spec.canary,
        stages=tuple(_stage(stage, "ahead", Totals()) for stage in spec.plan.stages),
        stage=None,
        share=0.0,
        started_s=None,
        stage_started_s=None,
        units=(0, 0),
        responses=(0, 0),
        min_units=None,
        gates=(),
        comparisons=(),
        decision=None,
        alpha_rollback=spec.plan.alpha_rollback,
        alpha_promote=spec.plan.alpha_promote,
    )


def head_view(record: DecisionHead | DecisionRecord) -> DecisionView:
    """Return the stored decision without what it was made from."""
    return DecisionView(
        id=record.id,
        stage=record.stage,
        verdict=record.verdict,
        at_s=record.at_s,
        reasons=record.reasons,
        applied=record.applied,
        evidence_hash=record.evidence_hash,
    )


def decision_view(record: DecisionRecord) -> DecisionView:
    """Return the stored decision in full."""
    return msgspec.structs.replace(
        head_view(record),
        plan=msgspec.json.decode(record.plan, type=Plan),
        evidence=decode_evidence(record.evidence),
        result=decode(record.result),
    )


def transition_view(record: TransitionRecord, rollout: RolloutRecord) -> TransitionView:
    """Return the transition with the names of its rollout."""
    outcome = rollout.outcome if record.seq == rollout.seq else None
    if record.action == EXTEND:
        outcome = "extended"
    return TransitionView(
        id=record.id,
        rollout=rollout.name,
        route=rollout.route,
        attempt=rollout.attempt,
        seq=record.seq,
        at_s=record.at_s,
        action=record.action,
        actor=record.actor,
        reason=record.reason,
        from_state=record.from_state,
        to_state=record.to_state,
        from_stage=record.from_stage,
        to_stage=record.to_stage,
        share=record.share,
        decision_id=record.decision_id,
        outcome=outcome,
    )


def _stages(
    record: RolloutRecord, totals: Totals, transitions: Sequence[TransitionRecord]
) -> tuple[StageView, ...]:
    entered: dict[str, float] = {}
    left: dict[str, float] = {}
    for each in transitions:
        if each.to_stage is not None and each.to_stage != each.from_stage:
            entered[each.to_stage] = each.at_s
            if each.from_stage is not None:
                left[each.from_stage] = each.at_s
    if record.stage is not None and record.ended_at_s is not None:
        left[record.stage] = record.ended_at_s
    views, status = [], "done" if record.stage is not None else "ahead"
    for stage in record.spec.plan.stages:
        if stage.name == record.stage:
            own = "done" if record.state is State.FINISHED else "current"
            status = "ahead"
        else:
            own = status
        view = _stage(stage, own, totals)
        times = {"started_s": entered.get(stage.name), "ended_s": left.get(stage.name)}
        views.append(msgspec.structs.replace(view, **times))
    return tuple(views)


def _stage(stage: Stage, status: str, totals: Totals) -> StageView:
    units = totals.stage_units.get(stage.name, [0, 0])
    responses = totals.stage_responses.get(stage.name, [0, 0])
    return StageView(
        name=stage.name,
        share=stage.share,
        status=status,
        min_s=stage.min_s,
        max_s=stage.max_s,
        for_s=stage.for_s,
        is_measured=stage.is_measured,
        units=(units[0], units[1]),
        responses=(responses[0], responses[1]),
    )


def _units(totals: Totals) -> tuple[int, int]:
    return totals.units[0], totals.units[1]


def _sum(pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(a for a, _ in pairs), sum(b for _, b in pairs)
