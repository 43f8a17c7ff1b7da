"""Simulated rollouts whose answers are real: shipped code makes the numbers of a rubric's gate.

Each answer of an arm is one of a model's answers to PandaLM's test set, with the points that people
gave it (won 1, tie 1/2, lost 0) and those of a recorded judge, whose error differs by model. As
windows close they are scored by `RubricScores`: its periods, reply rates, predictions; then by the
score process, with the centres and the interval that a gate decides on. What `RubricScores` reads
comes from SQL, or much faster from `InMemory`; a test holds the two equal.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import accumulate
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from llm_canary.clock import utc
from llm_canary.config.rollout_spec import RolloutSpec
from llm_canary.decision.plan import Grading, MetricKind
from llm_canary.decision.rules import specs_of
from llm_canary.metrics.accumulate import Response, look, mature
from llm_canary.metrics.spec import ResponseFacts
from llm_canary.metrics.state import Rollup, SampleCounts, UnitState
from llm_canary.rollout import graded as shipped
from llm_canary.rollout.scoring import settings_of, settings_of_drawn
from llm_canary.routing.table import Role, Variant
from llm_canary.sampling import EVEN, Stream, step_s
from llm_canary.stats.cuped import CrossMoments
from llm_canary.stats.mixture import interval
from llm_canary.stats.score import ScoreState, variance
from llm_canary.storage.repositories.rollouts import RolloutRecord, State
from llm_canary.storage.repositories.sample_facts import ArmSamples, SampleFacts
from llm_canary.storage.repositories.samples import Graded as Found
from llm_canary.storage.repositories.scoring import Task
from tests.support.evidence import gate, plan

DATA = Path(__file__).parents[1] / "data" / "human-labels" / "pandalm_pairwise.jsonl"
POINTS = {"A": (1.0, 0.0), "B": (0.0, 1.0), "tie": (0.5, 0.5)}
RUBRIC = "helpful"
NAME, JUDGE = f"rubric:{RUBRIC}", f"rubric:{RUBRIC}:judge"
MONDAY_S = 1_800_230_400.0  # 2027-01-18, 00:00 UTC
DAY_S = 86_400.0
WINDOW_S = DAY_S
ALPHA = 0.025  # of each end of the always-valid interval
Z = 1.959964  # of the interval at the last look

Moment = Callable[[float, bool], float]  # day of the rollout, whether of the canary -> a chance


class Graded(NamedTuple):
    """Points of a model's answers: by people and by the judge."""

    human: np.ndarray
    judge: np.ndarray


class Law(NamedTuple):
    """How a rollout's answers are graded; `replies` is by the day on which the window closes."""

    replies: Moment
    unfair: Moment = lambda _day, _canary: 0.0  # chance that the judge calls an answer lost unread
    labels: int = 100  # of people, of earlier rollouts under this judge version
    days: float = 8.0
    answers: int = 800  # drawn, of both arms together
    review_rate: float = 0.25


def always(chance: float) -> Moment:
    return lambda _day, _canary: chance


def slowing(day: float, _canary: bool) -> float:
    return max(0.9 - 0.08 * day, 0.1)


def pausing(day: float, _canary: bool) -> float:
    return 0.0 if 3.0 <= day < 6.0 else 0.8


def weekdays(day: float, _canary: bool) -> float:
    return 0.05 if int(day) % 7 >= 5 else 0.8


def by_arm(_day: float, canary: bool) -> float:
    return 0.4 if canary else 0.9


def by_arm_in_turn(day: float, canary: bool) -> float:
    return 0.9 if canary == (day >= 5.0) else 0.4


def to_the_canary(_day: float, canary: bool) -> float:
    return 0.5 * canary


def to_the_canary_later(day: float, canary: bool) -> float:
    return 0.5 * (canary and day >= 4.0)


LAWS = {
    "steady": Law(always(0.8)),
    "untuned": Law(always(0.8), labels=0),
    "slowing": Law(slowing),
    "pausing": Law(pausing),
    "weekdays": Law(weekdays),
    "by_arm": Law(by_arm),
    "by_arm_untuned": Law(by_arm, labels=0),
    "by_arm_in_turn": Law(by_arm_in_turn, to_the_canary),
    "unfair": Law(always(0.8), to_the_canary),
    "unfair_by_arm": Law(by_arm, to_the_canary),
    "unfair_later_slowing": Law(slowing, to_the_canary_later),
}


class Answer(NamedTuple):
    """One drawn answer, as it will be known in the end; what is still to come is read by nobody."""

    id: str
    canary: bool
    at_s: float
    judge: float
    human: float
    asked: bool
    reviewed_s: float | None  # None: nobody ever replies

    @property
    def closes_s(self) -> float:
        """When its window closes."""
        return self.at_s + WINDOW_S

    @property
    def in_time(self) -> bool:
        """Whether people have graded it by then."""
        return self.reviewed_s is not None and self.reviewed_s <= self.closes_s


class Seen(NamedTuple):
    """What the gate's sums came to at the end of one rollout."""

    difference: float  # the canary is worse by so much
    holds: bool  # the interval at the last look holds the truth
    judge_holds: bool  # the judge's own
    always: bool  # the always-valid interval held it at every look
    width: float
    scored: float  # part of the answers


def answers(judge: str) -> dict[str, Graded]:
    """Return the answers of each model, as people and this judge have graded them."""
    human: dict[str, list[float]] = defaultdict(list)
    judged: dict[str, list[float]] = defaultdict(list)
    for line in DATA.read_text().splitlines():
        row = json.loads(line)
        verdicts = {each["judge"]: each["verdict"] for each in row["recorded_judges"]}
        verdict = verdicts.get(judge)
        if verdict not in POINTS:
            continue
        votes = [POINTS[each["label"]] for each in row["human"]]
        for side, name in enumerate("AB"):
            model = row["models"][name]
            human[model].append(float(np.mean([vote[side] for vote in votes])))
            judged[model].append(POINTS[verdict][side])
    return {model: Graded(np.array(human[model]), np.array(judged[model])) for model in human}


def drawn(law: Law, control: Graded, canary: Graded, seed: int) -> tuple[list[Answer], ...]:
    """Return the answers of earlier rollouts that people have graded, and those of this one."""
    rng = np.random.default_rng(seed)
    before = law._replace(
        answers=law.labels, review_rate=1.0, replies=lambda _day, _canary: 1.0, days=8.0
    )
    arms = (control, canary)
    return _drawn(rng, arms, before, MONDAY_S - 30.0 * DAY_S), _drawn(rng, arms, law, MONDAY_S)


def _drawn(
    rng: np.random.Generator, arms: tuple[Graded, Graded], law: Law, began_s: float
) -> list[Answer]:
    found = []
    chances = rng.random((law.answers, 7)).tolist()
    for day, (arm, which, unfair, asked, in_time, ever, after) in zip(
        sorted((rng.random(law.answers) * law.days).tolist()), chances, strict=True
    ):
        is_canary = arm < EVEN
        own = arms[is_canary]
        k = int(which * len(own.human))
        at_s = began_s + day * DAY_S
        # Who does not reply in time replies too late, or never.
        is_in_time = in_time < law.replies(day + WINDOW_S / DAY_S, is_canary)
        is_asked = asked < law.review_rate
        replied = is_asked and (is_in_time or ever < 0.3)
        late_s = 0.0 if is_in_time else WINDOW_S
        found.append(
            Answer(
                id=str(len(found)),
                canary=is_canary,
                at_s=at_s,
                judge=0.0 if unfair < law.unfair(day, is_canary) else float(own.judge[k]),
                human=float(own.human[k]),
                asked=is_asked,
                reviewed_s=at_s + late_s + after * WINDOW_S if replied else None,
            )
        )
    return found


class InMemory:
    """Answers what `RubricScores` asks SQL, of one rubric, judge version and rollout."""

    def __init__(self, earlier: Sequence[Answer], own: Sequence[Answer], law: Law) -> None:
        self._found = {each.id: _found(each, law) for each in own}
        asked = [each for each in own if each.asked]
        self._closes_s = [each.closes_s for each in asked]
        self._replies = [(utc(each.closes_s), each.canary, each.in_time) for each in asked]
        self._answered_s = {
            arm: [each.closes_s for each in asked if each.in_time and each.canary == is_canary]
            for is_canary, arm in enumerate((Role.CONTROL, Role.CANARY))
        }
        labelled = sorted(
            (max(each.closes_s, each.reviewed_s), each.judge, each.human)
            for each in (*earlier, *asked)
            if each.reviewed_s is not None
        )
        self._labelled_s = [each[0] for each in labelled]
        self._moments = list(
            accumulate(labelled, lambda sums, each: sums.plus(*each[1:]), initial=CrossMoments())
        )

    def replies_between(
        self, _rollout: str, _rubric: str, since: datetime, until: datetime
    ) -> list[tuple[datetime, bool, bool]]:
        first, end = (bisect_left(self._closes_s, at.timestamp()) for at in (since, until))
        return self._replies[first:end]

    def sample_facts(self, _rollout: str, _rubric: str, now: datetime) -> SampleFacts:
        counts = {
            arm: ArmSamples(answered=bisect_right(closes_s, now.timestamp()))
            for arm, closes_s in self._answered_s.items()
        }
        return SampleFacts(counts, {}, {}, {}, {}, {})

    def label_moments(self, _judge: str, before: datetime) -> CrossMoments:
        return self._moments[bisect_left(self._labelled_s, before.timestamp())]

    def graded(self, ids: set[str], _rubric: str) -> dict[str, Found]:
        return {each: self._found[each] for each in ids}

    @staticmethod
    @contextmanager
    def read() -> Iterator[None]:
        """Have `RubricScores` read an `InMemory` in the place of a session."""
        with ExitStack() as stack:
            for name in ("replies_between", "sample_facts", "label_moments", "graded"):
                stack.enter_context(mock.patch.object(shipped, name, getattr(InMemory, name)))
            yield


def _found(answer: Answer, law: Law) -> Found:
    return Found(
        stream=Stream.PROBABILITY,
        arm=Role.CANARY if answer.canary else Role.CONTROL,
        judge_id="j",
        judge_score=answer.judge,
        human_score=answer.human if answer.in_time else None,
        review_rate=law.review_rate,
        closes_at=utc(answer.closes_s),
    )


class Rollout:
    """One rollout, lived through quarter of a window by quarter of a window."""

    def __init__(self, law: Law, own: Sequence[Answer], session: Any) -> None:
        terms = Grading(
            rubric_text_id="t", needs_judge=True, judge="j", window_s=WINDOW_S,
            review_rate=law.review_rate, samples_per_day=law.answers / law.days / 2.0,
        )  # fmt: skip
        record = _record(terms)
        self.rollup = Rollup()
        self._specs = {
            name: spec for name, spec in specs_of(record.spec.plan).items() if name in (NAME, JUDGE)
        }
        self._settings = settings_of_drawn(settings_of(record, ()), terms.samples_per_day)
        self._by_id = {each.id: each for each in own}
        self._tasks = [Task(each.id, NAME, "r", each.closes_s) for each in own]
        self._end_s = MONDAY_S + law.days * DAY_S + WINDOW_S + DAY_S
        counts = self.rollup.totals.sampling.setdefault(RUBRIC, SampleCounts())
        self._scores = shipped.RubricScores(session, "r", RUBRIC, terms, counts.replies)

    def looks(self) -> Iterator[float]:
        """Yield the time of each look, with what was due by then in the sums."""
        now_s = MONDAY_S
        while now_s < self._end_s:
            now_s += step_s(WINDOW_S)
            self._score(now_s)
            look(self.rollup, self._specs, now_s)
            yield now_s

    def sums(self, name: str) -> ScoreState:
        """Return the sums of a metric."""
        return self.rollup.slice(name).score

    def holds(self, truth: float) -> bool:
        """Say whether the always-valid interval holds the truth now."""
        frozen = self.rollup.metric(NAME).frozen
        if frozen is None:
            return True
        low, high = interval(
            self.sums(NAME), alpha=ALPHA, v0=frozen.v0_harm, v0_upper=frozen.v0_not_worse,
            binary=False,
        )  # fmt: skip
        return (low is None or low <= truth) and (high is None or truth <= high)

    def _score(self, now_s: float) -> None:
        due = [task for task in self._tasks if task.due_s <= now_s]
        if not due:
            return
        found = self._scores.of(due, now_s)
        for task in due:
            if task in found.postponed:
                continue
            answer = self._by_id[task.inference_id]
            response = Response(
                at_s=answer.at_s,
                canary=answer.canary,
                share=EVEN,
                stage="broad",
                facts=ResponseFacts(
                    terminal="completed", outcomes=found.outcomes.get(answer.id, {})
                ),
            )
            unit = UnitState()  # each answer is of another user
            for spec in self._specs.values():
                mature(self.rollup, unit, response, spec, self._settings)
        done = set(due) - found.postponed
        self._tasks = [task for task in self._tasks if task not in done]


def _record(terms: Grading) -> RolloutRecord:
    of = plan(gate(NAME, MetricKind.GOAL, 0.1), graded={RUBRIC: terms})
    return RolloutRecord(
        id="r", name="next", attempt=1, build_attempt=1, route="bot", state=State.RUNNING,
        salt="salt", created_at_s=MONDAY_S, stage="broad", share=0.5, started_at_s=MONDAY_S,
        stage_started_at_s=MONDAY_S,
        spec=RolloutSpec(name="next", route="bot", canary=Variant("sim", "new"), plan=of),
    )  # fmt: skip


def simulated(control: Graded, canary: Graded, law: Law, seed: int) -> Seen | None:
    """Live through one rollout; None: it has no number in the end, so its gate waits."""
    earlier, own = drawn(law, control, canary, seed)
    truth = float(control.human.mean() - canary.human.mean())
    rollout = Rollout(law, own, InMemory(earlier, own, law))
    with InMemory.read():
        held = [rollout.holds(truth) for _ in rollout.looks()]
    ours, judge = rollout.sums(NAME), rollout.sums(JUDGE)
    if not ours.i:
        return None
    error = _error(ours, truth)
    return Seen(
        difference=ours.s / ours.i,
        holds=abs(ours.s / ours.i - truth) <= Z * error,
        judge_holds=abs(judge.s / judge.i - truth) <= Z * _error(judge, truth),
        always=all(held),
        width=2.0 * Z * error,
        scored=(ours.n_control + ours.n_canary) / law.answers,
    )


def _error(sums: ScoreState, truth: float) -> float:
    return sqrt(variance(sums, truth, noninferiority=False, binary=False)) / sums.i
