"""A rollout on SQL whose answers are graded: by a worker with a recorded judge, and by simulated reviewers who know the truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from llm_canary.judging.live_trust import compare_judges
from llm_canary.judging.worker import JudgeWorker, WorkerTerms
from llm_canary.review.queue import ReviewQueue, Submission
from llm_canary.rollout.views import GradingView
from llm_canary.routing.table import Role
from tests.support.rollout_world import Luck, World

CONFIG = """
version: 1
upstreams:
  sim: {kind: openai, base_url: "http://127.0.0.1:9"}
judging: {samples_per_day: 10000000, reviews: 0.25, double_reviews: 0.1, window: 30s}
routes:
  bot:
    control: {upstream: sim, model: good}
    rubrics: [helpful]
    content: {store: redacted}
rollouts:
  next: {route: bot, canary: {upstream: sim, model: new}, plan: quick}
plans:
  quick:
    full_cycle: 0s
    warmup: 0s
    settle: 1s
    stages:
      - {name: initial, share: 20%, min: 60s, max: 600s, min_units: 40}
      - {name: broad, share: 50%, min: 60s, max: 600s, min_units: 40}
      - {name: full, holdback: 1%}
      - {name: standby, for: 120s}
    gates:
      error_rate: {kind: guardrail, margin: 20pp}
      rubric: {kind: goal, margin: 0.1}
"""
RUBRIC = """
schema: llm_canary.rubric/v1
id: helpful
version: 1
criteria:
  - id: helps
    kind: binary
    requirement: "The answer says where the parcel is."
    anchors: {met: "It names a place or a day.", unmet: "It does not."}
judges:
  primary: {backend: replay, verdicts: verdicts.jsonl}
trust: {min_labels: 100}
"""


class Answer(NamedTuple):
    """A text, whether it is right, and what the recorded judge says (None: it fails on it)."""

    text: str
    is_right: bool
    judged: bool | None
    weight: float


@dataclass
class GradedWorld(World):
    """`answers` are what each arm says, with their weights."""

    answers: dict[Role, list[Answer]] = field(default_factory=dict)
    rubric: str = RUBRIC
    reviewers: int = 2
    skips: float = 0.0  # part of what they get
    judge_only: bool = False  # take the judge's word, which the product never does
    keeps_text: bool = True
    worker_terms: WorkerTerms = field(default_factory=WorkerTerms)

    def __post_init__(self) -> None:
        folder = self.directory / "rubrics"
        folder.mkdir(exist_ok=True)
        (folder / "helpful.yaml").write_text(self.rubric)
        write_verdicts(folder / "verdicts.jsonl", self.answers)
        super().__post_init__()
        if self.judge_only:
            spec = self.config.rollouts["next"]
            terms = msgspec.structs.replace(
                spec.plan.graded["helpful"], needs_judge=False, review_rate=0.0
            )
            plan = msgspec.structs.replace(spec.plan, graded={"helpful": terms})
            self.config.rollouts["next"] = msgspec.structs.replace(spec, plan=plan)
        assert self.engine is not None
        self.worker = JudgeWorker(self.engine, self.clock, lambda: self.worker_terms)
        self.queue = ReviewQueue(self.engine, self.clock, gold_rate=0.0)
        self.rights = {each.text: each.is_right for own in self.answers.values() for each in own}

    def routed(self, user: str, at_s: float, luck: Luck) -> dict[str, Any]:
        values = super().routed(user, at_s, luck)
        if not self.keeps_text:
            return values
        own = self.answers[Role(values["served"])]
        weights = [each.weight for each in own]
        total = sum(weights)
        place, index = self.rng.random() * total, 0
        while place >= weights[index]:
            place -= weights[index]
            index += 1
        return values | {
            "content_store": "redacted",
            "request_text": json.dumps([{"role": "user", "content": f"Where is it? {user}"}]),
            "response_text": own[index].text,
        }

    def __enter__(self) -> GradedWorld:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.engine is not None
        self.worker.close()
        self.engine.dispose()

    def judge(self) -> None:
        while self.worker.step():
            pass

    def review(self) -> int:
        """Let each reviewer grade what they get, by the truth."""
        count = 0
        for number in range(self.reviewers):
            while (item := self.queue.claim("helpful", f"reviewer-{number}")) is not None:
                if self.rng.random() < self.skips:
                    self.queue.skip(item.sample_id, f"reviewer-{number}", item.token, "later")
                    continue
                right = self.rights[item.sample.response]
                given = Submission({"helps": "met" if right else "unmet"})
                self.queue.submit(item.sample_id, f"reviewer-{number}", item.token, given)
                count += 1
        return count

    def live(
        self,
        seconds: float,
        per_second: int,
        *,
        until: Callable[[], bool] = lambda: False,
        people: bool = True,
    ) -> None:
        """Let traffic, judge, people and controller go on together."""
        assert self.engine is not None
        for _ in range(int(seconds / 10.0)):
            self.step(per_second * 10, 10.0, tick=False)
            self.judge()
            if people:
                self.review()
            compare_judges(self.engine, self.clock)
            self.score()
            self.controller.tick()
            if until():
                return


def accounted_for(found: GradingView, arm: int) -> int:
    """Return of how many answers of an arm it is said where they are."""
    places = (found.without_text, found.not_sampled, found.waiting, found.judged, found.failed)
    return sum(each[arm] for each in (*places, found.shed))


def write_verdicts(path: Any, answers: dict[Role, list[Answer]]) -> None:
    rows = []
    for own in answers.values():
        for each in own:
            row: dict[str, Any] = {
                "id": "*",
                "response_sha256": hashlib.sha256(each.text.encode()).hexdigest(),
            }
            if each.judged is None:
                row |= {"labels": {}, "status": "parse_error"}
            else:
                row["labels"] = {"helps": "met" if each.judged else "unmet"}
            rows.append(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
