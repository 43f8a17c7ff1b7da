"""When a stage may be decided, in words that promise nothing."""

from __future__ import annotations

from dataclasses import dataclass

from llm_canary.decision.outlook import Outlook
from llm_canary.pages.quantity import duration_text

_COARSE_S = ((86_400.0, 3_600.0), (3_600.0, 60.0))  # from so long on, to whole such steps


@dataclass(frozen=True)
class Expectation:
    """A short answer and what it rests on."""

    text: str
    note: str


def expectation(outlook: Outlook | None, stage_started_s: float, now_s: float) -> Expectation:
    """Return how long until the stage can be decided."""
    if outlook is None:
        return Expectation("unknown", "")
    age_s = now_s - stage_started_s
    latest = _in(outlook.latest_s - age_s)
    if outlook.expected_s is not None and outlook.binding is None:
        left_s = outlook.expected_s - age_s
        return Expectation(_in(left_s) if left_s > 0 else "now", "")
    slow = (outlook.binding or "").replace("_", " ")
    if outlook.expected_s is not None:
        note = f"at this pace and difference, by {slow}; a person is asked {latest}"
        return Expectation(_in(outlook.expected_s - age_s).replace("in ", "in about ", 1), note)
    if not outlook.is_known:
        return Expectation("unknown", f"too little of {slow} to tell; a person is asked {latest}")
    if outlook.latest_s <= age_s:
        return Expectation("a person decides", f"{slow} is not proven in the stage's time")
    note = f"at this pace and difference {slow} is not proven before; then a person is asked"
    return Expectation(f"not before {latest.removeprefix('in ')}", note)


def _in(seconds: float) -> str:
    if seconds <= 0:
        return "now"
    for least, step in _COARSE_S:
        if seconds >= least:
            seconds = round(seconds / step) * step
            break
    return f"in {duration_text(seconds)}"
