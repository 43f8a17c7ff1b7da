"""Several judges as one, each with the weight that its agreement with people earned.

Weak judges with equal votes make a good one worse, so without a calibration a panel is its first
member alone.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from llm_canary.judging.judgement import (
    Judge,
    Judgement,
    Order,
    Pair,
    Preference,
    Preferred,
    Spent,
    Status,
)
from llm_canary.judging.models import judge_version
from llm_canary.rubric.grades import Grade, Graded, NotGraded, Why, grade
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import AskedCriterion


class Panel:
    """A weighted vote; a tie of the weights is no verdict."""

    def __init__(
        self,
        members: Sequence[Judge],
        weights: Mapping[str, float],
        rubric: LoadedRubric,
        *,
        min_members: int = 1,
    ) -> None:
        used = {each.version.id: max(0.0, weights.get(each.version.id, 0.0)) for each in members}
        if not any(used.values()):
            used[members[0].version.id] = 1.0
        self._members = [each for each in members if used[each.version.id] > 0.0]
        self._weights = used
        self._min_members = min_members
        params = {each.version.id: round(used[each.version.id], 6) for each in self._members}
        names = "+".join(each.version.model for each in self._members)
        self.version = judge_version("panel", names, params, rubric)

    async def grade(self, sample: Sample, criteria: Sequence[AskedCriterion]) -> Judgement:
        """Return the vote on each criterion."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.grade(sample, criteria)) for each in self._members]
        given = [task.result() for task in tasks]
        spent = sum((each.spent for each in given), Spent())
        good = [each for each in given if each.status is Status.OK]
        if len(good) < self._min_members:
            worst = next(each for each in given if each.status is not Status.OK)
            detail = f"{len(good)} of {self._min_members} members graded: {worst.detail}"
            return Judgement(sample.id, self.version.id, worst.status, spent=spent, detail=detail)
        grades = {each.id: self._vote(each, good) for each in criteria}
        suspected = any(each.injection_suspected for each in good)
        return Judgement(sample.id, self.version.id, Status.OK, grades, suspected, spent)

    async def compare(self, pair: Pair, order: Order) -> Preference:
        """Return the vote about the pair in this order."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.compare(pair, order)) for each in self._members]
        given = [task.result() for task in tasks]
        spent = sum((each.spent for each in given), Spent())
        votes: dict[Preferred, float] = defaultdict(float)
        for each in given:
            if each.verdict is not None:
                votes[each.verdict] += self._weights[each.judge_id]
        counted = sum(each.verdict is not None for each in given)
        if counted < self._min_members:
            status = next(each.status for each in given if each.status is not Status.OK)
            return Preference(pair.sample.id, self.version.id, order, status, spent=spent)
        best = sorted(votes, key=lambda name: -votes[name])
        tied = len(best) > 1 and votes[best[0]] == votes[best[1]]
        winner: Preferred = "tie" if tied else best[0]
        return Preference(pair.sample.id, self.version.id, order, Status.OK, winner, spent)

    def _vote(self, criterion: AskedCriterion, given: Sequence[Judgement]) -> Graded:
        votes: dict[str, float] = defaultdict(float)
        for judgement in given:
            found = judgement.grades.get(criterion.id)
            if isinstance(found, Grade):
                votes[found.label] += self._weights[judgement.judge_id]
        if not votes:
            return NotGraded(Why.CANNOT_ASSESS, "no member could")
        best = sorted(votes, key=lambda label: -votes[label])
        if len(best) > 1 and votes[best[0]] == votes[best[1]]:
            return NotGraded(Why.CANNOT_ASSESS, "the members are divided")
        made = grade(criterion, best[0])
        return Grade(made.label, made.value, made.passed, votes[best[0]] / sum(votes.values()))
