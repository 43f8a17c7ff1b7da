"""The one number per drawn answer: the judge's prediction, corrected by the people who were asked.

y = g(f) + (xi / q) (h - g(f)): f the judge's score, g the regression of people's scores on the
judge's, frozen from earlier labels, xi whether people have graded it, h their score, q the chance
of that (STATISTICS A.5). A judge that is wrong, also one that is wrong about one arm only, costs
precision and never validity.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session

from llm_canary.clock import utc
from llm_canary.decision.graded import MIN_ROLLOUT_LABELS
from llm_canary.decision.plan import Grading
from llm_canary.metrics.graded import human_metric, judge_metric, rubric_metric
from llm_canary.stats.aipw import MIN_PROBABILITY, Regression, fit, pseudo_outcome
from llm_canary.storage.repositories.sample_facts import label_moments, sample_facts
from llm_canary.storage.repositories.samples import Graded, graded
from llm_canary.storage.repositories.scoring import Task

_PRIOR_SCORE = 0.75
_LATER_PART, _MIN_LATER_S, _MAX_LATER_S = 20.0, 1.0, 900.0


class Scores(NamedTuple):
    """Outcomes by inference, and the tasks that have to wait for human labels."""

    outcomes: dict[str, dict[str, float]]
    postponed: list[Task]


class RubricScores:
    """The numbers of one rubric in one rollout, for the tasks of one batch."""

    def __init__(
        self, session: Session, rollout_id: str, rubric: str, terms: Grading, now_s: float
    ) -> None:
        self._session = session
        self._rollout_id = rollout_id
        self._rubric = rubric
        self._terms = terms
        self._now_s = now_s
        self._regressions: dict[str, Regression] = {}

    def of(self, tasks: list[Task], labels_before_s: float) -> Scores:
        """Return the outcomes of the tasks; `labels_before_s` begins the present bucket.

        Where a judge grades, nothing is scored before people have graded 30 answers of the rollout:
        until then a biased judge would speak alone.
        """
        reply_rate = 1.0
        if self._terms.needs_judge:
            facts = sample_facts(self._session, self._rollout_id, self._rubric, utc(self._now_s))
            asked = sum(each.asked for each in facts.arms.values())
            labelled = sum(each.answered for each in facts.arms.values())
            if labelled < MIN_ROLLOUT_LABELS:
                return Scores({}, [self._later(task) for task in tasks])
            reply_rate = labelled / asked
        ids = {task.inference_id for task in tasks}
        before = utc(labels_before_s)
        outcomes: dict[str, dict[str, float]] = defaultdict(dict)
        for inference_id, found in graded(self._session, ids, self._rubric).items():
            outcomes[inference_id] = self._outcomes(found, reply_rate, before)
        return Scores(outcomes, [])

    def _later(self, task: Task) -> Task:
        wait_s = min(max(self._terms.window_s / _LATER_PART, _MIN_LATER_S), _MAX_LATER_S)
        return Task(task.inference_id, task.what, task.rollout_id, self._now_s + wait_s)

    def _outcomes(self, found: Graded, reply_rate: float, before: datetime) -> dict[str, float]:
        if found.judge_score is None:
            return {}
        name = rubric_metric(self._rubric)
        if not self._terms.needs_judge:
            return {name: found.judge_score}
        score = pseudo_outcome(
            self._regression(found.judge_id or "", before),
            judge=found.judge_score,
            human=found.human_score,
            probability=max(found.review_rate * reply_rate, MIN_PROBABILITY),
        )
        outcomes = {name: score, judge_metric(self._rubric): found.judge_score}
        if found.human_score is not None:
            outcomes[human_metric(self._rubric)] = found.human_score
        return outcomes

    def _regression(self, judge_id: str, before: datetime) -> Regression:
        if judge_id not in self._regressions:
            moments = label_moments(self._session, judge_id, before)
            self._regressions[judge_id] = fit(moments, centre=_PRIOR_SCORE)
        return self._regressions[judge_id]
