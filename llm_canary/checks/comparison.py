"""Candidate against limits and baseline: the whole, each criterion and each segment. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from llm_canary.checks.outcome import Outcome
from llm_canary.stats.corrected import Interval, proportion_interval
from llm_canary.stats.paired import (
    Difference,
    design_effect,
    drop_interval,
    drop_p,
    holm,
)

Pairs = Sequence[tuple[Outcome, Outcome]]  # before, after


class Limits(Struct, frozen=True):
    """What is asked of a candidate."""

    min_pass: float | None = None  # smallest share of answers that pass
    max_drop: float | None = None  # largest drop of that share against the baseline
    alpha: float = 0.05
    per_criterion: bool = False
    segments: tuple[str, ...] = ()
    max_cannot_assess: float = 1.0


class Line(Struct, frozen=True):
    """One thing that was compared: all, a criterion, or a segment."""

    name: str
    n: int
    raw: Interval | None  # share of passes as graded
    corrected: Interval | None = None  # as people would see it
    human: Interval | None = None  # of the answers that people graded
    baseline: float | None = None  # share of passes of the same items before
    drop: Difference | None = None
    p_value: float | None = None  # that the drop is more than `max_drop`; Holm's
    paired: int = 0  # items that both runs graded
    lost: int = 0  # passed before and fail now
    won: int = 0
    effect: float = 1.0  # design effect of conversations on the drop


class JudgeFacts(Struct, frozen=True):
    """What is known of the judge; without one a program decides everything."""

    trusted: bool
    reasons: tuple[str, ...] = ()
    corrected: Interval | None = None  # share of passes, corrected by human labels
    human: Interval | None = None


def compare(
    graded: Sequence[Outcome],
    pairs: Pairs,
    limits: Limits,
    judge: JudgeFacts | None,
    must_pass_p: float,
) -> tuple[list[Line], float]:
    """Return the lines of the report and the p-value of must-pass criteria, all of them Holm's."""
    whole = _line("all", _passes(graded), _pair_passes(pairs), limits.alpha)
    if judge is not None:
        whole = replace(whole, corrected=judge.corrected, human=judge.human)
    lines = [whole]
    for name in dict.fromkeys(name for each in graded for name in each.criteria):
        own = _passes(graded, name)
        lines.append(_line(f"criterion {name}", own, _pair_passes(pairs, name), limits.alpha))
    for segment in limits.segments:
        values = {each.segments.get(segment) for each in graded} - {None}
        for value in sorted(str(each) for each in values):
            own = _passes(each for each in graded if each.segments.get(segment) == value)
            both = [pair for pair in pairs if pair[1].segments.get(segment) == value]
            lines.append(_line(f"{segment}={value}", own, _pair_passes(both), limits.alpha))
    return _tested(lines, limits, must_pass_p)


class _Pass(Struct, frozen=True):
    """One item that passed or not, and the conversation that it belongs to."""

    passed: bool
    cluster: str


def _passes(outcomes: Iterable[Outcome], criterion: str | None = None) -> list[_Pass]:
    found = []
    for each in outcomes:
        passed = _passed(each, criterion)
        if passed is not None:
            found.append(_Pass(passed, each.conversation or each.id))
    return found


def _pair_passes(pairs: Pairs, criterion: str | None = None) -> list[tuple[bool, _Pass]]:
    found = []
    for before, after in pairs:
        was, is_ = _passed(before, criterion), _passed(after, criterion)
        if was is not None and is_ is not None:
            found.append((was, _Pass(is_, after.conversation or after.id)))
    return found


def _passed(outcome: Outcome, criterion: str | None) -> bool | None:
    if criterion is None:
        return outcome.passed
    found = outcome.criteria.get(criterion)
    return found.passed if found else None


def _line(
    name: str, own: Sequence[_Pass], both: Sequence[tuple[bool, _Pass]], alpha: float
) -> Line:
    if not own:
        return Line(name, 0, None)
    values = [float(each.passed) for each in own]
    spread = design_effect(values, [each.cluster for each in own])
    raw = proportion_interval(sum(values) / spread, len(values) / spread, alpha=alpha)
    line = Line(name, len(own), Interval(raw.mean, raw.lower, raw.upper, len(own)))
    if not both:
        return line
    lost = sum(was and not now.passed for was, now in both)
    won = sum(now.passed and not was for was, now in both)
    drops = [float(was) - float(now.passed) for was, now in both]
    effect = design_effect(drops, [now.cluster for _, now in both])
    drop = drop_interval(lost / effect, won / effect, len(both) / effect, alpha=alpha)
    return replace(
        line,
        baseline=sum(was for was, _ in both) / len(both),
        drop=drop,
        paired=len(both),
        lost=lost,
        won=won,
        effect=effect,
    )


def _tested(lines: Sequence[Line], limits: Limits, must_pass_p: float) -> tuple[list[Line], float]:
    margin = limits.max_drop
    tested = [
        index
        for index, line in enumerate(lines)
        if line.drop is not None
        and margin is not None
        and (limits.per_criterion or not line.name.startswith("criterion "))
    ]
    *p_values, must_pass_p = holm(
        [
            *(_drop_p(lines[index], margin) for index in tested if margin is not None),
            must_pass_p,
        ]
    )
    adjusted = dict(zip(tested, p_values, strict=True))
    found = [
        replace(line, p_value=adjusted[index]) if index in adjusted else line
        for index, line in enumerate(lines)
    ]
    return found, must_pass_p


def _drop_p(line: Line, margin: float) -> float:
    effect = line.effect
    return drop_p(line.lost / effect, line.won / effect, line.paired / effect, margin)
