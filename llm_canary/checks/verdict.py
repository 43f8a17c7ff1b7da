"""The one verdict of a check, from which every output and exit code comes. Pure.

It decides on answers as they were given: more than 2 % without a grade is an operational error, a
judge that is not trusted decides nothing, harm that is shown fails, and what is neither shown nor
excluded is held with the number of items that would settle it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import ceil

from msgspec import Struct

from llm_canary.checks.comparison import JudgeFacts, Limits, Line, compare
from llm_canary.checks.outcome import Ended, Outcome
from llm_canary.stats.corrected import Interval, mean_interval
from llm_canary.stats.paired import Difference, items_needed, mcnemar_p, mean_difference

MAX_FAILURES = 0.02
_SHOWN_IDS = 5
_SUSPICIOUS = 0.2


class CheckVerdict(StrEnum):
    """What a check comes to; its exit code is in `EXIT_CODES`."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    HOLD = "hold"
    UNTRUSTED = "untrusted"
    ERROR = "error"


EXIT_CODES = {
    CheckVerdict.PASS: 0,
    CheckVerdict.FAIL: 1,
    CheckVerdict.HOLD: 3,
    CheckVerdict.UNTRUSTED: 4,
    CheckVerdict.ERROR: 5,
}
# What the same findings mean for a rollout that waits for them.
FOR_A_ROLLOUT = {
    CheckVerdict.PASS: "promote",
    CheckVerdict.FAIL: "rollback",
    CheckVerdict.HOLD: "hold",
    CheckVerdict.UNTRUSTED: "hold",
    CheckVerdict.ERROR: "hold",
}


class Finding(Struct, frozen=True):
    """The verdict with everything it rests on."""

    verdict: CheckVerdict
    reasons: tuple[str, ...]
    lines: tuple[Line, ...]  # the first is the whole
    score: Interval | None  # mean score
    score_drop: Difference | None
    counts: dict[str, int]  # how many items ended how
    regressions: tuple[str, ...]  # items whose must-pass criterion failed and did not before
    regressions_fixed: int = 0
    items_needed: int | None = None  # that would settle what is held


def decide(
    outcomes: Sequence[Outcome],
    limits: Limits,
    *,
    baseline: Mapping[str, Outcome] | None = None,
    judge: JudgeFacts | None = None,
) -> Finding:
    """Return the verdict about `outcomes`; `baseline` holds earlier outcomes by item."""
    counts = dict.fromkeys(Ended, 0)
    for outcome in outcomes:
        counts[outcome.ended] += 1
    graded = [each for each in outcomes if each.passed is not None]
    pairs = [
        (before, each)
        for each in graded
        if (before := (baseline or {}).get(each.id)) is not None and before.passed is not None
    ]
    lost = [after.id for before, after in pairs if _regressed(before, after)]
    fixed = sum(_regressed(after, before) for before, after in pairs)
    lines, must_pass_p = compare(graded, pairs, limits, judge, mcnemar_p(len(lost), fixed))
    draft = _Draft(limits, lines[0], counts, len(outcomes))
    draft.operational(had_baseline=baseline is not None, paired=len(pairs))
    if judge is not None and not judge.trusted:
        draft.note(CheckVerdict.UNTRUSTED, *(judge.reasons or ("the judge is not trusted",)))
    draft.harm(lines, lost, fixed, must_pass_p)
    draft.proof(lost, fixed)
    return Finding(
        verdict=draft.verdict,
        reasons=tuple(draft.reasons[draft.verdict]),
        lines=tuple(lines),
        score=_score(graded),
        score_drop=_score_drop(pairs, limits.alpha),
        counts={str(name): count for name, count in counts.items()},
        regressions=tuple(lost),
        regressions_fixed=fixed,
        items_needed=draft.needed if draft.verdict is CheckVerdict.HOLD else None,
    )


class _Draft:
    """Reasons by verdict; the gravest that has any is the verdict."""

    def __init__(
        self, limits: Limits, whole: Line, counts: Mapping[Ended, int], total: int
    ) -> None:
        self._limits = limits
        self._whole = whole
        self._counts = counts
        self._total = total
        self.needed: int | None = None
        self.reasons: dict[CheckVerdict, list[str]] = defaultdict(list)

    @property
    def verdict(self) -> CheckVerdict:
        order = (CheckVerdict.ERROR, CheckVerdict.UNTRUSTED, CheckVerdict.FAIL, CheckVerdict.HOLD)
        found = next((each for each in order if self.reasons.get(each)), CheckVerdict.PASS)
        if found is CheckVerdict.PASS and not self.reasons[found]:
            self.reasons[found].append("everything that was asked for is shown")
        return found

    def note(self, verdict: CheckVerdict, *reasons: str) -> None:
        self.reasons[verdict] += reasons

    def operational(self, *, had_baseline: bool, paired: int) -> None:
        """Note what keeps the run from saying anything."""
        for ended in (Ended.NO_ANSWER, Ended.NO_GRADE):
            count = self._counts[ended]
            if count > MAX_FAILURES * self._total:
                what = "got no answer" if ended is Ended.NO_ANSWER else "got no grade"
                self.note(
                    CheckVerdict.ERROR,
                    f"{count} of {self._total} items {what}; at most {MAX_FAILURES:.0%} may",
                )
        if not self._whole.n:
            self.note(CheckVerdict.ERROR, "no item was graded")
        if had_baseline and not paired and self._whole.n:
            self.note(CheckVerdict.ERROR, "the baseline has no item in common with this run")
        unsure = self._counts[Ended.CANNOT_ASSESS]
        if unsure > self._limits.max_cannot_assess * self._total:
            self.note(CheckVerdict.HOLD, f"{unsure} of {self._total} items could not be assessed")

    def harm(
        self, lines: Sequence[Line], lost: Sequence[str], fixed: int, must_pass_p: float
    ) -> None:
        """Note what is shown to be too bad, all comparisons together at level alpha."""
        limits, alpha = self._limits, self._limits.alpha
        for line in lines:
            if line.p_value is not None and line.p_value < alpha and line.drop is not None:
                self.note(
                    CheckVerdict.FAIL,
                    f"{line.name}: passes fell by {_points(line.drop.value)} "
                    f"[{_points(line.drop.lower)}, {_points(line.drop.upper)}]; "
                    f"{_points(limits.max_drop or 0.0)} is allowed (p {line.p_value:.2g})",
                )
        if lost and must_pass_p < alpha:
            self.note(
                CheckVerdict.FAIL,
                f"{len(lost)} items fail a must-pass criterion that they passed before"
                f"{f', {fixed} the other way round' if fixed else ''}: {_some(lost)}",
            )
        share = self._share()
        if limits.min_pass is not None and share is not None and share.upper < limits.min_pass:
            self.note(
                CheckVerdict.FAIL,
                f"{_interval(share)} of the answers pass; {limits.min_pass:.1%} are asked for",
            )

    def proof(self, lost: Sequence[str], fixed: int) -> None:
        """Note what is not shown to be good."""
        limits, whole, share = self._limits, self._whole, self._share()
        if limits.min_pass is not None and share is not None and share.lower < limits.min_pass:
            self.note(
                CheckVerdict.HOLD,
                f"{_interval(share)} of the answers pass; the lower end has to reach "
                f"{limits.min_pass:.1%}",
            )
            self._need(_items_for_share(share, limits.min_pass))
        if limits.max_drop is not None and whole.drop is not None:
            drop = whole.drop
            if drop.upper > limits.max_drop:
                self.note(
                    CheckVerdict.HOLD,
                    f"passes fell by {_points(drop.value)} [{_points(drop.lower)}, "
                    f"{_points(drop.upper)}]; the upper end may be {_points(limits.max_drop)}",
                )
                differ = (whole.lost + whole.won) / max(whole.n, 1)
                self._need(items_needed(differ, limits.max_drop, drop.value, alpha=limits.alpha))
        # Where about as many items flip the other way, the flips are the build's own noise.
        if lost and (not fixed or mcnemar_p(len(lost), fixed) < _SUSPICIOUS):
            self.note(
                CheckVerdict.HOLD,
                f"a must-pass criterion fails that passed before: {_some(lost)}; "
                "too few to tell from chance, so look at them",
            )

    def _share(self) -> Interval | None:
        return self._whole.corrected or self._whole.raw

    def _need(self, items: int | None) -> None:
        if items is not None:
            self.needed = max(items, self.needed or 0)


def _regressed(before: Outcome, after: Outcome) -> bool:
    return bool(after.must_pass_failed) and not before.must_pass_failed


def _score(graded: Sequence[Outcome]) -> Interval | None:
    return mean_interval([each.score for each in graded if each.score is not None])


def _score_drop(pairs: Sequence[tuple[Outcome, Outcome]], alpha: float) -> Difference | None:
    both = [(a.score - b.score, b) for a, b in pairs if a.score is not None and b.score is not None]
    if not both:
        return None
    clusters = [each.conversation or each.id for _, each in both]
    return mean_difference([drop for drop, _ in both], clusters, alpha=alpha)


def _items_for_share(share: Interval, limit: float) -> int | None:
    """Return how many items would settle on which side of `limit` the share lies."""
    half = max((share.upper - share.lower) / 2.0, 1e-9)
    distance = max(abs(share.mean - limit), 0.01)
    return ceil(share.n * (half / distance) ** 2)


def _points(share: float) -> str:
    return f"{share * 100:.1f} pp"


def _interval(found: Interval) -> str:
    return f"{found.mean:.1%} [{found.lower:.1%}, {found.upper:.1%}]"


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN_IDS} more" if len(ids) > _SHOWN_IDS else ""
    return ", ".join(ids[:_SHOWN_IDS]) + more
