"""Of several controllers one leads; what happens to one that is slow, with the clock moved by hand."""

from __future__ import annotations

import pytest

from llm_canary.errors import DataError
from llm_canary.rollout import controller
from llm_canary.rollout.controller import Controller
from llm_canary.storage.repositories.rollouts import RolloutRepository
from tests.support.rollout_world import QUICK, World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path, QUICK.replace("PLAN", "quick"))
    yield world
    world.engine.dispose()


@pytest.mark.parametrize("error", [0.5, 0.0], ids=["to-a-rollback", "to-another-wait"])
def test_a_leader_that_lost_its_lease_applies_nothing(world, monkeypatch, error):
    world.canary.error = error
    world.start()
    world.step(200, 10.0, tick=False)
    other = Controller(world.engine, world.service, world.clock, holder="two")
    decide = controller.decide

    def slow(*arguments):
        decision = decide(*arguments)
        monkeypatch.setattr(controller, "decide", decide)
        world.clock.advance(60.0)
        assert other.tick() == 1  # it rolls back meanwhile
        return decision

    monkeypatch.setattr(controller, "decide", slow)
    world.controller.tick()

    assert [action for action, _ in world.actions()].count("rollback") == (error > 0)
    assert len(world.service.decisions("next")) == 1


@pytest.mark.parametrize(
    ("slow_s", "decided", "other_leads"),
    [
        pytest.param(8.0, 4, False, id="renewed-in-time"),
        pytest.param(16.0, 1, True, id="lost-meanwhile"),
    ],
)
def test_a_tick_may_last_longer_than_the_lease_but_not_go_on_without_it(
    world, monkeypatch, slow_s, decided, other_leads
):
    world.start()
    other = Controller(world.engine, world.service, world.clock, holder="two")
    record = world.service.get("next")
    monkeypatch.setattr(RolloutRepository, "active", lambda _: (record,) * 4)
    led = []

    def slow(*_):
        world.clock.advance(slow_s)
        led.append(other.tick() > 0)

    monkeypatch.setattr(world.controller, "_decide", slow)

    assert world.controller.tick() == decided
    assert led == [other_leads] * decided


def test_only_one_controller_leads(world):
    other = Controller(world.engine, world.service, world.clock, holder="two")
    world.start()
    world.controller.tick()

    assert other.tick() == 0
    world.controller.close()
    assert other.tick() == 1


def test_a_rollout_that_cannot_be_decided_stops_no_other(world, monkeypatch, caplog):
    world.start()
    record = world.service.get("next")
    monkeypatch.setattr(RolloutRepository, "active", lambda _: (record,) * 2)
    decide, seen = controller.decide, []

    def broken_once(*arguments):
        seen.append(None)
        if len(seen) == 1:
            raise DataError("evidence.metrics.0.score.s is nan")
        return decide(*arguments)

    monkeypatch.setattr(controller, "decide", broken_once)

    assert world.controller.tick() == 2
    assert len(seen) == 2
    assert "rollout next cannot be decided: evidence.metrics.0.score.s is nan" in caplog.text
