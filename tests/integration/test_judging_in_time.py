"""What judges are paid for can be scored: rollouts share the day's money, and what is late is judged last, if at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import text

from llm_canary.clock import utc
from llm_canary.routing.table import Role
from llm_canary.storage.dialect import sqlite_time
from llm_canary.storage.engine import write_session
from llm_canary.storage.repositories.judging_days import day_of, settle
from llm_canary.storage.repositories.samples import claim, lapse, rubrics_with_work, save
from tests.integration.test_review_order import said
from tests.integration.test_samples import judged
from tests.support.graded_world import CONFIG, GradedWorld, accounted_for

COST_NANOUSD = 1_000_000
# One judgement a second, of both arms and all rollouts.
MONEY = "judging: {max_cost_usd_per_day: 86.4, targeted: 0, "
SHARED = (
    CONFIG.replace("judging: {", MONEY)
    .replace("window: 30s", "window: 100s")
    .replace("max: 600s", "max: 6000s")
    .replace(
        "rollouts:\n",
        "  cat:\n"
        "    control: {upstream: sim, model: good}\n"
        "    rubrics: [helpful]\n"
        "    content: {store: redacted}\n"
        "rollouts:\n"
        "  other: {route: cat, canary: {upstream: sim, model: new}, plan: quick}\n",
    )
)

# Of what is leased the late ones, of what waits those in time; all of one rubric.
LATE = """
    SELECT count(CASE WHEN state = 'leased' AND closes_at <= :now THEN 1 END),
           count(CASE WHEN state = 'waiting' AND closes_at > :now THEN 1 END)
    FROM sample
"""


class Came(NamedTuple):
    """What the drawn answers came to."""

    drawn: int
    paid: int
    in_time: int
    targeted: int


@pytest.fixture
def made(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GradedWorld]:
    config = getattr(request, "param", SHARED)
    answers = {arm: said(arm) for arm in (Role.CONTROL, Role.CANARY)}
    with GradedWorld(tmp_path, config, answers=answers, units=100_000) as world:
        world.start()
        with write_session(world.engine) as session:
            settle(
                session, day_of(utc(world.clock.now_s())), reserved_nanousd=0,
                spent_nanousd=COST_NANOUSD, dearest_nanousd=COST_NANOUSD, judged=1, calls=1,
                unknown_cost=0,
            )  # fmt: skip
        yield world


def live(made: GradedWorld, per_step: int, *, steps: int = 60) -> Came:
    """Let the judge grade so many in ten seconds."""
    for _ in range(steps):
        made.step(100, 10.0, tick=False)
        with write_session(made.engine) as session:
            now = utc(made.clock.now_s())
            lapse(session, now)
            for text_id in rubrics_with_work(session, now):
                found = claim(session, text_id, now, lease_s=60, limit=per_step)
                late, waiting = session.execute(
                    text(LATE), {"now": sqlite_time(now.timestamp())}
                ).one()
                assert not (late and waiting), "what is late was judged while others waited in time"
                save(session, [judged(each) for each in found], now)
        made.score()
    query = """
        SELECT count(*), count(j.id), count(CASE WHEN j.at <= s.closes_at THEN 1 END),
               count(CASE WHEN s.stream = 'targeted' THEN 1 END)
        FROM sample s LEFT JOIN judgement j ON j.sample_id = s.id
    """
    with made.engine.connect() as connection:
        return Came(*connection.execute(text(query)).one())


def test_two_rollouts_draw_for_half_of_the_money_each(made: GradedWorld) -> None:
    made.start("other")
    came = live(made, 5)

    assert came.drawn < 450  # 300, and more in the first minute, before the pace is known
    assert came.in_time > 230


def test_a_judge_behind_its_work_is_paid_for_what_counts_and_the_rest_is_said_to_be_shed(
    made: GradedWorld,
) -> None:
    came = live(made, 5)
    [found] = made.view.grading

    assert came.drawn > 1.7 * came.paid
    assert came.in_time == came.paid
    assert came.paid == pytest.approx(300, rel=0.05)
    assert sum(found.shed) > 100
    for arm in (0, 1):
        assert found.judged[arm] == pytest.approx(150, rel=0.25)
        assert found.eligible[arm] == accounted_for(found, arm)


@pytest.mark.parametrize(
    "made", [pytest.param(SHARED.replace("targeted: 0,", "targeted: 1, "), id="t")], indirect=True
)
def test_a_fifth_of_the_money_is_left_to_what_is_worth_a_look(made: GradedWorld) -> None:
    """Every second answer is refused, and all of those would be drawn."""
    plain = made.request

    def request(at_s: float, **changes):
        refused = {"refusal": True} if made.rng.random() < 0.5 else {}
        return plain(at_s, **changes, **refused)

    made.request = request  # type: ignore[method-assign]
    came = live(made, 10)

    assert 80 < came.targeted < 220  # a fifth of 600, and more in the first minute
    assert came.in_time > 500
