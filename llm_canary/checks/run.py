"""Runs a check: answers, grades, trust in the judge, and the verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from llm_canary.checks.candidate import Candidate
from llm_canary.checks.comparison import JudgeFacts, Limits
from llm_canary.checks.correction import correct
from llm_canary.checks.dataset import Dataset
from llm_canary.checks.outcome import CriterionOutcome, Ended, Outcome, Run
from llm_canary.checks.verdict import Finding, decide
from llm_canary.errors import ConfigError
from llm_canary.judging.bounded import each_bounded
from llm_canary.judging.budget import CostCap
from llm_canary.judging.build import Judges
from llm_canary.judging.cache import Cache
from llm_canary.judging.calibrate import TrustReport, calibrate
from llm_canary.judging.grader import CONCURRENCY, Grader, Result
from llm_canary.judging.judgement import Judge, Spent
from llm_canary.judging.labels import LabelSet
from llm_canary.judging.panel import Panel
from llm_canary.judging.replay import response_hash
from llm_canary.judging.trust import Standing
from llm_canary.rubric.grades import Grade, Graded
from llm_canary.rubric.item import Item
from llm_canary.rubric.load import LoadedRubric

_DETAIL_CHARS = 300
_DAY_S = 86_400.0
# Recordings and panels are other versions with every recording and label.
_MODELS = ("chat", "decision")


class Request(NamedTuple):
    """What to check, by what, and how."""

    rubric: LoadedRubric
    dataset: Dataset
    candidate: Candidate
    judges: Judges
    limits: Limits
    labels: LabelSet | None = None
    baseline: Run | None = None
    repeat: int = 1
    confirm: int = 0  # further attempts at items that newly fail a must-pass criterion
    cache: Cache | None = None
    cap: CostCap | None = None
    offline: bool = False
    concurrency: int = CONCURRENCY


class Report(NamedTuple):
    """Everything that a check found."""

    run: Run
    finding: Finding
    trust: TrustReport | None
    spent: Spent  # by judges, on labels and answers, without what the cache saved
    cached: int  # judgements that the cache saved


async def run_check(
    request: Request, now_s: float, note: Callable[[], None] = lambda: None
) -> Report:
    """Return the report of a check; `note` is called after each answer that was graded."""
    graders: list[Grader] = []
    judge, trust = await _trusted_judge(request, graders)
    grader = _grader(request, judge, graders)
    judge_id = grader.version.id if grader.version else None
    if judge is not None and judge.version.kind in _MODELS:
        _refuse_other_judge(request.baseline, judge_id)
    running = _Running(request, grader, note)
    outcomes = await running.all_outcomes()
    if request.baseline is not None and request.confirm and request.candidate.is_live:
        outcomes = await running.confirmed(outcomes, request.baseline)
    facts = _judge_facts(request, trust, now_s, outcomes) if judge is not None else None
    before = {each.id: each for each in request.baseline.outcomes} if request.baseline else None
    finding = decide(outcomes, request.limits, baseline=before, judge=facts)
    run = Run(
        rubric=request.rubric.rubric.id,
        rubric_version=request.rubric.rubric.version,
        rubric_hash=request.rubric.content_hash,
        judge_id=judge_id,
        dataset=request.dataset.name,
        dataset_hash=request.dataset.hash,
        candidate=request.candidate.name,
        outcomes=tuple(outcomes),
    )
    spent = sum((each.spent for each in graders), Spent())
    return Report(run, finding, trust, spent, sum(each.cached for each in graders))


class _Running:
    """One run over the dataset; of each answer only its outcome is kept."""

    def __init__(self, request: Request, grader: Grader, note: Callable[[], None]) -> None:
        self._request = request
        self._grader = grader
        self._note = note

    async def all_outcomes(self) -> list[Outcome]:
        """Return the outcome of each item, in the order of the dataset."""
        found: dict[str, list[Outcome]] = {}
        async for outcome in each_bounded(self._one, self._attempts(), self._request.concurrency):
            found.setdefault(outcome.id, []).append(outcome)
        return [_merged(found[item.id]) for item in self._request.dataset]

    async def confirmed(self, outcomes: Sequence[Outcome], baseline: Run) -> list[Outcome]:
        """Ask again where a must-pass criterion newly fails; it counts if it fails each time.

        Nothing else of the outcome changes: to ask again only about what got worse, and to count
        the better answer, would hide a drop.
        """
        before = {each.id: each for each in baseline.outcomes}
        suspects = {
            each.id
            for each in outcomes
            if each.must_pass_failed and each.id in before and not before[each.id].must_pass_failed
        }
        again: dict[str, list[Outcome]] = defaultdict(list)
        attempts = (
            (item, self._request.repeat + number)
            for item in self._request.dataset
            if item.id in suspects
            for number in range(self._request.confirm)
        )
        async for outcome in each_bounded(self._one, attempts, self._request.concurrency):
            again[outcome.id].append(outcome)
        cleared = {
            name
            for name, attempts_at in again.items()
            if any(each.passed is not None and not each.must_pass_failed for each in attempts_at)
        }
        return [
            replace(each, must_pass_failed=()) if each.id in cleared else each for each in outcomes
        ]

    def _attempts(self) -> Iterator[tuple[Item, int]]:
        for item in self._request.dataset:
            for number in range(self._request.repeat):
                yield item, number

    async def _one(self, attempt: tuple[Item, int]) -> Outcome:
        item, number = attempt
        answer = await self._request.candidate.answer(item, number)
        if answer.failure:
            self._note()
            outcome = Outcome(item.id, Ended.NO_ANSWER, detail=answer.failure[:_DETAIL_CHARS])
            return replace(outcome, segments=dict(item.tags), conversation=item.conversation)
        sample = item.sample(answer.text, answer.tool_calls)
        result = await self._grader.grade(sample, repeat=number)
        self._note()
        return _outcome(item, result)


def _outcome(item: Item, result: Result) -> Outcome:
    ended, detail = Ended.GRADED, ""
    if result.failure is not None:
        ended = Ended.NO_GRADE
        detail = f"{result.failure}: {result.judgements[0].detail}"[:_DETAIL_CHARS]
    elif result.score.passed is None:
        is_failure = any(str(why) == "failed" for why in result.score.not_graded.values())
        ended = Ended.NO_GRADE if is_failure else Ended.CANNOT_ASSESS
    elif any(
        str(why) in ("cannot_assess", "no_evidence") for why in result.score.not_graded.values()
    ):
        ended = Ended.CANNOT_ASSESS
    return Outcome(
        id=item.id,
        ended=ended,
        passed=result.score.passed if ended is not Ended.NO_GRADE else None,
        score=result.score.value if ended is not Ended.NO_GRADE else None,
        criteria={name: _criterion(graded) for name, graded in result.grades.items()},
        must_pass_failed=result.score.must_pass_failed,
        segments=dict(item.tags),
        conversation=item.conversation,
        response_sha256=response_hash(result.sample.response),
        detail=detail,
    )


def _criterion(graded: Graded) -> CriterionOutcome:
    if isinstance(graded, Grade):
        return CriterionOutcome(
            graded.passed, graded.label, detail=graded.reasoning[:_DETAIL_CHARS]
        )
    return CriterionOutcome(None, why=str(graded.why), detail=graded.detail[:_DETAIL_CHARS])


def _merged(attempts: Sequence[Outcome]) -> Outcome:
    """Return one outcome of several attempts at an item: passed when at least half are."""
    graded = [each for each in attempts if each.passed is not None]
    if len(attempts) == 1 or not graded:
        return attempts[0]
    passed = 2 * sum(bool(each.passed) for each in graded) >= len(graded)
    typical = next((each for each in graded if each.passed is passed), graded[0])
    scores = [each.score for each in graded if each.score is not None]
    return replace(typical, passed=passed, score=sum(scores) / len(scores) if scores else None)


def _grader(request: Request, judge: Judge | None, graders: list[Grader]) -> Grader:
    """Return a grader, and keep it, so that what it spends is counted."""
    grader = Grader(
        request.rubric,
        judge,
        escalate=request.judges.second,
        cache=request.cache,
        cap=request.cap,
        offline=request.offline,
    )
    graders.append(grader)
    return grader


async def _trusted_judge(
    request: Request, graders: list[Grader]
) -> tuple[Judge | None, TrustReport | None]:
    """Return the judge, a panel with the weights that its members earned, and its calibration."""
    first, labels = request.judges.first, request.labels
    if first is None or labels is None:
        return first, None

    async def calibrated(judge: Judge) -> TrustReport:
        return await calibrate(request.rubric, labels, judge, _grader(request, judge, graders))

    if not request.judges.panel:
        return first, await calibrated(first)
    weights = {}
    members = [first, *request.judges.panel]
    for member in members:
        alone = await calibrated(member)
        kappa = alone.subjects[0].kappa if alone.subjects else None
        weights[member.version.id] = max(0.0, kappa.lower) if kappa else 0.0
    judges = request.rubric.rubric.judges
    needed = judges.panel.min_members if judges and judges.panel else 1
    panel = Panel(members, weights, request.rubric, min_members=needed)
    return panel, await calibrated(panel)


def _refuse_other_judge(baseline: Run | None, judge_id: str | None) -> None:
    """Raise ConfigError when another version of the judge graded the baseline."""
    if baseline is not None and baseline.judge_id != judge_id:
        raise ConfigError(
            "the baseline was graded by another version of the judge, so a drop could be the "
            f"judge's ({str(baseline.judge_id)[:12]}, now {str(judge_id)[:12]}); make the "
            "baseline again with --update-baseline"
        )


def _judge_facts(
    request: Request, trust: TrustReport | None, now_s: float, outcomes: Sequence[Outcome]
) -> JudgeFacts:
    labels = request.labels
    if trust is None or labels is None:
        reason = "no human labels say whether the judge is right: give them with --labels"
        return JudgeFacts(trusted=False, reasons=(reason,))
    reasons = list(trust.reasons) if trust.standing is not Standing.TRUSTED else []
    limit = request.rubric.rubric.trust.max_age_days
    age = (now_s - labels.newest_s) / _DAY_S if labels.newest_s is not None else 0.0
    if age > limit:
        reasons.append(f"the newest label is {age:.0f} days old; {limit} are allowed")
    corrected, human = correct(request.rubric, labels, trust, outcomes, request.limits)
    return JudgeFacts(not reasons, tuple(reasons), corrected, human)
