"""One rollout with all that its page shows beside the view: tests, outlook, health, history."""

from __future__ import annotations

from math import exp

import msgspec
from sqlmodel import Session

from llm_canary.decision.evidence import HealthFacts
from llm_canary.decision.gates import GateStatus
from llm_canary.decision.harm import Process
from llm_canary.decision.outlook import Outlook, outlook
from llm_canary.decision.plan import MetricKind, stage_index
from llm_canary.decision.problem import Problem
from llm_canary.decision.rules import specs_of
from llm_canary.decision.slices import SliceComparison, Slices, slices
from llm_canary.decision.textbook import textbook_tests
from llm_canary.metrics.state import ALL, MetricState, SliceState
from llm_canary.rollout.known import Known, known, segment_evidence
from llm_canary.rollout.views import (
    DecisionView,
    RolloutView,
    TransitionView,
    head_view,
    transition_view,
    view_of,
)
from llm_canary.routing.table import Variant
from llm_canary.stats.fixed import FixedTest
from llm_canary.storage.repositories.rollout_reads import Attempt, decision_heads
from llm_canary.storage.repositories.rollouts import RolloutRecord
from llm_canary.storage.repositories.series import Spent, spent

SHOWN_DECISIONS = 25


class RolloutSlices(msgspec.Struct, frozen=True, kw_only=True):
    """The segments of a rollout."""

    slices: tuple[SliceComparison, ...] = ()
    segments: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    left_out: dict[str, int] = {}  # segment -> values that are not among `slices`


class RolloutDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout in full; for one that only the file knows, the view and nothing else."""

    view: RolloutView
    seq: int = 0  # of its last transition
    attempts: tuple[Attempt, ...] = ()  # of this name, newest first
    tests: dict[str, tuple[FixedTest, ...]] = {}
    harm_p: dict[str, float] = {}  # of "worse than control", valid at every look
    outlook: Outlook | None = None
    health: HealthFacts | None = None
    problems: tuple[Problem, ...] = ()
    culprits: tuple[Process, ...] = ()
    decisions: tuple[DecisionView, ...] = ()
    transitions: tuple[TransitionView, ...] = ()
    spent: tuple[Spent, Spent] = (Spent(), Spent())

    @property
    def is_latest(self) -> bool:
        """Whether nobody has tried again since; older attempts can only be read."""
        return not self.attempts or self.attempts[0].number == self.view.attempt


def detail(
    session: Session, record: RolloutRecord, control: Variant, now_s: float
) -> RolloutDetail:
    """Return everything about the rollout but its segments."""
    found = known(session, record, now_s)
    evidence, decision = found.evidence, found.decision
    heads = decision_heads(session, record.id, limit=SHOWN_DECISIONS)
    base = RolloutDetail(
        view=view_of(session, record, control, found),
        seq=record.seq,
        tests=_tests(record, found),
        decisions=tuple(head_view(each) for each in heads),
        transitions=tuple(transition_view(each, record) for each in reversed(found.transitions)),
        spent=spent(session, record.id),
    )
    if evidence is None or decision is None:
        return base
    return msgspec.structs.replace(
        base,
        harm_p={
            each.metric: min(1.0, exp(-each.log_e_harm))
            for each in decision.comparisons
            if each.log_e_harm is not None
        },
        outlook=_outlook(record, found),
        health=evidence.health,
        problems=decision.problems,
        culprits=decision.culprits,
    )


def slices_of(
    session: Session,
    record: RolloutRecord,
    now_s: float,
    *,
    only: str | None = None,
    most: int | None = None,
) -> RolloutSlices:
    """Return the segments of the rollout, of this moment or as last decided; see `slices`."""
    evidence = segment_evidence(session, record, now_s)
    found = (
        Slices() if evidence is None else slices(record.spec.plan, evidence, only=only, most=most)
    )
    return RolloutSlices(
        slices=found.slices,
        segments=record.segments,
        protected=tuple(each for each in record.segments if each in record.spec.protected),
        left_out=found.left_out,
    )


def _tests(record: RolloutRecord, found: Known) -> dict[str, tuple[FixedTest, ...]]:
    rollup = found.rollup
    tests = {
        name: textbook_tests(
            spec,
            rollup.slices.get((name, ALL), SliceState()).score,
            rollup.metrics.get(name, MetricState()),
        )
        for name, spec in specs_of(record.spec.plan).items()
    }
    return {name: each for name, each in tests.items() if each}


def _outlook(record: RolloutRecord, found: Known) -> Outlook | None:
    evidence, decision = found.evidence, found.decision
    if record.hold is not None or not record.is_active or evidence is None or decision is None:
        return None
    plan = record.spec.plan
    open_ = [
        each.metric
        for each in decision.gates
        if each.kind is not MetricKind.SECONDARY
        and each.status not in {GateStatus.PASS, GateStatus.NOT_APPLICABLE}
    ]
    return outlook(plan, plan.stages[stage_index(plan, evidence.stage)], evidence, open_)
