"""A stand-in for the reader of rollouts, over views that a test may change."""

from __future__ import annotations

from typing import Any

from llm_canary.decision.outlook import Outlook
from llm_canary.errors import NotFound
from llm_canary.rollout.detail import RolloutDetail, RolloutSlices
from llm_canary.rollout.reading import Overview
from llm_canary.rollout.summaries import RolloutSummary
from llm_canary.rollout.views import RolloutView
from llm_canary.storage.repositories.rollout_reads import Attempt, Ended

_OVER = ("rolled_back", "finished", "aborted")
HOUR_S = 3_600.0


def summary(view: RolloutView, **changes: Any) -> RolloutSummary:
    """Return the view as the list shows it."""
    names = [each.name for each in view.stages]
    facts: dict[str, Any] = {
        "id": view.id,
        "name": view.name,
        "route": view.route,
        "plan": view.plan,
        "state": view.state,
        "control": view.control.model,
        "canary": view.canary.model,
        "attempt": view.attempt,
        "stage": view.stage,
        "stage_number": names.index(view.stage) + 1 if view.stage in names else 0,
        "stage_count": len(names),
        "share": view.share,
        "started_s": view.started_s,
        "stage_started_s": view.stage_started_s,
        "hold_by": view.hold_by,
        "hold_reason": view.hold_reason,
        "units": view.units,
        "verdict": view.verdict,
        "reasons": view.reasons or (view.decision.reasons if view.decision else ()),
        "gates": (sum(each.status == "pass" for each in view.gates), len(view.gates)),
        "worst": next((each for each in view.gates if each.status != "pass"), None),
        "outlook": Outlook(earliest_s=24 * HOUR_S, latest_s=72 * HOUR_S, expected_s=48 * HOUR_S)
        if view.state == "running"
        else None,
    }
    return RolloutSummary(**(facts | changes))


def ended(view: RolloutView) -> Ended:
    reasons = view.decision.reasons if view.decision else ()
    return Ended(
        view.id, view.name, view.attempt, view.route, view.state, view.started_s,
        view.ended_s or 0.0, reasons,
    )  # fmt: skip


def overview_of(*views: RolloutView, limit: int = 20, offset: int = 0) -> Overview:
    """Return the views as the reader returns rollouts."""
    over = sorted(
        (ended(each) for each in views if each.state in _OVER), key=lambda each: -each.ended_s
    )
    return Overview(
        tuple(summary(each) for each in views if each.state not in _OVER),
        tuple(over[offset : offset + limit]),
        len(over),
    )


def detail_of(view: RolloutView, **changes: Any) -> RolloutDetail:
    """Return the view as its page gets it."""
    facts: dict[str, Any] = {
        "view": view,
        "seq": 0 if view.started_s is None else 3,
        "attempts": (Attempt(view.attempt, view.state),),
    }
    return RolloutDetail(**(facts | changes))


class ViewReader:
    """Reads from a list of views; `details` and `slices` are by name."""

    def __init__(self, views: list[RolloutView]) -> None:
        self.views = views
        self.details: dict[str, RolloutDetail] = {}
        self.segments: dict[str, RolloutSlices] = {}

    def overview(self, *, limit: int, offset: int = 0) -> Overview:
        return overview_of(*self.views, limit=limit, offset=offset)

    def detail(self, name: str, attempt: int | None = None) -> RolloutDetail:
        found = [each for each in self.views if each.name == name]
        if not found or attempt not in {None, found[0].attempt}:
            raise NotFound(f"there is no rollout {name!r}")
        return self.details.get(name) or detail_of(found[0])

    def slices(self, name: str, _attempt: int | None, **_which: object) -> RolloutSlices:
        return self.segments.get(name, RolloutSlices())
