"""One gate and what is known of its metric: pass, fail, inconclusive, no data, or not applicable.

A gate passes on positive proof that the canary is not worse by the stage's margin. The proof comes
at one of at most three planned looks, spread evenly from the stage's minimum to its maximum
(O'Brien-Fleming bounds), or from always-valid evidence at any time. Once shown it stays shown while
the estimate remains within the margin. The absence of a difference is no proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from math import log, sqrt

import msgspec

from llm_canary.decision.compare import (
    Comparison,
    compare,
    is_within_final_margin,
    is_worse_than_tolerated,
    values_text,
    with_evidence,
)
from llm_canary.decision.evidence import Evidence, MetricEvidence
from llm_canary.decision.graded import lacking
from llm_canary.decision.plan import Gate, MetricKind, Plan, Stage
from llm_canary.decision.rules import AV_PART, alpha_promote, kinds, measured, specs_of
from llm_canary.decision.words import change_text
from llm_canary.metrics.freeze import MIN_BASELINE, Frozen
from llm_canary.metrics.graded import RUBRIC
from llm_canary.metrics.spec import MetricSpec
from llm_canary.stats.boundaries import obrien_fleming
from llm_canary.stats.mixture import log_e

LOOKS = 3
MIN_ANSWERS = 30  # units that answered, for metrics of which only some responses tell
SMALL_HARM = "small_harm"


class GateStatus(StrEnum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"
    NOT_APPLICABLE = "not_applicable"


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """The status of one gate with its reason, for people."""

    metric: str
    kind: MetricKind
    status: GateStatus
    reason: str
    comparison: Comparison
    shown: str | None = None  # "look 2" or "always-valid", when not inferior
    lacks: str | None = None  # what a proof that is there still needs
    is_small_harm: bool = False  # real, within tolerance and margin: promotion allowed, in amber
    needs_person: bool = False  # real harm beyond the tolerance, yet within the margin


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The planned look that is due now, if any."""

    number: int = 0  # 0: none is due
    bound: float | None = None


def least_units(stage: Stage, spec: MetricSpec) -> int:
    """Return the effective canary units below which the metric passes no gate of the stage."""
    return min(stage.min_units, MIN_ANSWERS) if spec.is_conditional else stage.min_units


def look_times_s(plan: Plan, stage: Stage) -> tuple[float, ...]:
    """Return the stage ages of the planned looks."""
    low = max(stage.min_s, plan.full_cycle_s)
    high = max(stage.max_s, low)
    return tuple(sorted({low + (high - low) * k / (LOOKS - 1) for k in range(LOOKS)}))


def due_look(plan: Plan, stage: Stage, evidence: Evidence) -> Look:
    """Return the look whose time has come and that has not been taken; looks are never repeated."""
    times = look_times_s(plan, stage)
    number = sum(evidence.stage_age_s >= time for time in times)
    if number <= evidence.progress.looks_done:
        return Look()
    alpha = alpha_promote(plan, evidence.attempt) * (1.0 - AV_PART)
    bounds = obrien_fleming(alpha, LOOKS)[-len(times) :]
    return Look(number=number, bound=bounds[number - 1])


def evaluate(
    plan: Plan, stage: Stage, evidence: Evidence, look: Look, shown: Sequence[Comparison]
) -> tuple[GateResult, ...]:
    """Return the result of every gate of the stage; `shown` are the comparisons of all metrics."""
    by_name = {each.metric: each for each in evidence.metrics}
    compared = {each.metric: each for each in shown}
    specs = specs_of(plan)
    return tuple(
        _Gate(plan, stage, evidence, look, gate).result(
            specs.get(gate.metric), by_name.get(gate.metric), compared.get(gate.metric)
        )
        for gate in stage.gates
    )


def comparisons(plan: Plan, evidence: Evidence, *, in_full: bool = True) -> tuple[Comparison, ...]:
    """Return every metric of the plan side by side, those of other stages too."""
    found = []
    of, specs = kinds(plan), specs_of(plan)
    for each in evidence.metrics:
        spec = specs.get(each.metric)
        if spec is not None:
            kind = of.get(each.metric, MetricKind.SECONDARY)
            shown = compare(spec, kind, each)
            if in_full:
                shown = with_evidence(shown, spec, each, plan=plan, stage=evidence.stage)
            found.append(shown)
    return tuple(found)


class _Gate:
    """One gate against its evidence."""

    def __init__(
        self, plan: Plan, stage: Stage, evidence: Evidence, look: Look, gate: Gate
    ) -> None:
        self._plan = plan
        self._stage = stage
        self._evidence = evidence
        self._look = look
        self._gate = gate

    def result(
        self, spec: MetricSpec | None, found: MetricEvidence | None, shown: Comparison | None
    ) -> GateResult:
        if spec is None or found is None or shown is None:
            nothing = Comparison(metric=self._gate.metric, kind=self._gate.kind)
            return self._as(GateStatus.NO_DATA, "nothing measures it in this release", nothing)
        if lacking := self._lacking(spec, found):
            return self._as(*lacking, shown)
        frozen = found.frozen
        if frozen is None:  # what is lacking has said so
            return self._as(GateStatus.NO_DATA, "its numbers are not fixed yet", shown)
        return self._judged(spec, found, frozen, shown)

    def _as(
        self, status: GateStatus, reason: str, comparison: Comparison, **more: object
    ) -> GateResult:
        return msgspec.convert(
            {
                "metric": self._gate.metric,
                "kind": self._gate.kind,
                "status": status,
                "reason": f"{self._gate.metric}: {reason}",
                "comparison": comparison,
                **more,
            },
            GateResult,
        )

    def _lacking(self, spec: MetricSpec, found: MetricEvidence) -> tuple[GateStatus, str] | None:
        if reason := lacking(self._plan, found):
            return GateStatus.NO_DATA, reason
        # Outcomes that are still to come ask nothing of nobody: they are missing.
        is_known_at_once = spec.outcome is None and all(self._evidence.health.stage_responses)
        if found.applicable == (0, 0) and is_known_at_once:
            return GateStatus.NOT_APPLICABLE, "no request asked for it"
        for arm, observed in zip(("control", "canary"), found.observed, strict=True):
            if not observed:
                return GateStatus.NO_DATA, f"not observed on the {arm} yet{_hint(spec)}"
        if found.frozen is None:
            text = f"watching the control first, {found.baseline} of {MIN_BASELINE} responses"
            return GateStatus.NO_DATA, text
        if not found.score.n_control or not found.score.n_canary:
            return GateStatus.NO_DATA, "no response of both arms scored since its numbers are fixed"
        if found.frozen.margins.get(self._stage.name, 0.0) <= 0.0 or found.stage_v is None:
            text = "a relative margin of a control value of 0 is 0; give the gate an absolute one"
            return GateStatus.NO_DATA, text
        return None

    def _judged(
        self, spec: MetricSpec, found: MetricEvidence, frozen: Frozen, shown: Comparison
    ) -> GateResult:
        alpha = self._plan.alpha_rollback
        numbers = _numbers(shown)
        is_worse = is_worse_than_tolerated(found, frozen, alpha)
        is_within = is_within_final_margin(found, frozen, alpha)
        accepted = f"{SMALL_HARM}:{spec.name}" in self._evidence.progress.accepted
        if is_worse and is_within and not accepted:
            text = f"really worse, by more than is tolerated and less than the margin: {numbers}"
            return self._as(GateStatus.INCONCLUSIVE, text, shown, needs_person=True)
        if is_worse and not is_within:
            return self._as(GateStatus.FAIL, f"worse: {numbers}", shown)
        margin = frozen.margins[self._stage.name]
        how = self._proof(found, frozen, margin)
        if how is None:
            return self._as(GateStatus.INCONCLUSIVE, f"not proven yet: {numbers}", shown)
        if why := self._floor(spec, found, frozen, margin):
            return self._as(GateStatus.INCONCLUSIVE, f"{why}: {numbers}", shown, lacks=why)
        small = shown.low is not None and shown.low > 0.0
        text = f"slightly worse, within what is tolerated: {numbers}" if small else numbers
        return self._as(
            GateStatus.PASS, f"not worse ({how}): {text}", shown, shown=how, is_small_harm=small
        )

    def _proof(self, found: MetricEvidence, frozen: Frozen, margin: float) -> str | None:
        shifted = found.score.s - margin * found.score.i
        v = found.stage_v or 0.0
        if shifted > 0.0:
            return None  # the estimate lies beyond the margin, whatever was shown before
        alpha = alpha_promote(self._plan, self._evidence.attempt) * AV_PART
        if log_e(-shifted, v, frozen.v0_not_worse) >= -log(alpha):
            return "always-valid"
        if self._look.bound is not None and v > 0.0 and -shifted / sqrt(v) >= self._look.bound:
            return f"look {self._look.number}"
        return self._evidence.progress.shown.get(self._gate.metric)

    def _floor(
        self, spec: MetricSpec, found: MetricEvidence, frozen: Frozen, margin: float
    ) -> str | None:
        state = found.score
        n_eff = state.i**2 / state.qq if state.qq > 0.0 else 0.0
        least = least_units(self._stage, spec)
        if n_eff < least:
            return f"{n_eff:.0f} of at least {least} effective canary units"
        needed = -log(self._plan.alpha_promote) * frozen.span / margin
        if state.units_canary < needed:
            return f"{state.units_canary} of at least {needed:.0f} canary units for this margin"
        is_final = self._stage.name == measured(self._plan)[-1].name
        if is_final:
            if found.stage_i <= 0.0:
                return "no canary response in the last stage itself"
            own = found.stage_s / found.stage_i
            if own > margin:
                text = change_text(spec.scored_unit, own / frozen.per_response)
                return f"the last stage's own difference is {text}"
        return None


def _numbers(shown: Comparison) -> str:
    return (
        f"{values_text(shown)}, "
        f"margin {change_text(shown.scored_unit, shown.margin, signed=False)}, "
        f"n {shown.n_control:,} and {shown.n_canary:,}"
    )


def _hint(spec: MetricSpec) -> str:
    if (spec.outcome or "").startswith(f"{RUBRIC}:"):
        return "; its window has not closed, or no worker runs (`serve --only workers`)"
    if spec.is_conditional:
        return f"; send {spec.outcome} to /v1/feedback, or make the gate secondary"
    if spec.unit == "nanousd":
        return "; give the upstream a price"
    return ""
