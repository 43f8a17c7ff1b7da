"""Workers that grade: they die, their judge is down, the money is spent, and nothing is lost or judged twice."""

from __future__ import annotations

import gc
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock, utc
from llm_canary.judging.build import Judges
from llm_canary.judging.grader import Escalations
from llm_canary.judging.judgement import Judgement, JudgeVersion, Spent, Status
from llm_canary.judging.worker import JudgeWorker, WorkerTerms, _Kit
from llm_canary.rubric.grades import grade
from llm_canary.rubric.keep import keep
from llm_canary.rubric.load import parse_rubric
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import AskedCriterion
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories.judging_days import days
from llm_canary.storage.repositories.rubrics import keep_rubric
from llm_canary.storage.repositories.sample_facts import ArmSamples, sample_facts
from llm_canary.storage.repositories.samples import MAX_ATTEMPTS, NewSample, add_samples
from tests.factories import make_inference
from tests.support.graded_world import RUBRIC

KIND = parse_rubric(RUBRIC)
TEXT = keep(KIND)
PROGRAMS = keep(
    parse_rubric(
        """\
schema: llm_canary.rubric/v1
id: short
version: 1
criteria:
  - {id: short, kind: check, check: {type: length, unit: words, min: 1, max: 40}}
"""
    )
)
CLOCK_S = 1_800_000_000.0


class Killed(BaseException):
    """What a SIGKILL is for the code: nothing runs after it."""


@dataclass
class OddJudge:
    """Grades everything as met, unless told to fail, and counts whom it was asked about."""

    status: Status = Status.OK
    fatal: frozenset[str] = frozenset()
    kills: random.Random | None = None
    may_kill: Callable[[], bool] = lambda: True
    cost_nanousd: int | None = 1_000
    has_killed: set[str] = field(default_factory=set)  # twice it would be the sample's fault
    asked: Counter[str] = field(default_factory=Counter)
    version: JudgeVersion = field(
        default_factory=lambda: JudgeVersion("odd", "chat", "odd", {}, "", KIND.content_hash)
    )

    async def grade(self, sample: Sample, criteria: Sequence[AskedCriterion]) -> Judgement:
        self.asked[sample.id] += 1
        is_unlucky = self.kills is not None and self.kills.random() < 0.05
        is_unlucky = is_unlucky and sample.id not in self.has_killed and self.may_kill()
        if sample.id in self.fatal or is_unlucky:
            self.has_killed.add(sample.id)
            raise Killed
        status = self.status
        grades = {each.id: grade(each, "met") for each in criteria} if status is Status.OK else {}
        spent = Spent(1, 100, 10, self.cost_nanousd, 0.1)
        return Judgement(sample.id, "odd", status, grades, spent=spent)


def fill(
    engine: Engine, count: int, *, by_programs: bool = False, window: timedelta = timedelta(days=1)
) -> list[str]:
    """Store answers and draw all of them, for a judge or for programs."""
    kept = PROGRAMS if by_programs else TEXT
    rubric_id = "short" if by_programs else "helpful"
    request = json.dumps([{"role": "user", "content": "Where is it?"}])
    events = [make_inference(request_text=request, response_text="In Graz.") for _ in range(count)]
    SqlBatchSink(engine).write(events)
    now = utc(CLOCK_S)
    with write_session(engine) as session:
        keep_rubric(
            session,
            text_id=kept.id,
            rubric_id=rubric_id,
            version=1,
            content_hash=KIND.content_hash,
            text=kept.text,
            at=now,
        )
        add_samples(
            session,
            [
                NewSample(
                    each.id, rubric_id, kept.id, "r", "canary", "all", "probability", 1.0, 1.0,
                    now + window,
                )
                for each in events
            ],
            now,
        )  # fmt: skip
    return [each.id for each in events]


def worker_of(
    engine: Engine, judge: OddJudge, clock: ManualClock, *, limit_nanousd: int | None = None
) -> JudgeWorker:
    terms = WorkerTerms(8, limit_nanousd)
    made = JudgeWorker(engine, clock, lambda: terms, lease_s=60.0)
    made._kits[TEXT.id] = _Kit(KIND, Judges(judge), judge.version.id, Escalations())
    return made


def counts(engine: Engine, rubric_id: str = "helpful") -> ArmSamples:
    with read_session(engine) as session:
        return sample_facts(session, "r", rubric_id, utc(CLOCK_S)).arms["canary"]


def judgements(engine: Engine) -> list[tuple[str, int]]:
    query = "SELECT sample_id, count(*) FROM judgement GROUP BY sample_id"
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def drain(worker: JudgeWorker) -> None:
    while worker.step():
        pass


def test_twenty_workers_of_which_some_die_judge_each_answer_once(engine: Engine) -> None:
    fill(engine, 200)
    clock, lock, deaths = ManualClock(CLOCK_S), threading.Lock(), Counter()
    killers: set[str] = set()
    last = text("SELECT count(*) FROM sample WHERE state = 'leased' AND attempts >= :most")

    def may_kill() -> bool:
        """Whoever was in three batches that died is taken for the cause, rightly or not."""
        with engine.connect() as connection:
            return not connection.execute(last, {"most": MAX_ATTEMPTS}).scalar_one()

    def live(seed: int) -> None:
        draw = random.Random(seed)
        for life in range(500):
            judge = OddJudge(
                kills=draw if life < 3 else None, may_kill=may_kill, has_killed=killers
            )
            worker = worker_of(engine, judge, clock)
            try:
                for _ in range(50):
                    worker.step()
                    if counts(engine).waiting == 0:
                        return
                    with lock:
                        clock.advance(0.1)
            except Killed:
                deaths[seed] += 1
            finally:
                worker.close()

    threads = [threading.Thread(target=live, args=(seed,)) for seed in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    gc.collect()  # what the dead have left is told here, and not inside of another import

    assert not any(thread.is_alive() for thread in threads)
    assert sum(deaths.values()) >= 5
    assert counts(engine) == ArmSamples(judged=200, graded=200)
    assert sorted(count for _, count in judgements(engine)) == [1] * 200


def test_a_judge_that_is_down_for_an_hour_costs_nothing_and_the_queue_drains(
    engine: Engine,
) -> None:
    fill(engine, 60)
    clock, judge = ManualClock(CLOCK_S), OddJudge(Status.PROVIDER_ERROR, cost_nanousd=None)
    worker = worker_of(engine, judge, clock)
    for _ in range(720):
        worker.step()
        clock.advance(5.0)
    during = counts(engine)
    asked_while_down = sum(judge.asked.values())
    judge.status = Status.OK
    clock.advance(400.0)
    drain(worker)
    worker.close()

    assert during == ArmSamples(waiting=60)  # none failed: it was no fault of theirs
    assert asked_while_down < 400  # it backs off
    assert counts(engine) == ArmSamples(judged=60, graded=60)
    assert sorted(count for _, count in judgements(engine)) == [1] * 60


def test_a_judge_that_is_down_stops_no_other_rubric_and_its_answers_are_not_to_blame(
    engine: Engine,
) -> None:
    fill(engine, 40)
    clock, judge = ManualClock(CLOCK_S), OddJudge(Status.PROVIDER_ERROR, cost_nanousd=None)
    worker = worker_of(engine, judge, clock)
    drain(worker)
    for _ in range(20):
        fill(engine, 10, by_programs=True)
        drain(worker)
        clock.advance(60.0)
    during = counts(engine)
    judge.status = Status.OK
    clock.advance(400.0)
    drain(worker)
    worker.close()

    assert during == ArmSamples(waiting=40)
    assert counts(engine, "short") == ArmSamples(judged=200, graded=200)
    assert counts(engine) == ArmSamples(judged=40, graded=40)


def test_money_that_is_spent_stops_no_rubric_of_programs(engine: Engine) -> None:
    fill(engine, 40)
    fill(engine, 30, by_programs=True)
    clock = ManualClock(CLOCK_S)
    worker = worker_of(engine, OddJudge(cost_nanousd=1_000), clock, limit_nanousd=5_000)
    for _ in range(20):
        drain(worker)
        clock.advance(60.0)
    fill(engine, 30, by_programs=True)
    drain(worker)
    worker.close()

    assert counts(engine).judged <= 5
    assert counts(engine).waiting == 40 - counts(engine).judged
    assert counts(engine, "short") == ArmSamples(judged=60, graded=60)


def test_one_answer_that_the_judge_always_fails_on_does_not_stop_the_others(engine: Engine) -> None:
    names = fill(engine, 30)
    clock, judge = ManualClock(CLOCK_S), OddJudge()
    sound = judge.grade

    async def grade_all_but_one(sample: Sample, criteria: Sequence[AskedCriterion]) -> Judgement:
        if sample.id == names[3]:
            judge.asked[sample.id] += 1
            return Judgement(sample.id, "odd", Status.PROVIDER_ERROR, detail="400")
        return await sound(sample, criteria)

    judge.grade = grade_all_but_one  # type: ignore[method-assign]
    worker = worker_of(engine, judge, clock)
    for _ in range(20):
        worker.step()
        clock.advance(400.0)
    meanwhile = counts(engine)
    clock.advance(86_400.0)
    worker.step()
    worker.close()

    assert meanwhile == ArmSamples(waiting=1, judged=29, graded=29)
    assert counts(engine) == ArmSamples(judged=29, shed=1, graded=29)
    assert judge.asked[names[3]] <= 9


def test_one_answer_that_fails_alone_is_asked_ever_more_rarely_and_judged_by_others(
    engine: Engine,
) -> None:
    """While nothing else is graded the judge may be down; once others are, the answer is at fault."""
    names = fill(engine, 2, window=timedelta(days=2))
    clock, judge = ManualClock(CLOCK_S), OddJudge()
    sound = judge.grade

    async def grade_all_but_one(sample: Sample, criteria: Sequence[AskedCriterion]) -> Judgement:
        if sample.id == names[0]:
            judge.asked[sample.id] += 1
            return Judgement(sample.id, "odd", Status.PROVIDER_ERROR, detail="400")
        return await sound(sample, criteria)

    judge.grade = grade_all_but_one  # type: ignore[method-assign]
    worker = worker_of(engine, judge, clock)
    for _ in range(12 * 24):
        worker.step()
        clock.advance(300.0)
    alone = judge.asked[names[0]], counts(engine)
    for _ in range(3):
        fill(engine, 1, window=timedelta(days=2))
        for _ in range(24):
            worker.step()
            clock.advance(300.0)
    worker.close()

    assert alone[0] <= 2 + 5 + 24
    assert alone[1] == ArmSamples(waiting=1, judged=1, graded=1)
    assert counts(engine) == ArmSamples(judged=4, failed=1, graded=4)


def test_an_answer_that_kills_its_workers_is_given_up(engine: Engine) -> None:
    names = fill(engine, 20)
    clock = ManualClock(CLOCK_S)
    judge = OddJudge(fatal=frozenset({names[7]}))
    for _ in range(30):
        worker = worker_of(engine, judge, clock)
        try:
            worker.step()
        except Killed:
            pass
        finally:
            worker.close()
        clock.advance(61.0)

    found = counts(engine)
    assert (found.waiting, found.judged + found.failed) == (0, 20)
    assert judge.asked[names[7]] == 3


def test_the_days_money_is_held_and_the_rest_waits_for_tomorrow(engine: Engine) -> None:
    fill(engine, 100, window=timedelta(days=3))
    clock, judge = ManualClock(CLOCK_S), OddJudge(cost_nanousd=1_000)
    workers = [worker_of(engine, judge, clock, limit_nanousd=40_000) for _ in range(2)]
    for _ in range(200):
        for worker in workers:
            worker.step()
        clock.advance(60.0)
    today = counts(engine)
    with read_session(engine) as session:
        [day] = days(session)
    clock.advance(86_400.0)
    for _ in range(200):
        for worker in workers:
            worker.step()
        clock.advance(60.0)
    for worker in workers:
        worker.close()

    assert day.spent_nanousd <= 40_000
    assert 30 <= today.judged <= 40
    assert today.waiting == 100 - today.judged
    assert counts(engine).judged > today.judged + 25
    assert sorted({count for _, count in judgements(engine)}) == [1]


def test_a_rubric_that_cannot_be_read_fails_its_samples_and_says_why(engine: Engine) -> None:
    fill(engine, 3)
    with engine.begin() as connection:
        connection.execute(text("UPDATE rubric_text SET text = '{}'"))
    worker = JudgeWorker(engine, ManualClock(CLOCK_S))
    drain(worker)
    worker.close()

    assert counts(engine) == ArmSamples(failed=3)
    with engine.connect() as connection:
        details = set(connection.execute(text("SELECT detail FROM judgement")).scalars())
    assert details == {"the kept rubric cannot be read: KeyError"}


@pytest.mark.parametrize("request_text", ["not json", None])
def test_a_request_that_cannot_be_read_any_more_fails_its_sample(
    engine: Engine, request_text: str | None
) -> None:
    [name] = fill(engine, 1)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE inference SET request_text = :t WHERE id = :i"),
            {"t": request_text, "i": name},
        )
    worker = worker_of(engine, OddJudge(), ManualClock(CLOCK_S))
    drain(worker)
    worker.close()

    assert counts(engine) == ArmSamples(failed=1)


def test_a_recording_or_secret_that_is_not_here_yet_is_waited_for(engine: Engine) -> None:
    """The kept rubric names verdicts.jsonl, which is not where this worker runs."""
    fill(engine, 5)
    clock = ManualClock(CLOCK_S)
    worker = JudgeWorker(engine, clock)
    for _ in range(20):
        worker.step()
        clock.advance(60.0)
    waiting = counts(engine)
    judge = OddJudge()
    worker._kits[TEXT.id] = _Kit(KIND, Judges(judge), judge.version.id, Escalations())
    clock.advance(400.0)
    drain(worker)
    worker.close()

    assert waiting == ArmSamples(waiting=5)
    assert counts(engine) == ArmSamples(judged=5, graded=5)
