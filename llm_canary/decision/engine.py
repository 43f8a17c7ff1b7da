"""Turn the evidence of one rollout into a verdict.

Nothing here reads a clock, a database or a random number: the same plan and the same evidence give
the same verdict, today and in a replay next year.

Order matters, and it is the order of harm:

1. hard failures that are proven to be more roll back, even when the comparison is in doubt;
2. a comparison in doubt (broken split, selection, loss) holds: its numbers cannot be trusted;
3. harm proven over all metrics and segments rolls back, and once proven it stays so;
4. real harm within the margin is for a person to weigh: hold;
5. an unmeasured stage lasts its time;
6. a stage that is too young waits;
7. a gate that is failed, unclear or without data waits, and past the deadline asks a person;
8. a harmed segment stops what would otherwise be promoted: hold;
9. otherwise the canary moves to the next stage.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from llm_canary.decision.compare import Comparison, values_text
from llm_canary.decision.evidence import Evidence, refuse_unusable
from llm_canary.decision.gates import (
    SMALL_HARM,
    GateResult,
    GateStatus,
    Look,
    comparisons,
    due_look,
    evaluate,
)
from llm_canary.decision.harm import Alarm, Process, alarm, flagged_segments, hard_alarm, processes
from llm_canary.decision.health import problems
from llm_canary.decision.plan import MetricKind, Plan, Stage, stage_index
from llm_canary.decision.problem import Problem
from llm_canary.decision.words import duration_text


class Verdict(StrEnum):
    """What should happen to a rollout."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    HOLD = "hold"  # a person must decide
    WAIT = "wait"  # keep collecting


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict, why, and what was known."""

    verdict: Verdict
    reasons: tuple[str, ...]
    codes: tuple[str, ...] = ()  # of what holds; a person who resumes accepts them
    gates: tuple[GateResult, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    problems: tuple[Problem, ...] = ()
    log_e_global: float = 0.0  # of "harm anywhere", natural log
    culprits: tuple[Process, ...] = ()
    look: int = 0  # the planned look that this decision took; 0: none
    shown: dict[str, str] = {}  # metrics shown not inferior in this stage, and how


def decide(plan: Plan, evidence: Evidence, *, in_full: bool = True) -> Decision:
    """Return what should happen to the rollout now.

    The intervals and e-values of each metric decide nothing and take half of the time; a rehearsal
    of many rollouts leaves them out (`in_full` False).

    Raises DataError when the evidence holds a number that cannot be.
    """
    if in_full:
        refuse_unusable(evidence)
    stage = plan.stages[stage_index(plan, evidence.stage)]
    unhealthy = problems(plan, stage, evidence)
    look = _look(plan, stage, evidence, unhealthy)
    shown = comparisons(plan, evidence, in_full=in_full)
    gates = evaluate(plan, stage, evidence, look, shown) if stage.is_measured else ()
    distrusted = {each.metric for each in unhealthy if each.metric is not None}
    known: dict[str, Any] = {
        "gates": gates,
        "comparisons": shown,
        "problems": unhealthy,
        "look": look.number,
        "shown": {gate.metric: gate.shown for gate in gates if gate.shown is not None},
    }
    running = processes(plan, evidence)
    harm = alarm(plan, running, distrusted=distrusted)
    known["log_e_global"] = harm.log_e
    doubts = [each for each in unhealthy if each.needs_person]
    if doubts and (hard := hard_alarm(plan, evidence)).rings:
        return _rollback(hard, known)
    if doubts:
        return _hold([each.text for each in doubts], [each.code for each in doubts], known)
    if harm.rings:
        return _rollback(harm, known)
    if evidence.progress.harm:
        return Decision(verdict=Verdict.ROLLBACK, reasons=evidence.progress.harm, **known)
    if small := _small_harm(evidence, gates):
        return _hold([text for _, text in small], [code for code, _ in small], known)
    segments = _segments(evidence, running)
    step = _measured if stage.is_measured else _unmeasured
    decision = step(plan, stage, evidence, known)
    if decision.verdict is Verdict.PROMOTE and segments:
        return _hold([text for _, text in segments], [code for code, _ in segments], known)
    return decision


def _measured(plan: Plan, stage: Stage, evidence: Evidence, known: dict[str, Any]) -> Decision:
    gates: tuple[GateResult, ...] = known["gates"]
    asked = [gate for gate in gates if gate.kind is not MetricKind.SECONDARY]
    if not asked:
        text = f"stage {stage.name!r} has no gate that decides; start a rollout whose plan has one"
        return _hold([text], ["no_gates"], known)
    shortest = max(stage.min_s, plan.full_cycle_s)
    if evidence.stage_age_s < shortest:
        text = f"stage {stage.name!r} lasts at least {duration_text(shortest)}"
        return Decision(verdict=Verdict.WAIT, reasons=(text,), **known)
    passing = {GateStatus.PASS, GateStatus.NOT_APPLICABLE}
    unclear = [gate.reason for gate in asked if gate.status not in passing]
    if not any(gate.status is GateStatus.PASS for gate in asked):
        unclear = unclear or ["no gate applies to this traffic, so nothing is shown"]
    unclear += [each.text for each in known["problems"]]
    if not unclear:
        reasons = tuple(gate.reason for gate in asked)
        return Decision(verdict=Verdict.PROMOTE, reasons=reasons, **known)
    longest = max(stage.max_s, shortest, evidence.progress.extended_until_s or 0.0)
    if evidence.stage_age_s < longest:
        return Decision(verdict=Verdict.WAIT, reasons=tuple(unclear), **known)
    text = f"unproven after {duration_text(longest)}"
    return _hold([text, *unclear], ["overdue"], known)


def _unmeasured(_plan: Plan, stage: Stage, evidence: Evidence, known: dict[str, Any]) -> Decision:
    unhealthy: tuple[Problem, ...] = known["problems"]
    lasts = max(stage.for_s, stage.min_s)
    if evidence.stage_age_s < lasts:
        text = f"stage {stage.name!r} lasts {duration_text(lasts)}"
        return Decision(verdict=Verdict.WAIT, reasons=(text,), **known)
    if lasts > 0 and unhealthy:
        return Decision(
            verdict=Verdict.WAIT, reasons=tuple(each.text for each in unhealthy), **known
        )
    lasted = duration_text(evidence.stage_age_s)
    text = f"stage {stage.name!r} has lasted {lasted} without proven harm"
    return Decision(verdict=Verdict.PROMOTE, reasons=(text,), **known)


def _look(plan: Plan, stage: Stage, evidence: Evidence, unhealthy: tuple[Problem, ...]) -> Look:
    # A look is spent only when its outcome could promote.
    if not stage.is_measured or unhealthy:
        return Look()
    return due_look(plan, stage, evidence)


def _small_harm(evidence: Evidence, gates: tuple[GateResult, ...]) -> list[tuple[str, str]]:
    return [
        (f"{SMALL_HARM}:{gate.metric}", gate.reason)
        for gate in gates
        if gate.needs_person
        and gate.kind is not MetricKind.SECONDARY
        and f"{SMALL_HARM}:{gate.metric}" not in evidence.progress.accepted
    ]


def _segments(evidence: Evidence, running: list[Process]) -> list[tuple[str, str]]:
    found = [
        (
            f"segment:{each.slice}:{each.metric}",
            f"segment {each.slice} is worse in {each.metric} (false discovery rate 10 %)",
        )
        for each in flagged_segments(running, evidence.protected)
    ]
    return [each for each in found if each[0] not in evidence.progress.accepted]


def _hold(reasons: list[str], codes: list[str], known: dict[str, Any]) -> Decision:
    return Decision(verdict=Verdict.HOLD, reasons=tuple(reasons), codes=tuple(codes), **known)


def _rollback(harm: Alarm, known: dict[str, Any]) -> Decision:
    by_name: dict[str, Comparison] = {each.metric: each for each in known["comparisons"]}
    reasons = tuple(_accused(each, by_name.get(each.metric)) for each in harm.culprits)
    return Decision(
        verdict=Verdict.ROLLBACK,
        reasons=reasons,
        codes=("global_harm",),
        culprits=harm.culprits,
        **{**known, "log_e_global": harm.log_e},
    )


def _accused(each: Process, shown: Comparison | None) -> str:
    where = "" if each.slice == "all" else f" in {each.slice}"
    if shown is None:
        return f"global_harm: {each.metric}{where} is worse"
    first = ""
    if shown.first_failures is not None:
        canary, total, expected = shown.first_failures
        first = (
            f"; {canary} of {total} units with a failure are in the canary, expected {expected:.1f}"
        )
    return (
        f"global_harm: {each.metric}{where} is worse; over all {values_text(shown)}, "
        f"n {shown.n_control:,} and {shown.n_canary:,}{first}"
    )
