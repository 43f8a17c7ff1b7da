"""One metric of a rollout as a row: both values, how much worse the canary is, margin and gate.

"Worse by" has one orientation everywhere, as in the engine and in its reasons: larger is worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

from llm_canary.decision.compare import Comparison
from llm_canary.decision.gates import GateResult, GateStatus
from llm_canary.pages.plot import IntervalPlot, interval_plot
from llm_canary.pages.quantity import (
    Unit,
    count_text,
    difference_text,
    interval_text,
    places_for,
    unit_of,
    value_text,
)
from llm_canary.pages.states import Word

_GATES = {
    GateStatus.PASS: ("Passed", "good"),
    GateStatus.FAIL: ("Failed", "bad"),
    GateStatus.INCONCLUSIVE: ("Not proven yet", "calm"),
    GateStatus.NO_DATA: ("No data", "quiet"),
    GateStatus.NOT_APPLICABLE: ("Not asked for", "quiet"),
}
_STRICTER = "by the interval, not yet by the stricter test of the gate"
_SAYS_WHY = (GateStatus.NO_DATA, GateStatus.NOT_APPLICABLE)


@dataclass(frozen=True)
class MetricRow:
    """What the table shows of one metric."""

    name: str
    anchor: str
    kind: str
    control: str
    canary: str
    control_n: str
    canary_n: str
    difference: str
    interval: str
    mark: Word  # what the interval shows; its text is empty without one
    margin: str
    gate: str
    tone: str
    note: str
    is_rough: bool  # too few canary units for the interval to be worth much
    plot: IntervalPlot | None
    undrawn: str  # why there is no picture, where there is none


def metric_row(
    shown: Comparison, gate: GateResult | None, *, alpha_rollback: float | None = None
) -> MetricRow:
    """Return the row of one comparison; without a gate it is only shown."""
    unit, scored = unit_of(shown.unit), unit_of(shown.scored_unit)
    places = places_for(shown.margin, scored)
    difference = difference_text(shown.difference, scored, places)
    interval = interval_text(shown.low, shown.high, scored, places)
    margin = value_text(shown.margin, scored._replace(value=scored.difference), places)
    word, tone, note = _gate(gate)
    name = shown.metric.replace("_", " ")
    return MetricRow(
        name=name,
        anchor=f"metric-{shown.metric}",
        kind=_kind(shown, unit),
        control=value_text(shown.control, unit),
        canary=value_text(shown.canary, unit),
        control_n=f"n {count_text(shown.n_control)}",
        canary_n=f"n {count_text(shown.n_canary)}",
        difference=difference,
        interval=interval,
        mark=significance(shown, alpha_rollback),
        margin=margin,
        gate=word,
        tone=tone,
        note=note,
        is_rough=shown.is_rough,
        plot=interval_plot(
            shown.difference,
            shown.low,
            shown.high,
            shown.margin,
            f"{name}: canary worse by {difference}, interval {interval}, margin {margin}; "
            f"{word.lower()}",
        ),
        undrawn="no interval yet" if shown.low is None and shown.high is None else "no margin",
    )


def significance(shown: Comparison, alpha_rollback: float | None) -> Word:
    """Return what the always-valid interval shows.

    "Watch" is harm proven for this metric by itself; what rolls back is the alarm over all of them.
    """
    is_proven = (
        alpha_rollback is not None
        and shown.log_e_harm is not None
        and shown.log_e_harm >= -log(alpha_rollback)
    )
    if is_proven:
        return Word("watch: worse", "bad")
    if shown.low is not None and shown.low > 0.0:
        return Word("worse", "warn")
    if shown.high is not None and shown.high < 0.0:
        return Word("better", "good")
    if _is_within(shown):
        return Word("not worse", "good")
    if shown.low is None and shown.high is None:
        return Word("", "quiet")
    return Word("open", "quiet")


def _gate(gate: GateResult | None) -> tuple[str, str, str]:
    """Return the word, the tone and a short note."""
    if gate is None:
        return "Shown only", "quiet", ""
    if gate.needs_person:
        return "For a person", "warn", "really worse, yet within the margin"
    if gate.is_small_harm and gate.status is GateStatus.PASS:
        return "Passed", "warn", "slightly worse, as tolerated"
    word, tone = _GATES[gate.status]
    if gate.status is GateStatus.INCONCLUSIVE:
        return word, tone, gate.lacks or (_STRICTER if _is_within(gate.comparison) else "")
    if gate.status in _SAYS_WHY:
        return word, tone, gate.reason.removeprefix(f"{gate.metric}: ")
    return word, tone, gate.shown or ""


def _is_within(shown: Comparison) -> bool:
    """Say whether the whole interval lies within the margin."""
    return shown.high is not None and shown.margin is not None and shown.high < shown.margin


def _kind(shown: Comparison, unit: Unit) -> str:
    parts = [shown.kind.value]
    if shown.larger_is_better:
        parts.append("higher is better")
    if shown.threshold is not None:
        parts.append(f"share above {value_text(shown.threshold, unit)}")
    return ", ".join(parts)
