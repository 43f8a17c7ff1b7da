"""Which answer people are given next: what can still count, by lot, and what cannot at the end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock, utc
from llm_canary.judging.live_trust import compare_judges
from llm_canary.review.queue import ReviewQueue, Submission
from llm_canary.routing.table import Role
from llm_canary.storage.models.grading import Sample
from llm_canary.storage.models.rollouts import Rollout
from tests.integration.test_judge_worker import CLOCK_S
from tests.integration.test_review_queue import MET, ask, queue_of
from tests.support.graded_world import CONFIG, Answer, GradedWorld

NOW = utc(CLOCK_S)
LEASE_S = 900.0


def change(engine: Engine, sample_id: str, **values: Any) -> str:
    with engine.begin() as connection:
        connection.execute(update(Sample).where(Sample.id == sample_id).values(**values))
    return sample_id


def end_rollout(engine: Engine, name: str) -> None:
    row = {
        "id": name, "name": name, "attempt": 1, "build_attempt": 1, "route": "bot",
        "state": "rolled_back", "share": 0.0, "salt": "s", "seq": 1, "spec": {}, "segments": [],
        "progress": {}, "created_at": NOW, "ended_at": NOW, "hold_codes": [], "reminders": 0,
    }  # fmt: skip
    with engine.begin() as connection:
        connection.execute(insert(Rollout), [row])


def given(queue: ReviewQueue, reviewer: str = "mara") -> list[str]:
    """Let the reviewer grade all they get, and return it in this order."""
    found = []
    while (item := queue.claim("helpful", reviewer)) is not None:
        found.append(item.sample_id)
        queue.submit(item.sample_id, reviewer, item.token, MET)
    return found


def test_what_counts_for_a_gate_is_given_before_what_does_not(engine: Engine) -> None:
    names = ask(engine, 8)
    end_rollout(engine, "over")
    ended = change(engine, names[0], rollout_id="over")
    longer_late = change(engine, names[1], closes_at=NOW - timedelta(hours=9))
    late = change(engine, names[2], closes_at=NOW)
    targeted = change(engine, names[3], review_stream="targeted")
    closing = change(engine, names[4], closes_at=NOW + timedelta(seconds=LEASE_S / 2))
    doubted = change(engine, names[5], review_stream="uncertain")
    queue = queue_of(engine, lease_s=LEASE_S)
    exported = [name for name, _ in queue.open_items("helpful", 10)]
    found = given(queue)

    for order in (exported, found):
        assert set(order[:2]) == set(names[6:])
        assert order[2] == closing
        assert set(order[3:5]) == {targeted, doubted}
        assert order[5:] == [ended, late, longer_late]


def test_a_second_review_is_asked_for_before_a_new_answer(engine: Engine) -> None:
    names = ask(engine, 40, wanted=2)
    queue = queue_of(engine)
    first = queue.claim("helpful", "ida")
    assert first is not None
    last = max(set(names) - {first.sample_id}, key=lambda name: name[24:])
    queue.submit(first.sample_id, "ida", first.token, MET)
    change(engine, last, reviewed_at=NOW)

    assert given(queue, "jon")[:2] == [first.sample_id, last]


def test_what_the_judge_doubts_comes_more_often_than_what_is_worth_a_look(engine: Engine) -> None:
    names = ask(engine, 200)
    for name in names[:100]:
        change(engine, name, review_stream="targeted")
    for name in names[100:]:
        change(engine, name, review_stream="uncertain")
    clock = ManualClock(CLOCK_S)
    queue, doubted = queue_of(engine, clock), 0
    for _ in range(100):
        item = queue.claim("helpful", "mara")
        assert item is not None
        doubted += item.sample_id in names[100:]
        queue.submit(item.sample_id, "mara", item.token, MET)
        clock.advance(10.0)

    assert doubted == pytest.approx(25 / 35 * 100, abs=15)


def test_a_lot_decides_and_not_when_an_answer_was_drawn(engine: Engine) -> None:
    names = ask(engine, 60)
    found = given(queue_of(engine))

    assert found == sorted(names, key=lambda name: name[24:31])
    assert found not in (sorted(names), sorted(names, reverse=True))


def test_people_who_can_grade_two_thirds_do_so_in_time_and_the_rollout_is_decided(
    tmp_path: Path,
) -> None:
    """About six answers are asked about in ten seconds, and four are graded."""
    made = GradedWorld(
        tmp_path,
        CONFIG.replace("samples_per_day: 10000000", "samples_per_day: 86400")
        .replace("double_reviews: 0.1", "double_reviews: 0")
        .replace("margin: 0.1}", "margin: 0.2}"),
        answers={arm: said(arm) for arm in (Role.CONTROL, Role.CANARY)},
        units=100_000,
    )
    made.start()
    with made:
        count = 0
        for _ in range(120):
            made.step(300, 10.0, tick=False)
            made.judge()
            count += review_some(made, 4)
            compare_judges(made.engine, made.clock)
            made.score()
            made.controller.tick()
            if made.view.state in {"standby", "finished", "held", "rolled_back"}:
                break
        with made.engine.connect() as connection:
            asked, in_time = connection.execute(text(IN_TIME), {"now": now_of(made)}).one()

        assert made.view.state == "standby"
        assert in_time > 0.8 * count  # at full share there are fewer, and time for late ones
        assert in_time / asked == pytest.approx(2 / 3, abs=0.15)


IN_TIME = """
    SELECT sum(closes_at <= :now), sum(human_score IS NOT NULL AND reviewed_at <= closes_at)
    FROM sample WHERE review_stream = 'probability'
"""


def now_of(made: GradedWorld) -> str:
    return utc(made.clock.now_s()).replace(tzinfo=None).isoformat(" ")


def said(arm: str) -> list[Answer]:
    return [
        Answer(f"{arm}: it is in Graz.", True, True, 0.8),
        Answer(f"{arm}: no idea.", False, False, 0.2),
    ]


def review_some(made: GradedWorld, most: int) -> int:
    for count in range(most):
        item = made.queue.claim("helpful", "mara")
        if item is None:
            return count
        right = made.rights[item.sample.response]
        given = Submission({"helps": "met" if right else "unmet"})
        made.queue.submit(item.sample_id, "mara", item.token, given)
    return most
