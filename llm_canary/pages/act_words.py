"""What a person may do with a rollout, and what will happen when they do; no act without it."""

from __future__ import annotations

from dataclasses import dataclass

from llm_canary.errors import Conflict, NotFound
from llm_canary.pages.quantity import count_text, share_text
from llm_canary.pages.states import ENDED, ROBOT
from llm_canary.pages.visible import printable
from llm_canary.rollout.detail import RolloutDetail
from llm_canary.rollout.views import RolloutView, StageView

CREATE, START, HOLD = "create", "start", "hold"
RESUME, PROMOTE, ROLLBACK = "resume", "promote", "rollback"
_RUNNING = ("running", "promoted", "standby")


@dataclass(frozen=True)
class Choice:
    """One thing that may be done now."""

    action: str
    label: str
    is_dangerous: bool = False


@dataclass(frozen=True)
class Confirmation:
    """What will happen, to be read before it is done."""

    action: str
    title: str
    says: tuple[str, ...]
    button: str
    is_dangerous: bool


def choices(found: RolloutDetail) -> tuple[Choice, ...]:
    """Return what may be done with the rollout as it stands; nothing with an earlier attempt."""
    view = found.view
    if not found.is_latest:
        return ()
    if view.state == "draft":
        drop = (Choice(ROLLBACK, "Drop the draft", is_dangerous=True),) if found.seq else ()
        create = () if found.seq else (Choice(CREATE, "Create a draft"),)
        return (Choice(START, "Start"), *create, *drop)
    if view.state in ENDED:
        return (Choice(START, "Start a new attempt"), Choice(CREATE, "Create a draft"))
    promote = Choice(PROMOTE, "Promote" if _next(view) is not None else "Finish")
    roll_back = Choice(ROLLBACK, "Roll back", is_dangerous=True)
    if view.state in _RUNNING:
        return (Choice(HOLD, "Hold"), promote, roll_back)
    own_hold = (Choice(HOLD, "Hold it yourself"),) if view.hold_by == ROBOT else ()
    return (Choice(RESUME, "Resume"), *own_hold, promote, roll_back)


def confirmation(found: RolloutDetail, action: str) -> Confirmation:
    """Return what the action will do; raise when there is none or it cannot be done now."""
    if action not in _SAYS:
        raise unknown_act(action)
    view = found.view
    choice = next((each for each in choices(found) if each.action == action), None)
    if choice is None:
        able = ", ".join(each.label for each in choices(found)) or "nothing"
        raise Conflict(
            f"rollout {view.name!r} is {view.state}: {action} cannot be done now, {able} can",
            code="rollout_conflict",
        )
    return Confirmation(
        action=action,
        title=f"{choice.label}: {view.name}",
        says=_SAYS[action](view),
        button=choice.label,
        is_dangerous=choice.is_dangerous,
    )


def unknown_act(action: str) -> NotFound:
    """Return the error for what nobody can do."""
    return NotFound(f"nothing called {action[:40]!r} can be done; {', '.join(_SAYS)} can")


def _create(view: RolloutView) -> tuple[str, ...]:
    return (
        "A draft is made, with variants, stages and gates as the configuration file has them now.",
        f"Nothing is served by it: every request to {view.route} still goes to the control.",
    )


def _start(view: RolloutView) -> tuple[str, ...]:
    first = view.stages[0]
    share = f"{share_text(0.0)} to {share_text(first.share)} (stage {first.name})"
    says = [
        f"The canary's share of the units of {view.route} goes from {share}.",
        "Variants, stages and gates are those of the configuration file now, fixed until the end.",
    ]
    if view.state in ENDED:
        says.append("A new attempt draws its users anew; for the same canary the bar is higher.")
    return tuple(says)


def _hold(view: RolloutView) -> tuple[str, ...]:
    return (
        f"The share stays at {share_text(view.share)}; nobody is moved.",
        "No robot promotes it or rolls it back until a person resumes it.",
    )


def _resume(view: RolloutView) -> tuple[str, ...]:
    says = [f"The share stays at {share_text(view.share)}; the controller decides again."]
    if view.hold_reason:
        says.append(f"What it was held for is accepted: {printable(view.hold_reason)}")
    if view.hold_by == ROBOT:
        says.append("A stage held because its time was over gets more of it.")
    return tuple(says)


def _promote(view: RolloutView) -> tuple[str, ...]:
    ahead, seen = _next(view), sum(view.units)
    if ahead is None:
        return (
            f"The rollout is finished: the canary becomes the control of {view.route}, for all.",
            "The former control is no longer kept warm.",
            "This is one way: going back takes a rollout of its own.",
        )
    moved = max(ahead.share - view.share, 0.0)
    users = f": about {count_text(moved * seen)} of the {count_text(seen)} seen so far"
    share = f"{share_text(view.share)} to {share_text(ahead.share)} (stage {ahead.name})"
    return (
        f"The canary's share goes from {share}, whatever the gates say.",
        f"{share_text(moved)} of the users meet the canary anew{users if seen else ''}.",
        "This is one way: no stage is entered twice; the only way back is to roll back.",
    )


def _roll_back(view: RolloutView) -> tuple[str, ...]:
    if view.state == "draft":
        return ("The draft is dropped. Nothing was served by it.",)
    share = f"{share_text(view.share)} to {share_text(0.0)}"
    return (
        f"The canary's share goes from {share} at once, on every gateway.",
        f"The {count_text(view.units[1])} users seen in the canary get the control again.",
        "This is one way: the rollout is over. A new attempt draws its users anew.",
    )


def _next(view: RolloutView) -> StageView | None:
    """Return the stage after the present one, None after the last."""
    names = [each.name for each in view.stages]
    position = names.index(view.stage) + 1 if view.stage in names else 0
    return view.stages[position] if position < len(view.stages) else None


_SAYS = {
    CREATE: _create,
    START: _start,
    HOLD: _hold,
    RESUME: _resume,
    PROMOTE: _promote,
    ROLLBACK: _roll_back,
}
