"""Plans: the stages of a rollout and the gates that must hold before the next one."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from llm_canary.metrics.spec import Declared


class MetricKind(StrEnum):
    """What a gate's failure means."""

    GUARDRAIL = "guardrail"  # its failure rolls back even when the comparison's health is doubtful
    GOAL = "goal"
    SECONDARY = "secondary"  # shown, never decides


class MarginUnit(StrEnum):
    """How a margin is read."""

    ABSOLUTE = "absolute"  # in the metric's own unit: 0.005 of a rate, 0.03 rubric points
    RELATIVE = "relative"  # a fraction of the control's value


class Margin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much worse the canary may be and still count as not inferior; > 0."""

    value: float
    unit: MarginUnit


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One metric that must be shown not inferior before the stage is left."""

    metric: str
    kind: MetricKind
    margin: Margin
    tolerance: float | None = None  # None: 0 for hard failures, margin/2 otherwise (STATISTICS A.4)
    value_per_rubric_point_usd: float | None = None  # net_benefit only
    rubric: str | None = None  # net_benefit only: whose points; None: the outcome `quality`


class Grading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a rollout's answers are graded by one rubric; fixed when the rollout starts."""

    rubric_text_id: str  # of the rubric as it was then
    needs_judge: bool  # or a person; else programs decide every criterion
    judge: str | None = None  # the model that grades; None: nobody, where one is needed
    window_s: float  # after the answer the gate takes what judges and people have said
    samples_per_day: float = 250.0  # of each arm
    targeted_rate: float = 0.1  # chance of an answer that is worth a look, beside
    review_rate: float = 0.2  # chance that people are asked about a drawn answer
    double_review_rate: float = 0.2  # of these, so many are asked of two
    min_labels: int = 100  # human labels without which a judge version is not trusted
    max_age_s: float = 1_209_600.0  # of the judge's calibration
    max_waiting: int = 20_000  # samples that wait for judges; beyond, new ones are shed
    max_nanousd_per_day: int | None = None  # of judges, over all rollouts
    stratum: str | None = None  # the segment whose value is noted with each sample


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One step of a plan. `full` and `standby` are not measured: share = 1 - holdback."""

    name: str
    share: float  # canary fraction of units, 0-1
    min_s: float = 0.0
    max_s: float = 0.0
    min_units: int = 200  # floor n_eff,c of STATISTICS A.3
    gates: tuple[Gate, ...] = ()  # effective gates: plan's, overridden and added to
    margin_factor: float = 1.0  # the ladder 3m/2m/m
    for_s: float = 0.0  # standby only
    is_measured: bool = True


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The stages, in order, with the error rates of the two mistakes."""

    name: str
    stages: tuple[Stage, ...]
    alpha_rollback: float = 0.01
    alpha_promote: float = 0.05
    full_cycle_s: float = 86_400.0
    warmup_s: float = 600.0  # cost and latency right after a share change are not scored
    settle_s: float = (
        15.0  # every response waits this long for an SDK's retry, which counts with it
    )
    max_per_unit_day: int = 50
    declared: dict[str, Declared] = {}  # outcome metrics of the configuration
    graded: dict[str, Grading] = {}  # rubric -> how its answers are drawn and graded
    windows_s: dict[str, float] = {}  # outcome metric -> seconds after which it counts as matured


def stage_index(plan: Plan, name: str) -> int:
    """Return the position of the stage `name`; raise KeyError when the plan has none."""
    for index, stage in enumerate(plan.stages):
        if stage.name == name:
            return index
    raise KeyError(name)
