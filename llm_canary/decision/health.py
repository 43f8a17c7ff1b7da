"""Whether the comparison may be trusted: a problem holds or waits, it never promotes.

`hold` needs a person, because the numbers themselves are in doubt; `wait` passes by itself.
"""

from __future__ import annotations

from math import log, log1p

from llm_canary.decision.evidence import Evidence, MetricEvidence
from llm_canary.decision.graded import judge_problems
from llm_canary.decision.plan import Plan, Stage
from llm_canary.decision.problem import Problem
from llm_canary.decision.rules import deciding, specs_of
from llm_canary.decision.words import duration_text
from llm_canary.metrics.builtin import response_rate_of
from llm_canary.stats.global_test import average_log_e
from llm_canary.stats.mixture import log_e_three
from llm_canary.stats.srm import log_e_srm

SRM_LOG_E = log(1000.0)  # alpha .001
_IDLE_LOG = 10.0  # an arm without units is idle where chance leaves it so below e^-10
_NEVER_ACCEPTED = {"srm", "both_arms"}
_MAX_LOSS = 0.01
_MIN_DROPPED = 10
_MAX_BACKLOG_S = 120.0
_STALE_FRACTION, _STALE_MIN_S, _STALE_MAX_S = 0.25, 30.0, 900.0


def problems(plan: Plan, stage: Stage, evidence: Evidence) -> tuple[Problem, ...]:
    """Return every problem that no person has accepted, those that need one first.

    A broken split cannot be accepted: nothing that is computed from it would mean anything.
    """
    found = (
        *_split(evidence),
        *_idle(stage, evidence),
        *_telemetry(evidence),
        *_models(evidence),
        *_selection(plan, evidence),
        *judge_problems(plan, evidence),
        *_freshness(stage, evidence),
    )
    accepted = set(evidence.progress.accepted) - _NEVER_ACCEPTED
    open_ = [each for each in found if each.code not in accepted]
    return tuple(sorted(open_, key=lambda each: not each.needs_person))


def stale_after_s(stage: Stage) -> float:
    """Return after how long without a response a stage may not advance."""
    length = stage.min_s or stage.for_s
    return min(max(length * _STALE_FRACTION, _STALE_MIN_S), _STALE_MAX_S)


def _split(evidence: Evidence) -> list[Problem]:
    found = []
    units = evidence.health.new_units
    canary, total = [each.canary for each in units], [each.total for each in units]
    if units and log_e_srm(canary, total, [each.share for each in units]) >= SRM_LOG_E:
        expected = sum(each.share * each.total for each in units)
        text = (
            f"broken split: {sum(canary)} of {sum(total)} new units are in the canary where about "
            f"{expected:.0f} belong; a crash, a cache or a filter loses one arm's requests. Find "
            "it and start a new rollout, or promote or roll back by hand"
        )
        found.append(Problem(code="srm", text=text, needs_person=True))
    if evidence.health.in_both_arms:
        text = (
            f"{evidence.health.in_both_arms} units were served by both arms at shares that cannot "
            "explain it; look for requests that bypass the hash, then start a new rollout"
        )
        found.append(Problem(code="both_arms", text=text, needs_person=True))
    return found


def _idle(stage: Stage, evidence: Evidence) -> list[Problem]:
    if not 0.0 < stage.share < 1.0:
        return []
    control, canary = evidence.health.stage_units
    if canary == 0 and control * -log1p(-stage.share) >= _IDLE_LOG:
        text = f"idle canary: {control} control units in this stage, not one in the canary"
        return [Problem(code="idle_canary", text=text, needs_person=True)]
    if control == 0 and canary * -log(stage.share) >= _IDLE_LOG:
        text = f"idle control: {canary} canary units in this stage, not one in the control"
        return [Problem(code="idle_control", text=text, needs_person=True)]
    return []


def _telemetry(evidence: Evidence) -> list[Problem]:
    dropped = evidence.health.telemetry_dropped
    total = evidence.health.telemetry_accepted + dropped
    if dropped < _MIN_DROPPED or dropped <= _MAX_LOSS * total:
        return []
    text = f"telemetry lost {dropped} of {total} events; the arms may have lost unequally"
    return [Problem(code="telemetry_loss", text=text, needs_person=True)]


def _models(evidence: Evidence) -> list[Problem]:
    return [
        Problem(
            code=f"model:{change}",
            text=f"the provider reports another model than before, {change}: "
            "earlier responses may not speak for it",
            needs_person=True,
        )
        for change in evidence.health.new_models
    ]


def _selection(plan: Plan, evidence: Evidence) -> list[Problem]:
    by_name, specs = {each.metric: each for each in evidence.metrics}, specs_of(plan)
    found = []
    for name in deciding(plan):
        spec = specs.get(name)
        if spec is None or not spec.is_conditional:
            continue
        companion = by_name.get(response_rate_of(name))
        if companion is not None and _selects(companion, plan.alpha_rollback):
            text = (
                f"selection: {name} is observed at different rates in the two arms "
                f"({_rates(companion)}), so those who answer may differ"
            )
            found.append(
                Problem(code=f"selection:{name}", text=text, needs_person=True, metric=name)
            )
    return found


def _selects(found: MetricEvidence, alpha: float) -> bool:
    if found.frozen is None or found.score.i <= 0.0:
        return False
    # Looked at all the time, so only evidence that holds at every look may speak; that a tenth of a
    # handful of answers is missing is chance.
    v, v0 = found.harm_v[0], found.frozen.v0_harm
    either = [log_e_three(sign * found.score.s, v, v0) for sign in (1.0, -1.0)]
    return average_log_e(either, [0.5, 0.5]) >= -log(alpha)


def _rates(found: MetricEvidence) -> str:
    state = found.score
    control = 1.0 - state.sum_control / state.n_control if state.n_control else 0.0
    canary = 1.0 - state.sum_canary / state.n_canary if state.n_canary else 0.0
    return f"control {control:.1%}, canary {canary:.1%}"


def _freshness(stage: Stage, evidence: Evidence) -> list[Problem]:
    if evidence.stage_age_s < 0:
        text = "the clock went backwards: the stage begins in the future"
        return [Problem(code="clock", text=text, needs_person=False)]
    if not 0.0 < stage.share < 1.0:
        return []  # without a holdback nothing is compared
    found = []
    limit = stale_after_s(stage)
    pairs = zip(("control", "canary"), evidence.health.last_age_s, strict=True)
    for index, (arm, age) in enumerate(pairs):
        if arm == "control" and not stage.is_measured:
            continue  # a holdback of few units may be silent for long
        if age is None or not evidence.health.stage_responses[index]:
            text = f"no response of the {arm} in this stage yet"
            found.append(Problem(code=f"no_data:{arm}", text=text, needs_person=False))
        elif age > limit:
            text = f"no response of the {arm} for {duration_text(age)}"
            found.append(Problem(code=f"stale:{arm}", text=text, needs_person=False))
    if evidence.health.backlog_s > _MAX_BACKLOG_S:
        behind = duration_text(evidence.health.backlog_s)
        text = f"scoring is {behind} behind"
        found.append(Problem(code="backlog", text=text, needs_person=False))
    return found
