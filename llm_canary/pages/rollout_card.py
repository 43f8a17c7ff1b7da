"""A rollout in words: both variants, the timeline of its stages, its facts and last decision."""

from __future__ import annotations

from dataclasses import dataclass

from llm_canary.clock import utc
from llm_canary.pages.outlook_text import expectation
from llm_canary.pages.quantity import (
    ago_text,
    count_text,
    duration_text,
    moment_text,
    share_text,
)
from llm_canary.pages.states import ENDED, ROBOT, Word, rollout_path, state_word, verdict_word
from llm_canary.pages.visible import printable
from llm_canary.rollout.detail import RolloutDetail
from llm_canary.rollout.views import DecisionView, RolloutView, StageView
from llm_canary.routing.table import Variant

_STANDARD_MIN_UNITS = 200


@dataclass(frozen=True)
class Side:
    """One variant in words."""

    model: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class StageStep:
    """One step of the timeline; `filled` is percent of its bar."""

    name: str
    share: str
    place: str  # done | now | ahead | stopped
    note: str
    filled: float


@dataclass(frozen=True)
class Fact:
    """A number with its name."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class LastDecision:
    """What was decided last, and why."""

    verdict: str
    tone: str
    at: str
    at_iso: str
    ago: str
    reasons: tuple[str, ...]
    path: str
    now: str  # the verdict at this moment, where it is another one
    now_tone: str
    reasons_now: tuple[str, ...]
    caveat: str


@dataclass(frozen=True)
class Card:
    """One rollout."""

    route: str
    plan: str
    state: Word
    notice: str
    command: str
    control: Side
    canary: Side
    stages: tuple[StageStep, ...]
    facts: tuple[Fact, ...]
    decision: LastDecision | None
    announce: str


def card(found: RolloutDetail, now_s: float) -> Card:
    """Return the rollout in words."""
    view = found.view
    state = state_word(view.state)
    notice, command = _notice(found)
    stage = f", {view.stage}" if view.stage else ""
    return Card(
        route=view.route,
        plan=view.plan,
        state=state,
        notice=printable(notice),
        command=command,
        control=_side(view.control),
        canary=_side(view.canary),
        stages=tuple(_step(stage, view, now_s) for stage in view.stages),
        facts=_facts(found, now_s),
        decision=None if view.decision is None else _decision(view, view.decision, now_s),
        announce=f"{view.name} {state.text.lower()}{stage}",
    )


def _side(variant: Variant) -> Side:
    details = [f"via {variant.upstream}", f"prompt {variant.prompt}" if variant.prompt else ""]
    details += [f"{name} {value}" for name, value in variant.params.items() if _is_short(value)]
    return Side(variant.model, tuple(detail for detail in details if detail))


def _is_short(value: object) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) <= 24


def _notice(found: RolloutDetail) -> tuple[str, str]:
    """Return what a person should know or do, and the command for it."""
    view, name = found.view, found.view.name
    if not found.is_latest:
        return "An earlier attempt: it has been tried again since.", ""
    if view.ended_s is not None:
        return f"Over since {moment_text(utc(view.ended_s))}. {_why_over(found)}".strip(), ""
    if view.state == "draft":
        return "Every request still goes to the control.", f"llm-canary rollout start {name}"
    if view.state == "held":
        by = "the controller" if view.hold_by == ROBOT else view.hold_by or "somebody"
        return (
            f"Held by {by}: {view.hold_reason}. The share stays until a person decides.",
            f"llm-canary rollout resume|promote|rollback {name}",
        )
    if view.state == "standby":
        return (
            "The canary serves; the old control stays warm, and the way back is one command.",
            f"llm-canary rollout rollback {name}",
        )
    return "", ""


def _why_over(found: RolloutDetail) -> str:
    last, decision = next(iter(found.transitions), None), found.view.decision
    if last is not None and last.decision_id is None:
        return last.reason  # a person ended it, and said why
    return decision.reasons[0] if decision and decision.reasons else ""


def _step(stage: StageView, view: RolloutView, now_s: float) -> StageStep:
    share = share_text(stage.share)
    if stage.status == "ahead":
        return StageStep(stage.name, share, "ahead", _expected(stage), 0.0)
    lasted_s = _lasted_s(stage, now_s)
    lasted = "" if lasted_s is None else duration_text(lasted_s)
    if stage.status == "done":
        return StageStep(stage.name, share, "done", f"done, {lasted}" if lasted else "done", 100.0)
    longest_s = stage.max_s or stage.for_s
    filled = round(min(100.0, 100.0 * (lasted_s or 0.0) / longest_s), 1) if longest_s else 100.0
    if view.state in ENDED:
        return StageStep(stage.name, share, "stopped", f"stopped after {lasted}", filled)
    return StageStep(stage.name, share, "now", f"now, {lasted}", filled)


def _lasted_s(stage: StageView, now_s: float) -> float | None:
    if stage.started_s is None:
        return None
    return max(0.0, (now_s if stage.ended_s is None else stage.ended_s) - stage.started_s)


def _expected(stage: StageView) -> str:
    if stage.for_s:
        return f"for {duration_text(stage.for_s)}"
    if stage.min_s and stage.max_s:
        return f"{duration_text(stage.min_s)} to {duration_text(stage.max_s)}"
    return "ahead"


def _facts(found: RolloutDetail, now_s: float) -> tuple[Fact, ...]:
    view = found.view
    if view.started_s is None:
        return ()
    is_over = view.ended_s is not None
    facts = [Fact("Share of units", share_text(view.share))]
    if view.stage_started_s is not None and not is_over:
        in_stage = duration_text(now_s - view.stage_started_s)
        facts.append(Fact(f"In stage {view.stage}", in_stage, _stage_limits(view)))
        if view.state != "held":
            ahead = expectation(found.outlook, view.stage_started_s, now_s)
            facts.append(Fact("Decision expected", ahead.text, ahead.note))
    end_s = now_s if view.ended_s is None else view.ended_s
    unscored = tuple(sum(pair[arm] for pair in view.unscored.values()) for arm in (0, 1))
    left_out = f", not scored {_pair(unscored)}" if any(unscored) else ""
    facts += [
        Fact("Ran for" if is_over else "Running for", duration_text(end_s - view.started_s)),
        Fact("Units", _pair(view.units), f"users, control / canary{_floor(view)}"),
        Fact("Responses", _pair(view.responses), f"control / canary{left_out}"),
    ]
    return tuple(facts)


def _stage_limits(view: RolloutView) -> str:
    stage = next((stage for stage in view.stages if stage.name == view.stage), None)
    if stage is None:
        return ""
    if stage.for_s:
        return f"of {duration_text(stage.for_s)}"
    if not stage.max_s:
        return ""
    return f"at least {duration_text(stage.min_s)}, at most {duration_text(stage.max_s)}"


def _floor(view: RolloutView) -> str:
    return "" if view.min_units is None else f"; at least {view.min_units:,} effective"


def _pair(pair: tuple[int, ...]) -> str:
    return " / ".join(count_text(number) for number in pair)


def _decision(view: RolloutView, decision: DecisionView, now_s: float) -> LastDecision:
    verdict, tone = verdict_word(decision.verdict)
    at = utc(decision.at_s)
    is_same = view.verdict in (None, decision.verdict)
    now, now_tone = ("", "") if is_same else verdict_word(view.verdict or "")
    return LastDecision(
        verdict=verdict,
        tone=tone,
        at=moment_text(at),
        at_iso=at.isoformat(timespec="seconds"),
        ago=ago_text(now_s - decision.at_s),
        # While the verdict still holds, its reasons with the numbers of this moment.
        reasons=_lines((view.reasons if is_same else ()) or decision.reasons),
        path=rollout_path(view.name, "decisions", decision.id),
        now=now,
        now_tone=now_tone,
        reasons_now=() if is_same else _lines(view.reasons),
        caveat=_caveat(view),
    )


def _lines(reasons: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(printable(each) for each in reasons)


def _caveat(view: RolloutView) -> str:
    if view.min_units is None or view.min_units >= _STANDARD_MIN_UNITS:
        return ""
    return (
        f"Lowered floor: this stage decides from {view.min_units} effective canary units on; "
        f"the standard is {_STANDARD_MIN_UNITS}."
    )
