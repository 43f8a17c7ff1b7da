"""The history of rollouts: every attempt with its story, a page at a time, in few queries."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import event

from llm_canary.clock import utc
from llm_canary.rollout.history import history_page, past
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.past_rollouts import PastFilter
from llm_canary.storage.repositories.rollouts import RolloutRepository, State
from tests.support.control import Web
from tests.support.rollout_world import QUICK, World


@pytest.fixture
def world(tmp_path, engine):
    return World(tmp_path, QUICK.replace("PLAN", "quick"), engine=engine)


@contextmanager
def statements(engine):
    seen = []

    def note(_connection, _cursor, statement, *_):
        if not statement.startswith(("PRAGMA", "BEGIN")):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def names(world, **asked):
    with read_session(world.engine) as session:
        found = past(session, PastFilter(**asked), limit=100)
    return [(each.row.attempt, each.row.outcome) for each in found]


def live(world):
    """A rollback by the controller, one that is dropped, and one that a person holds and extends."""
    world.canary.error = 0.6
    world.start()
    for _ in range(3):
        world.step(100, 10.0)
    world.clock.advance(10.0)
    world.service.create("next", actor="mara", reason="again")
    world.service.rollback("next", actor="mara", reason="not today")
    world.clock.advance(10.0)
    world.canary.error = 0.0
    world.service.start("next", actor="jon", reason="third time")


def test_each_attempt_tells_how_it_ended_and_what_was_wrong(world):
    live(world)

    with read_session(world.engine) as session:
        third, second, first = past(session, PastFilter(), limit=10)

    assert (first.row.outcome, first.failed, first.reached) == (
        "rolled_back", ("error_rate",), ("initial",),
    )  # fmt: skip
    assert "error_rate" in first.decision.reasons[0]
    assert [step.action for step in first.steps] == ["create", "start", "rollback"]
    assert (second.row.outcome, second.last.actor, second.reached) == ("aborted", "mara", ())
    assert (third.row.outcome, third.row.state) == (None, "running")


def test_filters_find_what_they_say(world):
    live(world)

    assert names(world) == [(3, None), (2, "aborted"), (1, "rolled_back")]
    assert names(world, outcome="rolled_back") == [(1, "rolled_back")]
    assert names(world, outcome="running") == [(3, None)]
    assert names(world, outcome="extended") == []
    assert names(world, route="bot", name="next") == names(world)
    assert names(world, route="other") == []
    late = utc(world.clock.now_s()) - timedelta(seconds=15)
    assert names(world, ended_since=late) == [(2, "aborted")]


def test_an_extension_is_found(world):
    world.start()
    for _ in range(30):  # 300 s: longer than the stage may take, with too few units to prove it
        world.clock.advance(10.0)
        world.controller.tick()
    assert world.view.state == "held"
    assert names(world, outcome="extended") == []
    world.service.resume("next", actor="mara", reason="more time")

    assert names(world, outcome="extended") == [(1, None)]


def test_five_hundred_attempts_take_as_many_queries_as_three(world):
    live(world)

    def look():
        with statements(world.engine) as seen, read_session(world.engine) as session:
            history_page(session, PastFilter(), limit=25)
        return len(seen)

    few = look()
    with write_session(world.engine) as session:
        repository = RolloutRepository(session)
        newest = repository.latest("next")
        for number in range(4, 501):
            repository.add(
                msgspec.structs.replace(
                    newest, id=f"{number:032x}", attempt=number, state=State.ROLLED_BACK,
                    outcome="rolled_back", ended_at_s=world.clock.now_s(),
                )
            )  # fmt: skip
    assert look() == few

    web = Web(world.directory, engine=world.engine, clock=world.clock)
    web.get("/history")
    began = time.perf_counter()
    answer = web.get("/history?page=20")

    assert time.perf_counter() - began < 1.0
    assert answer.status_code == 200
    assert "Page 20 of 20" in answer.text
    assert "No rollout is like that" in web.get("/history?page=500").text
    for digits in (f"{1:012d}{9:030d}", f"{1:05000d}"):
        assert web.get(f"/history?page={digits}").status_code == 400
    assert len(web.get("/history.csv").text.splitlines()) == 501
