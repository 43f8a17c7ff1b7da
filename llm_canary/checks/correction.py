"""The share of passes as people would see it, from the judge's and the labels at hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from llm_canary.checks.comparison import Limits
from llm_canary.checks.outcome import Outcome
from llm_canary.judging.calibrate import TrustReport
from llm_canary.judging.labels import LabelSet, people_grades
from llm_canary.judging.replay import response_hash
from llm_canary.rubric.checks import Checks
from llm_canary.rubric.grades import score
from llm_canary.rubric.load import LoadedRubric
from llm_canary.stats.corrected import (
    MIN_STRATUM,
    Interval,
    Stratum,
    mean_interval,
    rogan_gladen,
    stratified_ppi,
)

MIN_OWN_LABELS = 30  # on the candidate's own answers, below which a fixed set corrects
_MIN_JUDGE_ONLY = 2


def correct(
    rubric: LoadedRubric,
    labels: LabelSet,
    trust: TrustReport,
    outcomes: Sequence[Outcome],
    limits: Limits,
) -> tuple[Interval | None, Interval | None]:
    """Return the corrected share of passes, and that of the answers that people graded.

    People graded some of these very answers: stratified PPI++. Otherwise the labels are a fixed
    set, and Rogan and Gladen's correction is used, None where the judge tells too little.
    """
    people = _people(rubric, labels, outcomes)
    human = mean_interval(list(people.values()), alpha=limits.alpha)
    judged = [each for each in outcomes if each.passed is not None]
    rest = len(judged) - len(people)
    if len(people) >= MIN_OWN_LABELS and rest >= _MIN_JUDGE_ONLY:
        strata = _strata(judged, people, limits.segments[0] if limits.segments else None)
        found = stratified_ppi(strata, alpha=limits.alpha)
        lower, upper = max(0.0, found.lower), min(1.0, found.upper)
        return Interval(found.mean, lower, upper, len(judged)), human
    if len(people) >= MIN_OWN_LABELS:
        return human, human  # people graded everything
    if trust.operating is None:
        return None, human
    passed = sum(bool(each.passed) for each in judged)
    return rogan_gladen(passed, len(judged), trust.operating, alpha=limits.alpha), human


def _people(
    rubric: LoadedRubric, labels: LabelSet, outcomes: Sequence[Outcome]
) -> dict[str, float]:
    """Return item -> whether people pass the answer that was graded here."""
    by_key = {(each.id, each.response_sha256) for each in outcomes if each.passed is not None}
    checks = Checks(rubric.rubric, rubric.schemas)
    found: dict[str, float] = {}
    for item in labels.items:
        if (item.sample.id, response_hash(item.sample.response)) not in by_key:
            continue
        passed = score(rubric.rubric, people_grades(item, rubric.rubric, checks)).passed
        if passed is not None:
            found[item.sample.id] = float(passed)
    return found


def _strata(
    judged: Sequence[Outcome], people: dict[str, float], segment: str | None
) -> list[Stratum]:
    """Return the strata of one segment, or a single one where a stratum has too few labels."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for each in judged:
        groups[each.segments.get(segment, "") if segment else ""].append(each)
    strata = [_stratum(group, people, len(judged)) for group in groups.values()]
    if all(len(each.human) >= MIN_STRATUM and len(each.judge_only) > 1 for each in strata):
        return strata
    return [_stratum(judged, people, len(judged))]


def _stratum(group: Sequence[Outcome], people: dict[str, float], total: int) -> Stratum:
    labelled = [each for each in group if each.id in people]
    return Stratum(
        len(group) / total,
        [people[each.id] for each in labelled],
        [float(bool(each.passed)) for each in labelled],
        [float(bool(each.passed)) for each in group if each.id not in people],
    )
