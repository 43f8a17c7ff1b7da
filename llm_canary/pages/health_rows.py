"""Whether the comparison may be trusted: the split, who answers, what was lost or left out."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

from llm_canary.decision.evidence import HealthFacts
from llm_canary.decision.health import SRM_LOG_E
from llm_canary.pages.quantity import count_text, duration_text
from llm_canary.pages.states import Word
from llm_canary.pages.visible import printable
from llm_canary.rollout.detail import RolloutDetail
from llm_canary.stats.srm import log_e_srm

_FINE, _DOUBT, _WAITS = Word("Fine", "good"), Word("In doubt", "bad"), Word("Waits", "warn")
_MOST_E = 1_000_000.0
_UNSCORED = {
    "over_cap": "above a unit's daily limit",
    "superseded": "replaced by a retry",
    "late": "too late",
}


@dataclass(frozen=True)
class HealthRow:
    """One thing that was looked at."""

    name: str
    word: Word
    text: str


@dataclass(frozen=True)
class Trouble:
    """One problem, as a decision names it."""

    word: Word
    text: str


def troubles(found: RolloutDetail) -> tuple[Trouble, ...]:
    """Return the problems that stand in the way now, those for a person first."""
    return tuple(
        Trouble(Word("For a person", "bad") if each.needs_person else _WAITS, printable(each.text))
        for each in found.problems
    )


def health_rows(found: RolloutDetail) -> tuple[HealthRow, ...]:
    """Return what was looked at; none before the rollout has started."""
    facts = found.health
    if facts is None:
        return ()
    codes = {each.code for each in found.problems}
    return (
        _split(facts, codes),
        HealthRow(
            "Units in both arms",
            _DOUBT if "both_arms" in codes else _FINE,
            count_text(facts.in_both_arms),
        ),
        _selection(codes),
        HealthRow(
            "Models as reported",
            _DOUBT if facts.new_models else _FINE,
            printable(", ".join(facts.new_models)) or "no other model than at the start",
        ),
        *_loss(facts, codes),
        *_freshness(found, facts, codes),
        _left_out(found),
    )


def _split(facts: HealthFacts, codes: set[str]) -> HealthRow:
    canary = [each.canary for each in facts.new_units]
    total = [each.total for each in facts.new_units]
    shares = [each.share for each in facts.new_units]
    if not sum(total):
        return HealthRow("Split of units", _WAITS, "no unit yet")
    expected = sum(share * n for share, n in zip(shares, total, strict=True))
    e = e_text(log_e_srm(canary, total, shares))
    text = (
        f"{count_text(sum(canary))} of {count_text(sum(total))} units in the canary, "
        f"{count_text(expected)} expected; E {e} of {e_text(SRM_LOG_E)}"
    )
    return HealthRow("Split of units", _DOUBT if "srm" in codes else _FINE, text)


def e_text(log_e: float) -> str:
    """Write an e-value; beyond a million its size tells nothing more."""
    if log_e > log(_MOST_E):
        return f"over {_MOST_E:,.0f}"
    e = exp(log_e)
    return f"{e:,.0f}" if e >= 10.0 else f"{e:.2g}"


def _selection(codes: set[str]) -> HealthRow:
    names = sorted(each.partition(":")[2] for each in codes if each.startswith("selection:"))
    if not names:
        return HealthRow("Who answers", _FINE, "equally often in both arms, as far as is seen")
    text = f"{', '.join(names)}: observed at different rates in the two arms"
    return HealthRow("Who answers", _DOUBT, text)


def _loss(facts: HealthFacts, codes: set[str]) -> list[HealthRow]:
    if not facts.telemetry_accepted:
        return []  # known to the controller only, and as of its last decision
    lost = f"{count_text(facts.telemetry_dropped)} of {count_text(facts.telemetry_accepted)} events"
    word = _DOUBT if "telemetry_loss" in codes else _FINE
    return [HealthRow("Telemetry lost", word, lost)]


def _freshness(found: RolloutDetail, facts: HealthFacts, codes: set[str]) -> tuple[HealthRow, ...]:
    if found.view.ended_s is not None:
        return ()
    ages = [
        f"{arm} {'never' if age is None else f'{duration_text(age)} ago'}"
        for arm, age in zip(("control", "canary"), facts.last_age_s, strict=True)
    ]
    is_silent = any(each.startswith(("stale:", "no_data:", "idle_")) for each in codes)
    behind = duration_text(facts.backlog_s) if facts.backlog_s else "nothing waits"
    return (
        HealthRow("Last response", _WAITS if is_silent else _FINE, ", ".join(ages)),
        HealthRow("Scoring behind", _WAITS if "backlog" in codes else _FINE, behind),
    )


def _left_out(found: RolloutDetail) -> HealthRow:
    view = found.view
    parts = [
        f"{count_text(pair[0])} / {count_text(pair[1])} {_UNSCORED.get(name, name)}"
        for name, pair in view.unscored.items()
        if any(pair)
    ]
    if view.unusable:
        parts.append(f"{count_text(view.unusable)} without unit or arm")
    text = "; ".join(parts) or "every eligible response is counted"
    return HealthRow("Not scored", Word("Known", "quiet") if parts else _FINE, text)
