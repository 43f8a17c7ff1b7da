"""The one number per drawn answer: the judge's prediction, corrected by the people who were asked.

y = g(f) + (xi / q) (h - g(f)): f the judge's score, g the regression of people's scores on the
judge's, frozen from earlier labels, xi whether people have graded it, h their score, q the chance
of that (STATISTICS A.5). A judge that is wrong, also one that is wrong about one arm only, costs
precision and never validity.

q is the chance to be asked times the part of those asked in the same period and arm who have
answered: which ones answered is taken to be chance within a period of an arm, and only there. Where
hardly anybody has, the period's answers of both arms have no number: the judge would speak alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from typing import NamedTuple

from sqlmodel import Session

from llm_canary.clock import utc
from llm_canary.decision.graded import MIN_ARM_LABELS
from llm_canary.decision.plan import Grading
from llm_canary.metrics.graded import human_metric, judge_metric, rubric_metric
from llm_canary.routing.table import Role
from llm_canary.sampling import Replies, periods, step_end_s, step_s
from llm_canary.stats.aipw import MIN_PROBABILITY, Regression, fit, pseudo_outcome
from llm_canary.storage.repositories.sample_facts import (
    ArmSamples,
    label_moments,
    replies_between,
    sample_facts,
)
from llm_canary.storage.repositories.samples import Graded, graded
from llm_canary.storage.repositories.scoring import Task

_PRIOR_SCORE = 0.75
_MIN_LATER_S = 1.0


class Scores(NamedTuple):
    """Outcomes by inference, and the tasks that have to wait for people until `again_s`."""

    outcomes: dict[str, dict[str, float]]
    postponed: set[Task]
    again_s: float


class RubricScores:
    """The numbers of one rubric in one rollout, for the tasks of one batch."""

    def __init__(
        self,
        session: Session,
        rollout_id: str,
        rubric: str,
        terms: Grading,
        replies: list[Replies],
    ) -> None:
        self._session = session
        self._rollout_id = rollout_id
        self._rubric = rubric
        self._terms = terms
        self._replies = replies  # those that are complete by now are added
        self._regressions: dict[tuple[str, float], Regression] = {}

    def of(self, tasks: list[Task], now_s: float) -> Scores:
        """Return the outcomes of the tasks.

        Where a judge grades, nothing is scored before people have graded 30 answers of each arm,
        nor before the period is complete in which the answer's window closed.
        """
        length_s = step_s(self._terms.window_s)
        again_s = max(step_end_s(now_s, length_s), now_s + _MIN_LATER_S)
        if self._terms.needs_judge:
            self._complete(step_end_s(now_s, length_s) - length_s, length_s)
            if self._has_few_labels(now_s):
                return Scores({}, set(tasks), again_s)
        found = graded(self._session, {task.inference_id for task in tasks}, self._rubric)
        outcomes: dict[str, dict[str, float]] = defaultdict(dict)
        postponed = set()
        for task in tasks:
            known = found.get(task.inference_id)
            if known is None:
                continue
            if not self._terms.needs_judge:
                outcomes[task.inference_id] = self._by_programs(known)
            elif (period := self._period_of(known.closes_at.timestamp())) is None:
                postponed.add(task)
            else:
                outcomes[task.inference_id] = self._outcomes(known, period)
        return Scores(outcomes, postponed, again_s)

    def _complete(self, until_s: float, length_s: float) -> None:
        since_s = self._replies[-1].until_s if self._replies else 0.0
        closed = replies_between(
            self._session, self._rollout_id, self._rubric, utc(since_s), utc(until_s)
        )
        self._replies += periods(
            ((at.timestamp(), is_canary, is_answered) for at, is_canary, is_answered in closed),
            length_s,
        )

    def _has_few_labels(self, now_s: float) -> bool:
        arms = sample_facts(self._session, self._rollout_id, self._rubric, utc(now_s)).arms
        return any(
            arms.get(arm, ArmSamples()).answered < MIN_ARM_LABELS
            for arm in (Role.CONTROL, Role.CANARY)
        )

    def _period_of(self, closes_s: float) -> Replies | None:
        place = bisect_right(self._replies, closes_s, key=lambda each: each.until_s)
        return self._replies[place] if place < len(self._replies) else None

    def _by_programs(self, found: Graded) -> dict[str, float]:
        score = found.judge_score
        return {} if score is None else {rubric_metric(self._rubric): score}

    def _outcomes(self, found: Graded, period: Replies) -> dict[str, float]:
        rates = period.rates
        if found.judge_score is None or rates is None:
            return {}
        # A chance that is cut would leave a part of the judge's error in: rather no number. Of
        # neither arm, because a period that counts in one arm only would be taken for a difference.
        if found.review_rate * min(rates) < MIN_PROBABILITY:
            return {}
        score = pseudo_outcome(
            self._regression(found.judge_id or "", period.from_s),
            judge=found.judge_score,
            human=found.human_score,
            probability=found.review_rate * rates[found.arm == Role.CANARY],
        )
        outcomes = {
            rubric_metric(self._rubric): score,
            judge_metric(self._rubric): found.judge_score,
        }
        if found.human_score is not None:
            outcomes[human_metric(self._rubric)] = found.human_score
        return outcomes

    def _regression(self, judge_id: str, before_s: float) -> Regression:
        key = (judge_id, before_s)
        if key not in self._regressions:
            moments = label_moments(self._session, judge_id, utc(before_s))
            self._regressions[key] = fit(moments, centre=_PRIOR_SCORE)
        return self._regressions[key]
