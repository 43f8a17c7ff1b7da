"""Gathers the evidence of one rollout from its sums; the cost does not grow with requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from sqlmodel import Session

from llm_canary.clock import utc
from llm_canary.decision.evidence import (
    Counts,
    Evidence,
    GradingEvidence,
    HealthFacts,
    MetricEvidence,
    SliceEvidence,
)
from llm_canary.decision.rules import graded_by, specs_of
from llm_canary.metrics.graded import rubric_metric
from llm_canary.metrics.spec import MetricSpec, Scale
from llm_canary.metrics.state import ALL, MetricState, Rollup, SampleCounts, SliceState
from llm_canary.routing.table import Role
from llm_canary.stats.histogram import LogHistogram
from llm_canary.storage.repositories.rollouts import RolloutRecord
from llm_canary.storage.repositories.sample_facts import (
    ArmSamples,
    SampleFacts,
    Standing,
    drift_of,
    sample_facts,
    standing_of,
)
from llm_canary.storage.repositories.scoring import ScoringRepository

_MIN_NEW_MODEL = 3  # responses with another reported model before it counts as a change


class Loss(NamedTuple):
    """What the telemetry writer took and what it had to drop."""

    accepted: int = 0
    dropped: int = 0


NO_LOSS = Loss()


def gather(session: Session, record: RolloutRecord, now_s: float, loss: Loss = NO_LOSS) -> Evidence:
    """Return the evidence for a decision about the rollout at `now_s`."""
    repository = ScoringRepository(session)
    rollup = repository.rollup(record.id)
    oldest_s = repository.oldest_due_s(record.id, now_s)
    backlog_s = 0.0 if oldest_s is None else now_s - oldest_s
    facts = facts_of(session, record, now_s)
    grading = gather_grading(session, record, rollup, facts, now_s)
    return evidence_of(record, rollup, now_s, backlog_s=backlog_s, loss=loss, grading=grading)


def facts_of(session: Session, record: RolloutRecord, now_s: float) -> dict[str, SampleFacts]:
    """Return what the samples of each rubric have come to."""
    return {
        name: sample_facts(session, record.id, name, utc(now_s))
        for name in graded_by(record.spec.plan)
    }


def gather_grading(
    session: Session,
    record: RolloutRecord,
    rollup: Rollup,
    facts: Mapping[str, SampleFacts],
    now_s: float,
) -> dict[str, GradingEvidence]:
    """Return how the answers of each rubric were drawn and graded; `facts` are by rubric."""
    return {each[0]: _grading(session, record, rollup, each, now_s) for each in facts.items()}


def evidence_of(  # noqa: PLR0913 - a record, its sums, and what else is known of them
    record: RolloutRecord,
    rollup: Rollup,
    now_s: float,
    *,
    backlog_s: float = 0.0,
    loss: Loss = NO_LOSS,
    grading: Mapping[str, GradingEvidence] = MappingProxyType({}),
    only: Collection[str] | None = None,
) -> Evidence:
    """Return the evidence that the sums hold; `grading` is by rubric.

    A list of rollouts asks for a few metrics `only`; no decision is made from these.
    """
    stage = record.stage or ""
    of = {rubric_metric(name): found for name, found in grading.items()}
    metrics = [
        msgspec.structs.replace(_metric(rollup, spec, stage), grading=of.get(spec.outcome or ""))
        for spec in specs_of(record.spec.plan).values()
        if only is None or spec.name in only
    ]
    return Evidence(
        rollout_id=record.id,
        rollout=record.name,
        route=record.route,
        stage=stage,
        share=record.share,
        attempt=record.build_attempt,
        now_s=now_s,
        stage_age_s=now_s - (record.stage_started_at_s or now_s),
        segments=record.segments,
        progress=record.progress,
        health=_health(rollup, stage, now_s, backlog_s, loss),
        metrics=tuple(metrics),
        protected=tuple(each for each in record.segments if each in record.spec.protected),
    )


def _grading(
    session: Session,
    record: RolloutRecord,
    rollup: Rollup,
    found: tuple[str, SampleFacts],
    now_s: float,
) -> GradingEvidence:
    rubric, facts = found
    counts = rollup.totals.sampling.get(rubric, SampleCounts())
    control, canary = (facts.arms.get(arm, ArmSamples()) for arm in (Role.CONTROL, Role.CANARY))
    terms = record.spec.plan.graded[rubric]
    judge = max(facts.judges, key=lambda name: facts.judges[name], default=None)
    has_standing = terms.needs_judge and judge is not None
    standing = standing_of(session, judge or "") if has_standing else Standing()
    drift = drift_of(session, judge or "") if has_standing else None
    return GradingEvidence(
        rubric=rubric,
        eligible=_pair(counts.eligible),
        without_text=_pair(counts.without_text),
        drawn=_pair(counts.drawn),
        waiting=(control.waiting, canary.waiting),
        judged=(control.judged, canary.judged),
        failed=(control.failed, canary.failed),
        shed=(control.shed, canary.shed),
        labelled=(control.answered, canary.answered),
        lately=counts.replies[-1].fewest if counts.replies else None,
        judges=tuple(sorted(facts.judges)),
        models=tuple(sorted(facts.models)),
        second_models=tuple(sorted(facts.second_models)),
        standing=standing.standing,
        reason=standing.reason,
        labels=standing.labels,
        calibrated_age_s=None if standing.at is None else now_s - standing.at.timestamp(),
        drift=None if drift is None else drift.drift,
        drift_models=() if drift is None else drift.models,
        moved=(0, 0) if drift is None else (drift.changed, drift.anchors),
    )


def _pair(values: Sequence[int]) -> tuple[int, int]:
    return values[0], values[1]


def _health(rollup: Rollup, stage: str, now_s: float, backlog_s: float, loss: Loss) -> HealthFacts:
    totals = rollup.totals
    new_models = [
        f"{arm}: {model}"
        for arm, models, known in zip(
            ("control", "canary"), totals.models, totals.known_models, strict=True
        )
        for model, n in sorted(models.items())
        if known and model not in known and n >= _MIN_NEW_MODEL
    ]
    ages = [None if at is None else max(now_s - at, 0.0) for at in totals.last_at_s]
    units = totals.stage_units.get(stage, [0, 0])
    responses = totals.stage_responses.get(stage, [0, 0])
    return HealthFacts(
        new_units=_counts(totals.new_units),
        in_both_arms=totals.in_both_arms,
        stage_units=(units[0], units[1]),
        stage_responses=(responses[0], responses[1]),
        last_age_s=(ages[0], ages[1]),
        backlog_s=backlog_s,
        telemetry_accepted=loss.accepted,
        telemetry_dropped=loss.dropped,
        new_models=tuple(new_models),
    )


def _metric(rollup: Rollup, spec: MetricSpec, stage: str) -> MetricEvidence:
    state = rollup.metrics.get(spec.name, MetricState())
    whole = rollup.slices.get((spec.name, ALL), SliceState())
    own = state.stages.get(stage, [0.0, 0.0])
    harm_v = whole.harm_v or [0.0, 0.0]
    quantiles: list[float | None] = [None, None]
    if spec.scale is Scale.QUANTILE and spec.quantile is not None:
        quantiles = [_histogram(state, arm).quantile(spec.quantile) for arm in (0, 1)]
    return MetricEvidence(
        metric=spec.name,
        applicable=(state.applicable[0], state.applicable[1]),
        observed=(state.observed[0], state.observed[1]),
        baseline=len(state.baseline),
        frozen=state.frozen,
        score=whole.score,
        first=_counts(whole.first),
        harm_v=(harm_v[0], harm_v[1]),
        stage_v=whole.margin_v.get(stage),
        final_v=whole.final_v,
        stage_s=own[0],
        stage_i=own[1],
        snapshots=tuple((s, v) for _, s, v in state.snapshots),
        squares=tuple(state.squares),
        quantiles=(quantiles[0], quantiles[1]),
        denominators=(state.denominator[0], state.denominator[1]),
        segments=_segments(rollup, spec.name),
    )


def _segments(rollup: Rollup, name: str) -> tuple[SliceEvidence, ...]:
    found = []
    for segment, values in sorted(rollup.totals.segment_values.items()):
        for rank, value in enumerate(values):
            state = rollup.slices.get((name, f"{segment}={value}"))
            if state is not None and state.harm_v:
                found.append(
                    SliceEvidence(
                        segment=segment,
                        value=value,
                        rank=rank,
                        score=state.score,
                        harm_v=state.harm_v[0],
                        first=_counts(state.first),
                    )
                )
    return tuple(found)


def _counts(pairs: dict[float, list[int]]) -> tuple[Counts, ...]:
    return tuple(
        Counts(share=share, canary=canary, total=total)
        for share, (canary, total) in sorted(pairs.items())
    )


def _histogram(state: MetricState, arm: int) -> LogHistogram:
    histogram = LogHistogram(zeros=state.zeros[arm])
    histogram.bins.update(state.bins[arm])
    return histogram
