"""Grades samples by a rubric: checks first, then the judge, then the second one where in doubt."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from llm_canary.judging.bounded import each_bounded
from llm_canary.judging.budget import Breaker, CostCap
from llm_canary.judging.cache import Cache, cache_key
from llm_canary.judging.judgement import Judge, Judgement, JudgeVersion, Spent, Status
from llm_canary.judging.models import judge_version
from llm_canary.rubric.checks import Checks
from llm_canary.rubric.grades import Grade, Graded, NotGraded, Score, Why, score
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import AskedCriterion, EscalateWhen

CONCURRENCY = 8
_WARM_UP = 20  # items before the share of escalations is held
_OUTAGE = (Status.PROVIDER_ERROR, Status.TIMEOUT)


class Result(NamedTuple):
    """A sample with its grades and its score."""

    sample: Sample
    grades: Mapping[str, Graded]
    score: Score
    judgements: tuple[Judgement, ...] = ()  # of the judges that were asked, the first one first

    @property
    def failure(self) -> Status | None:
        """Why the judge gave no grades, None when it did or was not needed."""
        given = [each.status for each in self.judgements]
        return None if not given or Status.OK in given else given[0]


def version_of(
    rubric: LoadedRubric, judge: Judge | None, second: Judge | None
) -> JudgeVersion | None:
    """Return the version of what grades: the judge, or both and when the second one is asked.

    None: programs grade alone.
    """
    if judge is None or second is None:
        return judge.version if judge is not None else None
    names = f"{judge.version.model}, {second.version.model} where in doubt"
    params = {
        "first": judge.version.id,
        "second": second.version.id,
        "when": _when(rubric).model_dump_json(),
    }
    return judge_version("cascade", names, params, rubric)


def _when(rubric: LoadedRubric) -> EscalateWhen:
    judges = rubric.rubric.judges
    second = judges.escalate if judges else None
    return (second.when if second else None) or EscalateWhen()


@dataclass
class Escalations:
    """How many samples were seen, and about how many the second judge was asked."""

    seen: int = 0
    escalated: int = 0


class Grader:
    """One rubric with its judges; safe to use for many samples at once."""

    def __init__(
        self,
        rubric: LoadedRubric,
        judge: Judge | None,
        *,
        escalate: Judge | None = None,
        cache: Cache | None = None,
        cap: CostCap | None = None,
        offline: bool = False,
    ) -> None:
        self._rubric = rubric.rubric
        self._checks = Checks(rubric.rubric, rubric.schemas)
        self.version = version_of(rubric, judge, escalate)
        self._judge = judge
        self._second = escalate
        self._when = _when(rubric)
        self.max_share = self._when.max_share  # of the samples, for the second judge
        self._cache = cache
        self._cap = cap or CostCap(None)
        self._offline = offline
        self._breakers: dict[str, Breaker] = {}
        self.escalations = Escalations()  # another grader's may go on
        self.spent = Spent()  # without what the cache saved
        self.cached = 0  # judgements that the cache saved

    async def grade_all(
        self, samples: Iterable[Sample], *, repeat: int = 0, concurrency: int = CONCURRENCY
    ) -> AsyncIterator[Result]:
        """Yield a result for each sample as soon as it is there; at most `concurrency` wait."""

        def work(sample: Sample) -> Awaitable[Result]:
            return self.grade(sample, repeat=repeat)

        async for result in each_bounded(work, samples, concurrency):
            yield result

    async def grade(self, sample: Sample, *, repeat: int = 0) -> Result:
        """Return the grades and score of one sample."""
        self.escalations.seen += 1
        grades = self._checks.grade(sample)
        asked = [each for each in self._rubric.asked if each.id not in grades]
        judgements: list[Judgement] = []
        if asked and self._judge is not None:
            judgements = await self._judged(sample, asked, grades, repeat)
        for criterion in asked:
            grades.setdefault(criterion.id, NotGraded(Why.FAILED, "the judge failed"))
        return Result(sample, grades, score(self._rubric, grades), tuple(judgements))

    async def _judged(
        self,
        sample: Sample,
        asked: Sequence[AskedCriterion],
        grades: dict[str, Graded],
        repeat: int,
    ) -> list[Judgement]:
        assert self._judge is not None  # noqa: S101 - the caller has looked
        first = await self._ask(self._judge, sample, asked, repeat)
        grades |= first.grades
        doubted = self._doubted(first, asked)
        if self._second is None or not doubted or not self._may_escalate():
            return [first]
        self.escalations.escalated += 1
        second = await self._ask(self._second, sample, doubted, repeat)
        grades |= second.grades
        return [first, second]

    def _doubted(
        self, judgement: Judgement, asked: Sequence[AskedCriterion]
    ) -> list[AskedCriterion]:
        """Return the criteria about which the second judge is to be asked."""
        if judgement.status is not Status.OK or judgement.injection_suspected:
            return list(asked)
        doubted = []
        for criterion in asked:
            given = judgement.grades.get(criterion.id)
            bound = self._when.criteria.get(criterion.id, self._when.confidence_below)
            if isinstance(given, Grade):
                if given.confidence is not None and given.confidence < bound:
                    doubted.append(criterion)
            elif given is None or given.why is not Why.NOT_APPLICABLE:
                doubted.append(criterion)
        return doubted

    def _may_escalate(self) -> bool:
        done = self.escalations
        return done.escalated < self.max_share * max(done.seen, _WARM_UP)

    async def _ask(
        self, judge: Judge, sample: Sample, criteria: Sequence[AskedCriterion], repeat: int
    ) -> Judgement:
        version = judge.version.id
        key = cache_key(
            "judgement", version, [each.id for each in criteria], sample._asdict(), repeat
        )
        kept = self._cache.get(key, Judgement) if self._cache else None
        if kept is not None:
            self.cached += 1
            return replace(kept, is_cached=True)
        if self._offline and judge.version.kind != "replay":
            detail = "not in the cache, and --offline asks nobody"
            return Judgement(sample.id, version, Status.MISSING, detail=detail)
        breaker = self._breakers.setdefault(version, Breaker())
        if breaker.is_open:
            detail = "not asked: too many failures in a row"
            return Judgement(sample.id, version, Status.PROVIDER_ERROR, detail=detail)
        if not self._cap.reserve():
            return Judgement(sample.id, version, Status.BUDGET, detail="the cost cap is reached")
        judgement = await judge.grade(sample, criteria)
        self.spent += judgement.spent
        cost = judgement.spent.cost_nanousd
        self._cap.settle(0 if judge.version.kind == "replay" else cost)
        breaker.note(failed=judgement.status in _OUTAGE)
        if judgement.status is Status.OK and self._cache and judge.version.kind != "replay":
            self._cache.put(key, judgement)
        return judgement
