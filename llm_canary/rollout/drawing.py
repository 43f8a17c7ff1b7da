"""Draws the answers of a running rollout that judges and people grade.

On the control side, from what the gateway has recorded, so that the gateway does nothing for it.
Whether an answer is drawn is fixed before anybody grades it, and depends on its id, the rollout's
salt and how fast answers came before.
"""

from __future__ import annotations

from typing import Any

from llm_canary.clock import utc
from llm_canary.decision.plan import Grading
from llm_canary.decision.rules import graded_by
from llm_canary.metrics.graded import rubric_metric
from llm_canary.metrics.spec import ResponseFacts
from llm_canary.metrics.state import MetricState, Rollup, SampleCounts
from llm_canary.routing.table import Role
from llm_canary.sampling import EVEN, Drawn, Pace, Stream, draw, place, rates
from llm_canary.stats.histogram import LogHistogram
from llm_canary.storage.repositories.rollouts import RolloutRecord
from llm_canary.storage.repositories.samples import NewSample
from llm_canary.storage.repositories.scoring import Task

_DAY_S = 86_400.0
_OUTLIER = 0.99  # of the control's values
_MIN_FOR_OUTLIERS = 200
_FOR_TARGETED = 0.2  # of the money, which the probability stream leaves to the other
_OUTLYING = {
    "latency_p95": "latency_ms",
    "cost_per_request": "cost_nanousd",
    "output_tokens": "completion_tokens",
}
# Outcomes that make an answer worth a look, and the value that does.
_TELLING = {"thumbs": 0.0, "task_completed": 0.0, "escalated": 1.0}


def judged_rubrics(record: RolloutRecord) -> int:
    """Return by how many rubrics judges grade the rollout's answers."""
    graded = graded_by(record.spec.plan).values()
    return sum(each.needs_judge and each.judge is not None for each in graded)


class Drawing:
    """What one batch draws; `samples` and `tasks` are stored with the batch's sums."""

    def __init__(
        self,
        record: RolloutRecord,
        rollup: Rollup,
        *,
        judgement_nanousd: float | None = None,
        sharing: int = 1,
    ) -> None:
        self._record = record
        self._rollup = rollup
        graded = graded_by(record.spec.plan)
        self._graded = {
            name: terms
            for name, terms in graded.items()
            if terms.judge is not None or not terms.needs_judge
        }
        self._judgement_nanousd = judgement_nanousd  # mean of what one has cost lately
        self._sharing = sharing  # rubrics that are judged, over all rollouts that draw
        self._outlying: dict[str, float | None] = {}
        self.room = min((each.max_waiting for each in self._graded.values()), default=0)
        self.samples: list[NewSample] = []
        self.tasks: list[Task] = []

    def note(self, row: Any, facts: ResponseFacts) -> dict[str, float]:  # noqa: ANN401 - a SQL row
        """Draw, or not, a response that has just been scored.

        Return, by rubric, the chance that it had.
        """
        chances: dict[str, float] = {}
        if facts.terminal != "completed":
            return chances
        for rubric, terms in self._graded.items():
            counts = self._rollup.totals.sampling.setdefault(rubric, SampleCounts())
            canary = int(row.assigned == Role.CANARY)
            at_s = row.at.timestamp()
            chance = counts.pace.chance(self._wanted(terms) / _DAY_S, row.share, at_s)
            counts.pace.note(at_s)
            counts.eligible[canary] += 1
            if not row.has_text:
                counts.without_text[canary] += 1
                continue
            seeks = self._seeks(terms, counts.odd, at_s) if self._is_odd(facts) else 0.0
            rate = chances[rubric] = rates(chance, row.share)[canary]
            found = draw(row.id, self._salt(rubric), rate, targeted_rate=seeks)
            if found is None:
                continue
            if found.stream is Stream.PROBABILITY:
                counts.drawn[canary] += 1
            self._add(row, rubric, terms, found)
        return chances

    def may_seek(self, outcome: str) -> bool:
        """Say whether `seek` may draw an answer for this outcome."""
        return outcome in _TELLING and any(each.targeted_rate for each in self._graded.values())

    def seek(self, row: Any, task: Task, value: float | None) -> None:  # noqa: ANN401 - a SQL row
        """Draw, or not, an answer about which a telling outcome has come, unless it is drawn.

        The task says by which chance the probability stream could have drawn it when it came.
        """
        if value is None or _TELLING.get(task.what) != value or not row.has_text:
            return
        chances = dict(task.rates)
        for rubric, terms in self._graded.items():
            if rubric not in chances:
                continue  # it was not eligible for this rubric
            odd = self._rollup.totals.sampling.setdefault(rubric, SampleCounts()).odd
            seeks = self._seeks(terms, odd, task.due_s)
            found = draw(row.id, self._salt(rubric), chances[rubric], targeted_rate=seeks)
            if found is not None and found.stream is Stream.TARGETED:
                self._add(row, rubric, terms, found)

    def _add(
        self,
        row: Any,  # noqa: ANN401
        rubric: str,
        terms: Grading,
        found: Drawn,
    ) -> None:
        stream = found.stream
        by_chance = stream is Stream.PROBABILITY
        salt = self._salt(rubric)
        asked = terms.needs_judge and place(row.id, f"{salt}/review") < (
            terms.review_rate if by_chance else 1.0
        )
        is_double = asked and place(row.id, f"{salt}/double") < terms.double_review_rate
        closes_s = row.at.timestamp() + terms.window_s
        stratum = (row.segments or {}).get(terms.stratum, "other") if terms.stratum else "all"
        self.samples.append(
            NewSample(
                inference_id=row.id,
                rubric_id=rubric,
                rubric_text_id=terms.rubric_text_id,
                rollout_id=self._record.id,
                arm=row.assigned,
                stratum=str(stratum),
                stream=stream.value,
                rate=found.rate,
                inclusion=found.inclusion,
                closes_at=utc(closes_s),
                review_stream=stream.value if asked else None,
                review_rate=terms.review_rate,
                reviews_wanted=1 + is_double if asked else 0,
            )
        )
        if by_chance:
            what = rubric_metric(rubric)
            self.tasks.append(Task(row.id, what, self._record.id, closes_s))

    def _wanted(self, terms: Grading) -> float:
        """Return the samples of each arm a day: as wished, or as the day's money pays for."""
        paid = self._paid(terms)
        if paid is None:
            return terms.samples_per_day
        part = 1.0 - _FOR_TARGETED if terms.targeted_rate else 1.0
        return min(terms.samples_per_day, part * paid / 2.0)

    def _seeks(self, terms: Grading, odd: Pace, at_s: float) -> float:
        """Return the chance of an answer that is worth a look, within the money that is left."""
        paid = self._paid(terms)
        if paid is None:
            return terms.targeted_rate
        left_per_s = (paid - 2.0 * self._wanted(terms)) / _DAY_S
        chance = odd.chance(left_per_s / 2.0, EVEN, at_s)
        odd.note(at_s)
        return min(terms.targeted_rate, chance)

    def _paid(self, terms: Grading) -> float | None:
        """Return how many judgements by the rubric its part of the day's money pays for."""
        limit, cost = terms.max_nanousd_per_day, self._judgement_nanousd
        if limit is None or not cost or not terms.needs_judge:
            return None
        return limit / (max(self._sharing, judged_rubrics(self._record)) * cost)

    def _salt(self, rubric: str) -> str:
        return f"{self._record.salt}/{rubric}"

    def _is_odd(self, facts: ResponseFacts) -> bool:
        if facts.refusal or facts.empty or facts.output_valid is False:
            return True
        for metric, name in _OUTLYING.items():
            value, limit = getattr(facts, name), self._limit(metric)
            if value is not None and limit is not None and value > limit:
                return True
        return False

    def _limit(self, metric: str) -> float | None:
        """Return the control's 99th percentile as it was before this batch."""
        if metric not in self._outlying:
            state = self._rollup.counters(metric) if self._rollup.knows(metric) else MetricState()
            histogram = LogHistogram(zeros=state.zeros[0])
            histogram.bins.update(state.bins[0])
            seen = state.zeros[0] + sum(state.bins[0].values())
            enough = seen >= _MIN_FOR_OUTLIERS
            self._outlying[metric] = histogram.quantile(_OUTLIER) if enough else None
        return self._outlying[metric]
