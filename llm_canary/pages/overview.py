"""All rollouts at a glance: from the service's views to the words on the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.clock import utc
from llm_canary.errors import NotReady, StorageError
from llm_canary.pages.banners import Banner, banners
from llm_canary.pages.metric_row import MetricRow, metric_row
from llm_canary.pages.quantity import (
    ago_text,
    count_text,
    duration_text,
    moment_text,
    share_text,
)
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.rollout.views import DecisionView, RolloutView, StageView
from llm_canary.routing.table import Variant

_STATES = {
    "aborted": ("Dropped", "quiet"),
    "draft": ("Not started", "quiet"),
    "running": ("Running", "calm"),
    "held": ("Held", "warn"),
    "promoted": ("Promoted", "good"),
    "standby": ("Standby", "good"),
    "finished": ("Finished", "good"),
    "rolled_back": ("Rolled back", "bad"),
}
_ORDER = ("held", "running", "standby", "promoted", "draft", "rolled_back", "finished", "aborted")
_ROBOT = "robot"
_STANDARD_MIN_UNITS = 200
_ENDED = ("rolled_back", "finished", "aborted")
_VERDICTS = {
    "promote": ("Promote", "good"),
    "wait": ("Wait", "calm"),
    "hold": ("Hold", "warn"),
    "rollback": ("Roll back", "bad"),
}


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
    command: str
    now: str  # the verdict at this moment, where it is another one
    now_tone: str
    reasons_now: tuple[str, ...]
    caveat: str


@dataclass(frozen=True)
class Card:
    """One rollout."""

    name: str
    anchor: str
    route: str
    plan: str
    state: str
    tone: str
    notice: str
    command: str
    control: Side
    canary: Side
    stages: tuple[StageStep, ...]
    facts: tuple[Fact, ...]
    metrics: tuple[MetricRow, ...]
    decision: LastDecision | None
    ended_line: str


@dataclass(frozen=True)
class Overview:
    """The whole page."""

    banners: tuple[Banner, ...]
    is_empty: bool  # there is no rollout at all
    active: tuple[Card, ...]
    ended: tuple[Card, ...]
    summary: str
    announce: str

    @property
    def has_pictures(self) -> bool:
        """Whether there is any picture to explain."""
        cards = (*self.active, *self.ended)
        return any(row.plot for shown in cards for row in shown.metrics)


def add_overview(site: Site) -> None:
    """Add `/` and its live fragment."""
    services, fragment_url = site.services, "/partials/rollouts"

    def read() -> Overview:
        services.ready()
        now_s = services.clock.now_s()
        return overview(services.rollouts.list(), banners(services.status(), now_s), now_s)

    def page(visit: Visit) -> Response:
        status = 200
        try:
            shown = read()
        except (StorageError, NotReady) as error:
            trouble = Banner("The database cannot be read", error.message, "bad")
            shown, status = overview(None, (trouble,), 0.0), 503
        fragment = site.renderer.live_markup(
            "partials/rollouts.html", visit, url=fragment_url, overview=shown,
            announce=shown.announce,
        )  # fmt: skip
        return site.html(visit, "overview.html", status, fragment=fragment)

    def fragment(visit: Visit) -> Response:
        shown = read()
        return site.live(
            visit, "partials/rollouts.html", url=fragment_url, overview=shown,
            announce=shown.announce,
        )  # fmt: skip

    site.page("/", Permission.READ, page)
    site.page(fragment_url, Permission.READ, fragment)


def overview(
    views: Sequence[RolloutView] | None, banners: tuple[Banner, ...], now_s: float
) -> Overview:
    """Return the page: what needs a person first, then what runs, then what ended, newest first.

    `views` is None when they cannot be read, which is not the same as none.
    """
    ranked = sorted(
        views or (), key=lambda view: (_ORDER.index(view.state), -_since_s(view), view.name)
    )
    cards = {view.id: card(view, now_s) for view in ranked}
    counts = Counter(_STATES[view.state][0].lower() for view in ranked)
    said = [f"{view.name} {_STATES[view.state][0].lower()}, {view.stage}" for view in ranked]
    return Overview(
        banners=banners,
        is_empty=views is not None and not ranked,
        active=tuple(cards[view.id] for view in ranked if view.state not in _ENDED),
        ended=tuple(cards[view.id] for view in ranked if view.state in _ENDED),
        summary=", ".join(f"{count} {word}" for word, count in counts.items()),
        announce="; ".join([*(banner.title for banner in banners), *said]),
    )


def card(view: RolloutView, now_s: float) -> Card:
    """Return one rollout in words."""
    state, tone = _STATES[view.state]
    notice, command = _notice(view)
    gates = {gate.metric: gate for gate in view.gates}
    return Card(
        name=view.name,
        anchor=view.id,
        route=view.route,
        plan=_plan(view),
        state=state,
        tone=tone,
        notice=notice,
        command=command,
        control=_side(view.control),
        canary=_side(view.canary),
        stages=tuple(_step(stage, view, now_s) for stage in view.stages),
        facts=_facts(view, now_s),
        metrics=tuple(metric_row(each, gates.get(each.metric)) for each in view.comparisons),
        decision=None if view.decision is None else _decision(view, view.decision, now_s),
        ended_line=_ended_line(view),
    )


def _since_s(view: RolloutView) -> float:
    return view.ended_s or view.started_s or 0.0


def _plan(view: RolloutView) -> str:
    return view.plan if view.attempt == 1 else f"{view.plan}, attempt {view.attempt}"


def _side(variant: Variant) -> Side:
    details = [f"via {variant.upstream}", f"prompt {variant.prompt}" if variant.prompt else ""]
    details += [f"{name} {value}" for name, value in variant.params.items() if _is_short(value)]
    return Side(variant.model, tuple(detail for detail in details if detail))


def _is_short(value: object) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) <= 24


def _notice(view: RolloutView) -> tuple[str, str]:
    """Return what a person should know or do, and the command for it."""
    name = view.name
    if view.state == "draft":
        return "Every request still goes to the control.", f"llm-canary rollout start {name}"
    if view.state == "held":
        by = "the controller" if view.hold_by == _ROBOT else view.hold_by or "somebody"
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
    if view.state in _ENDED:
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


def _facts(view: RolloutView, now_s: float) -> tuple[Fact, ...]:
    if view.started_s is None:
        return ()
    is_over = view.ended_s is not None
    facts = [Fact("Share of units", share_text(view.share))]
    if view.stage_started_s is not None and not is_over:
        in_stage = duration_text(now_s - view.stage_started_s)
        facts.append(Fact(f"In stage {view.stage}", in_stage, _stage_limits(view)))
    end_s = now_s if view.ended_s is None else view.ended_s
    unscored = tuple(sum(pair[arm] for pair in view.unscored.values()) for arm in (0, 1))
    left_out = f", not scored {_pair(unscored)}" if any(unscored) else ""
    facts += [
        Fact("Ran for" if is_over else "Running for", duration_text(end_s - view.started_s)),
        Fact("Units", _pair(view.units), "users, control / canary"),
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


def _pair(pair: tuple[int, ...]) -> str:
    return " / ".join(count_text(number) for number in pair)


def _decision(view: RolloutView, decision: DecisionView, now_s: float) -> LastDecision:
    verdict, tone = _verdict(decision.verdict)
    at = utc(decision.at_s)
    is_same = view.verdict in (None, decision.verdict)
    now, now_tone = ("", "") if is_same else _verdict(view.verdict or "")
    return LastDecision(
        verdict=verdict,
        tone=tone,
        at=moment_text(at),
        at_iso=at.isoformat(timespec="seconds"),
        ago=ago_text(now_s - decision.at_s),
        # While the verdict still holds, its reasons with the numbers of this moment.
        reasons=(view.reasons if is_same else ()) or decision.reasons,
        command=f"llm-canary decision show {decision.id}",
        now=now,
        now_tone=now_tone,
        reasons_now=() if is_same else view.reasons,
        caveat=_caveat(view),
    )


def _verdict(verdict: str) -> tuple[str, str]:
    return _VERDICTS.get(verdict, (verdict, "quiet"))


def _caveat(view: RolloutView) -> str:
    if view.min_units is None or view.min_units >= _STANDARD_MIN_UNITS:
        return ""
    return (
        f"Lowered floor: this stage decides from {view.min_units} effective canary units on; "
        f"the standard is {_STANDARD_MIN_UNITS}."
    )


def _ended_line(view: RolloutView) -> str:
    if view.ended_s is None:
        return ""
    why = view.decision.reasons[0] if view.decision and view.decision.reasons else ""
    return f"{moment_text(utc(view.ended_s))}. {why}".strip()
