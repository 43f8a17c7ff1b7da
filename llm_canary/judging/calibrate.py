"""Asks a judge about everything that people have graded, and reports how far they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from llm_canary.judging.grader import Grader
from llm_canary.judging.judgement import Judge, JudgeVersion, Pair, Preference, Status
from llm_canary.judging.labels import Labelled, LabelSet, with_labels
from llm_canary.judging.pairwise import first_shown_won, reconcile
from llm_canary.judging.trust import (
    OVERALL,
    Rated,
    Standing,
    Subject,
    arms_differ,
    assess,
    by_stratum,
    worst,
)
from llm_canary.rubric.checks import Checks
from llm_canary.rubric.grades import Grade, Graded, NotGraded, Why, score
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.schema import (
    AskedCriterion,
    ChoiceCriterion,
    OrdinalCriterion,
    Rubric,
)
from llm_canary.stats.corrected import Interval, Operating, mean_interval, proportion_interval
from llm_canary.stats.probability import (
    CascadePoint,
    Reliability,
    brier,
    calibration_error,
    coverage_accuracy,
    reliability,
    temperature,
)

_CODES = {"A": 0.0, "B": 1.0, "tie": 2.0}
_MARGIN = {"A": 1.0, "B": -1.0, "tie": 0.0}
MIN_CALIBRATION = 20
PREFERENCE = "preference"


class Position(Struct, frozen=True):
    """What the order in which two answers are shown does to a judge."""

    pairs: int  # judged in both orders
    consistency: float | None  # share with the same verdict in both
    mean_accuracy: float | None  # of single orders, against people
    first_shown: Interval | None  # share of verdicts for the answer shown first
    gap: float | None  # |that share - 1/2|


class Probabilities(Struct, frozen=True):
    """Whether the judge's confidence means what it says, for one criterion."""

    n: int
    error: float  # expected calibration error
    brier: float
    temperature: float  # above 1: the judge is too sure of itself
    cascade: tuple[CascadePoint, ...]
    curve: tuple[Reliability, ...] = ()  # reports from before it have none


class TrustReport(Struct, frozen=True):
    """Everything that a calibration found."""

    rubric: str
    rubric_version: int
    rubric_hash: str
    judge: JudgeVersion
    label_hash: str
    labelled: int
    judged: int
    failures: dict[str, int]  # status -> items without grades
    subjects: tuple[Subject, ...]  # the overall one first
    strata: dict[str, Subject]
    position: Position | None
    probabilities: dict[str, Probabilities]
    human: Interval | None  # mean of what people say: share of passes, or win margin of A
    raw: Interval | None  # the judge's, on the same items
    operating: Operating | None  # how the judge's passes relate to people's; not of pairs
    standing: Standing
    reasons: tuple[str, ...]
    compared: int = 0  # of the judged, those that the standing rests on

    @property
    def basis(self) -> str:
        """What makes the standing, in words."""
        if not _is_whole(self.subjects[:1]):
            return "no answer has labels of all its criteria, so the criteria decide, the worst one"
        return "the answer as a whole decides; criteria and tags are shown, and decide nothing"


class _Found(NamedTuple):
    """What is known after asking, before it is put together."""

    subjects: list[Subject]
    overall: list[Rated]
    failures: Mapping[str, int]
    position: Position | None = None
    probabilities: Mapping[str, Probabilities] = {}


async def calibrate(
    rubric: LoadedRubric,
    labels: LabelSet,
    judge: Judge,
    grader: Grader,
    note: Callable[[], None] = lambda: None,
) -> TrustReport:
    """Return the report of `judge` on `labels`; `note` is called at each item.

    Single answers are graded by `grader`, which may ask a second judge where `judge` is in doubt;
    then the report is about both.
    """
    if labels.is_pairwise:
        found, version = await _pairs(rubric, labels, judge, note), judge.version
    else:
        found = await _single(rubric, labels, grader, note)
        version = grader.version or judge.version
    return _report(rubric, labels, version, found)


def compare_stored(
    rubric: LoadedRubric,
    labels: LabelSet,
    version: JudgeVersion,
    stored: Mapping[str, Mapping[str, Graded]],
) -> TrustReport:
    """Return the report of a judge on single answers that it has graded already.

    `stored` are the grades of all criteria by the answer's id, those of programs among them; so
    nothing is graded again, and no text is needed.
    """
    found = _Singles(rubric.rubric)
    asked = {each.id for each in rubric.rubric.asked}
    for item in labels.items:
        grades = stored[item.sample.id]
        known = {
            name: each
            for name, each in grades.items()
            if name not in asked or (isinstance(each, NotGraded) and each.why is Why.NOT_APPLICABLE)
        }
        found.add(item, known, grades)
    return _report(rubric, labels, version, found.found({}))


def _report(
    rubric: LoadedRubric, labels: LabelSet, version: JudgeVersion, found: _Found
) -> TrustReport:
    trust = rubric.rubric.trust
    strata = by_stratum(found.overall, trust)
    whole = found.subjects[:1]
    deciding = whole if _is_whole(whole) else found.subjects
    standing = worst(each.standing for each in deciding)
    reasons = [f"{each.name}: {text}" for each in deciding for text in each.reasons]
    apart = arms_differ(strata)
    if apart is not None:
        standing, reasons = Standing.UNTRUSTED, [*reasons, apart]
    gap = found.position.gap if found.position else None
    if gap is not None and found.position is not None and found.position.first_shown is not None:
        shown = found.position.first_shown
        if gap > trust.max_position_gap and not shown.lower <= 0.5 <= shown.upper:
            standing = Standing.UNTRUSTED
            reasons.append(
                f"the answer shown first wins {shown.mean:.2f} of the time; "
                f"{trust.max_position_gap:g} beyond one half is allowed"
            )
    human, raw = _means(found.overall, is_pairwise=labels.is_pairwise)
    return TrustReport(
        rubric=rubric.rubric.id,
        rubric_version=rubric.rubric.version,
        rubric_hash=rubric.content_hash,
        judge=version,
        label_hash=labels.hash,
        labelled=len(labels.items),
        judged=len(labels.items) - sum(found.failures.values()),
        compared=min((each.n for each in deciding), default=0),
        failures=dict(found.failures),
        subjects=tuple(found.subjects),
        strata=strata,
        position=found.position,
        probabilities=dict(found.probabilities),
        human=human,
        raw=raw,
        operating=None if labels.is_pairwise else _operating(found.overall),
        standing=standing,
        reasons=tuple(reasons),
    )


def _is_whole(subjects: Sequence[Subject]) -> bool:
    return any(each.name in (OVERALL, PREFERENCE) for each in subjects)


async def _single(
    rubric: LoadedRubric, labels: LabelSet, grader: Grader, note: Callable[[], None]
) -> _Found:
    checks = Checks(rubric.rubric, rubric.schemas)
    by_key = {(each.sample.id, each.sample.response): each for each in labels.items}
    failures: Counter[str] = Counter()
    found = _Singles(rubric.rubric)
    async for result in grader.grade_all(each.sample for each in labels.items):
        note()
        if result.failure is not None:
            failures[str(result.failure)] += 1
            continue
        item = by_key[result.sample.id, result.sample.response]
        found.add(item, checks.grade(item.sample), result.grades)
    return found.found(failures)


class _Singles:
    """Single answers as numbers: as a whole and by criterion."""

    def __init__(self, rubric: Rubric) -> None:
        self._rubric = rubric
        self._overall: list[Rated] = []
        self._rated: dict[str, list[Rated]] = {each.id: [] for each in rubric.asked}
        self._sure: dict[str, list[tuple[float, float]]] = {each.id: [] for each in rubric.asked}

    def add(
        self, item: Labelled, known: Mapping[str, Graded], judged: Mapping[str, Graded]
    ) -> None:
        """Take in one answer; `known` are the grades that nobody has to give."""
        people = with_labels(item, self._rubric, known)
        alone = {
            name: with_labels(_of_rater(item, name), self._rubric, known)
            for name in dict.fromkeys(each.rater for each in item.labels)
        }
        tags = item.sample.tags
        human, judge = _passes(self._rubric, people), _passes(self._rubric, judged)
        if human is not None and judge is not None:
            verdicts = {name: _passes(self._rubric, grades) for name, grades in alone.items()}
            own = {name: verdict for name, verdict in verdicts.items() if verdict is not None}
            self._overall.append(Rated(human, judge, own, tags))
        for criterion in self._rubric.asked:
            said, given = people[criterion.id], judged.get(criterion.id)
            if not isinstance(said, Grade) or not isinstance(given, Grade):
                continue
            code = _coder(criterion)
            raters = {
                name: code(label)
                for name, grades in alone.items()
                if isinstance(label := grades[criterion.id], Grade)
            }
            self._rated[criterion.id].append(Rated(code(said), code(given), raters, tags))
            if given.confidence is not None:
                right = float(given.label == said.label)
                self._sure[criterion.id].append((given.confidence, right))

    def found(self, failures: Mapping[str, int]) -> _Found:
        """Return what all of them come to."""
        trust, overall = self._rubric.trust, self._overall
        subjects = [assess(OVERALL, overall, trust)] if overall else []
        for criterion in self._rubric.asked:
            rated = self._rated[criterion.id]
            is_scale = isinstance(criterion, OrdinalCriterion)
            if rated:
                subjects.append(
                    assess(
                        criterion.id,
                        rated,
                        trust,
                        weights="quadratic" if is_scale else "none",
                        level="ordinal" if is_scale else "nominal",
                    )
                )
        if not overall:
            overall = next((each for each in self._rated.values() if each), [])
        probabilities = {
            name: _probabilities(pairs)
            for name, pairs in self._sure.items()
            if len(pairs) >= MIN_CALIBRATION
        }
        return _Found(subjects, overall, failures, None, probabilities)


def _of_rater(item: Labelled, name: str) -> Labelled:
    return item._replace(labels=tuple(each for each in item.labels if each.rater == name))


def _passes(rubric: Rubric, grades: Mapping[str, Graded]) -> float | None:
    passed = score(rubric, grades).passed
    return None if passed is None else float(passed)


def _coder(criterion: AskedCriterion) -> Callable[[Grade], float]:
    if isinstance(criterion, ChoiceCriterion):
        labels = [option.label for option in criterion.options]
        return lambda grade: float(labels.index(grade.label))
    return lambda grade: grade.value


def _probabilities(pairs: Sequence[tuple[float, float]]) -> Probabilities:
    confidences, right = [each[0] for each in pairs], [each[1] for each in pairs]
    return Probabilities(
        len(pairs),
        calibration_error(confidences, right),
        brier(confidences, right),
        temperature(confidences, right),
        tuple(coverage_accuracy(confidences, right)),
        tuple(reliability(confidences, right)),
    )


async def _pairs(
    rubric: LoadedRubric, labels: LabelSet, judge: Judge, note: Callable[[], None]
) -> _Found:
    failures: Counter[str] = Counter()
    rated: list[Rated] = []
    both: list[tuple[Preference, Preference]] = []
    singles: list[float] = []
    for item in labels.items:
        note()
        assert item.responses is not None  # noqa: S101 - the set is of pairs
        pair = Pair(item.sample, *item.responses)
        ab, ba = await judge.compare(pair, "AB"), await judge.compare(pair, "BA")
        people = item.majority
        verdict = ab.verdict if ba.status is Status.MISSING else reconcile(ab, ba).verdict
        if verdict is None:
            failed = next(each.status for each in (ab, ba) if each.status is not Status.OK)
            failures[str(failed)] += 1
            continue
        if ba.status is Status.OK:
            both.append((ab, ba))
            singles += [float(each.verdict == people) for each in (ab, ba)]
        raters = {label.rater: _CODES[str(label.label)] for label in item.labels}
        rated.append(Rated(_CODES[people], _CODES[verdict], raters, item.sample.tags))
    subject = assess(PREFERENCE, rated, rubric.rubric.trust)
    return _Found([subject], rated, failures, _position(both, singles))


def _position(
    both: Sequence[tuple[Preference, Preference]], singles: Sequence[float]
) -> Position | None:
    if not both:
        return None
    same = sum(ab.verdict == ba.verdict for ab, ba in both)
    first = [won for pair in both for each in pair if (won := first_shown_won(each)) is not None]
    shown = proportion_interval(sum(first), len(first)) if first else None
    return Position(
        len(both),
        same / len(both),
        sum(singles) / len(singles) if singles else None,
        shown,
        abs(shown.mean - 0.5) if shown else None,
    )


def _means(rated: Sequence[Rated], *, is_pairwise: bool) -> tuple[Interval | None, Interval | None]:
    if is_pairwise:
        margin = {_CODES[name]: value for name, value in _MARGIN.items()}
        return (
            mean_interval([margin[each.human] for each in rated]),
            mean_interval([margin[each.judge] for each in rated]),
        )
    return (
        mean_interval([each.human for each in rated]),
        mean_interval([each.judge for each in rated]),
    )


def _operating(rated: Sequence[Rated]) -> Operating | None:
    if any(value not in (0.0, 1.0) for each in rated for value in (each.human, each.judge)):
        return None  # the only criterion is a scale, and nothing passes as a whole
    counts = Counter((each.human, each.judge) for each in rated)
    return Operating(counts[1.0, 1.0], counts[1.0, 0.0], counts[0.0, 1.0], counts[0.0, 0.0])
