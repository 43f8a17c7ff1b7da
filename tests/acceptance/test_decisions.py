"""Whole rollouts over SQL with the clock moved by hand: what is decided, when, and how often."""

from __future__ import annotations

import pytest

from llm_canary.api.app import create_api
from llm_canary.errors import ConfigError, Conflict, DataError
from llm_canary.pages.overview import overview
from llm_canary.rollout import replay as replaying
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.rollouts import RolloutRepository
from tests.support.asgi import AsgiClient
from tests.support.control import api_services
from tests.support.rollout_world import QUICK, World

HOUR_S = 3_600.0


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path, QUICK.replace("PLAN", "quick"))
    yield world
    world.engine.dispose()


def run(world, *, steps=60, requests=100, seconds=10.0, until=("finished", "rolled_back", "held")):
    for _ in range(steps):
        world.step(requests, seconds)
        if world.view.state in until:
            break
    return world.view


def test_a_canary_with_30_percent_more_errors_is_rolled_back(world):
    world.canary.error = 0.30
    world.start()

    view = run(world)

    assert view.state == "rolled_back"
    assert world.actions() == [("create", None), ("start", "initial"), ("rollback", "initial")]
    assert any("error_rate is worse" in reason for reason in view.decision.reasons)
    assert view.responses[1] < 100
    assert world.publisher.table.routes["bot"].split is None


def test_the_same_errors_on_both_arms_never_roll_back(world):
    world.control.error = world.canary.error = 0.30
    world.start()

    assert run(world, steps=24).state != "rolled_back"


def test_a_rollback_is_in_the_published_table_before_the_tick_returns(world):
    world.canary.error = 1.0
    world.start()
    shares = []
    while world.view.state == "running":
        world.step(100, 10.0)
        split = world.publisher.table.routes["bot"].split
        shares.append(split.share if split else 0.0)

    assert shares[-1] == 0.0


def test_identical_arms_reach_the_end_and_the_canary_becomes_the_control(world):
    world.start()

    view = run(world, steps=120)

    assert [stage for action, stage in world.actions() if action in ("start", "promote")] == [
        "initial", "broad", "full", "standby", "standby",
    ]  # fmt: skip
    assert view.outcome == "promoted"
    route = world.publisher.table.routes["bot"]
    assert (route.control.model, route.split) == ("new", None)


def test_a_restart_and_a_reload_undo_no_promotion(world):
    world.start()
    run(world, steps=120)

    again = World(world.directory, world.config_text, engine=world.engine)

    assert again.publisher.table.routes["bot"].control.model == "new"
    assert again.publisher.table.version > world.publisher.table.version


def test_a_canary_that_costs_twice_as_much_is_rolled_back(world):
    world.canary.cost_nanousd = 2 * world.control.cost_nanousd
    world.start()

    view = run(world)

    assert view.state == "rolled_back"
    assert "cost_per_request" in view.decision.reasons[0]


def test_an_idle_endpoint_never_advances(world):
    world.start()

    for _ in range(200):
        world.step(0, 10.0)

    assert world.view.stage == "initial"
    assert world.view.state == "held"
    assert "unproven" in world.view.hold_reason


def test_an_endpoint_that_falls_idle_before_its_gate_is_taken_does_not_advance(world):
    world.start()
    for _ in range(5):
        world.step(200, 10.0)
    world.clock.advance(50.0)
    for _ in range(30):
        world.step(0, 10.0)

    assert world.view.stage == "initial"
    assert ("promote", "broad") not in world.actions()


def test_a_canary_without_traffic_holds(world):
    world.arm_of = lambda event: event.assigned != "canary"
    world.start()

    view = run(world)

    assert view.state == "held"
    assert "canary" in view.hold_reason


def test_a_broken_split_holds_and_holds_again_when_resumed(world):
    world.arm_of = lambda event: event.assigned != "canary" or int(event.unit_hash, 16) % 10 < 4
    world.units = 20_000
    world.start()

    view = run(world, steps=40, requests=300)

    assert view.state == "held"
    assert view.hold_reason.startswith("broken split")
    world.service.resume("next", actor="mara", reason="perhaps it goes away")
    world.step(100, 10.0)
    assert world.view.state == "held"


def test_hard_failures_roll_back_although_the_split_is_broken(world):
    world.arm_of = lambda event: event.assigned != "canary" or int(event.unit_hash, 16) % 10 < 4
    world.units = 20_000
    world.start()
    run(world, steps=40, requests=300)
    world.canary.error = 0.5

    assert run(world, until=("rolled_back",)).state == "rolled_back"


def test_a_persons_hold_is_never_overridden(world):
    world.canary.error = 0.5
    world.start()
    world.step(40, 10.0, tick=False)
    world.service.hold("next", actor="mara", reason="let me look")

    run(world, steps=30, until=())

    assert world.view.state == "held"
    assert world.actions()[-1] == ("hold", "initial")
    assert world.view.share == 0.1
    # What is proven meanwhile is said to whoever looks.
    assert world.view.verdict == "rollback"
    assert any("error_rate is worse" in reason for reason in world.view.reasons)
    listed = overview(world.service.read.overview(limit=20), (), world.clock.now_s(), 1)
    assert "let me look" in str(listed)


def test_harm_that_crossed_during_a_persons_hold_is_remembered(world):
    world.canary.error = 0.5
    world.start()
    world.service.hold("next", actor="mara", reason="let me look")
    run(world, steps=10, until=())

    with read_session(world.engine) as session:
        harm = RolloutRepository(session).latest("next").progress.harm
    assert harm[0].startswith("global_harm: error_rate")


def test_after_the_persons_hold_the_proven_harm_still_rolls_back(world):
    world.canary.error = 0.5
    world.start()
    world.service.hold("next", actor="mara", reason="let me look")
    run(world, steps=10, until=())
    world.canary.error = 0.0
    world.service.resume("next", actor="mara", reason="go on")

    assert run(world, steps=2).state == "rolled_back"


def test_an_unproven_stage_asks_a_person_and_is_extended_by_resuming(world):
    world.control.error = world.canary.error = 0.3
    world.start()
    run(world, steps=60, requests=20)
    assert world.view.state == "held"

    said = {"reason": "more traffic on Monday", "actor": "mara"}
    assert api(world).post("/api/v1/rollouts/next/resume", json=said).status_code == 200
    world.step(20, 10.0)

    assert world.view.state == "running"
    newest = api(world).get("/api/v1/history").json()[0]
    assert newest | said == newest
    assert (newest["action"], newest["outcome"]) == ("extend", "extended")
    world.clock.advance(50.0)
    world.controller.tick()
    assert world.view.state == "held"  # it got its minimum once more, no longer


def api(world):
    return AsgiClient(create_api(api_services(world.engine, world.clock, rollouts=world.service)))


def test_the_history_tells_the_outcome_of_every_rollout(world):
    world.service.create("next", actor="mara", reason="soon")
    world.service.rollback("next", actor="mara", reason="not after all")
    world.start()
    run(world, steps=120)
    world.canary.error = 0.5
    world.start()
    run(world)

    told = [(each.attempt, each.outcome) for each in world.service.history() if each.outcome]

    assert told == [(3, "rolled_back"), (2, "promoted"), (1, "aborted")]


def test_a_stale_hold_reminds_after_four_hours_and_then_daily(world, caplog):
    world.start()
    world.service.hold("next", actor="mara", reason="let me look")
    hours = []
    for hour in range(1, 61):
        world.clock.advance(HOUR_S)
        world.controller.tick()
        hours += [hour] * (world.view.reminders - len(hours))

    assert hours == [4, 28, 52]
    said = [each.message for each in caplog.records if "waits for a person" in each.message]
    assert [each.split(" since ")[1] for each in said] == [
        f"{hour}.0 h and waits for a person: let me look" for hour in hours
    ]
    world.service.resume("next", actor="mara", reason="go on")
    assert world.view.reminders == 0


def test_harm_after_full_promotion_returns_from_standby(world):
    world.config_text = QUICK.replace("PLAN", "quick").replace("holdback: 1%", "holdback: 20%")
    world.__post_init__()
    world.start()
    run(world, until=("standby",))
    table = world.publisher.table.routes["bot"]
    assert (table.control.model, table.split.share) == ("good", 0.8)  # still warm
    world.canary.error = 0.3

    view = run(world, steps=12)
    run(world, steps=6, until=())

    assert (view.state, view.stage, view.share) == ("rolled_back", "standby", 0.0)
    assert any("error_rate is worse" in reason for reason in view.decision.reasons)
    table = world.publisher.table.routes["bot"]
    assert (table.control.model, table.split) == ("good", None)
    assert [action for action, _ in world.actions()].count("rollback") == 1
    assert world.service.history("next")[0].actor == "robot"


class Killed(BaseException):
    """The process stops here."""


def test_a_killed_tick_is_applied_exactly_once(world, monkeypatch):
    world.canary.error = 0.5
    world.start()
    apply = world.service.apply

    def killed(*arguments):
        apply(*arguments)
        raise Killed

    monkeypatch.setattr(world.service, "apply", killed)
    with pytest.raises(Killed):
        run(world)
    assert world.view.state == "running"
    assert all(each.verdict == "wait" for each in world.service.decisions("next"))
    monkeypatch.setattr(world.service, "apply", apply)

    assert run(world).state == "rolled_back"
    assert [action for action, _ in world.actions()].count("rollback") == 1


def test_a_killed_scorer_counts_nothing_twice(world, monkeypatch):
    world.start()
    world.step(100, 10.0)
    before = world.view.responses
    finish = "llm_canary.storage.repositories.scoring.ScoringRepository.finish"
    with monkeypatch.context() as patch:
        patch.setattr(finish, lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            world.step(100, 10.0)
    assert world.view.responses == before

    world.clock.advance(5.0)  # the last ones settle
    world.score()

    assert sum(world.view.responses) == 200


def test_each_decision_replays_to_the_same_bytes(world):
    world.canary.error = 0.3
    world.start()
    run(world)

    found = world.service.decisions("next")

    assert len(found) >= 1
    for each in found:
        assert world.service.replay(each.id).is_same


def test_altered_evidence_is_refused(world):
    world.start()
    run(world, steps=12)
    with read_session(world.engine) as session:
        repository = RolloutRepository(session)
        record = repository.decisions(repository.latest("next").id)[0]
    altered = record.evidence.replace(b'"share":0.1', b'"share":0.2', 1)
    assert altered != record.evidence

    with pytest.raises(DataError, match="altered"):
        replaying.replay(replaying.msgspec.structs.replace(record, evidence=altered))


def test_editing_the_canary_of_a_running_rollout_is_refused(world):
    world.start()
    text = world.config_text.replace("model: new", "model: newer")
    edited = World(world.directory / "..", text, engine=world.engine).config

    with pytest.raises(ConfigError, match="canary was edited"):
        world.service.check_config(edited)


def test_a_second_rollout_on_the_route_is_refused(world):
    second = "rollouts:\n  other: {route: bot, canary: {upstream: sim, model: x}, plan: quick}"
    world.config_text = world.config_text.replace("rollouts:", second)
    world.__post_init__()
    world.start()

    with pytest.raises(Conflict, match="another rollout runs on route 'bot'"):
        world.start("other")


@pytest.mark.slow
def test_the_standard_plan_promotes_identical_arms_through_every_stage(tmp_path):
    world = World(tmp_path, QUICK.replace("PLAN", "standard"), units=12_000, seed=3)
    for arm in (world.control, world.canary):
        arm.error, arm.thumbs_up, arm.rated = 0.002, 0.9, 0.5
    world.start()
    for _ in range(60):
        world.step(1_200, 4 * HOUR_S)
        if world.view.state not in ("running", "promoted"):
            break

    assert world.view.state == "standby"
    reached = [stage for action, stage in world.actions() if action == "promote"]
    assert reached == ["expanded", "broad", "full", "standby"]
    elapsed_s = world.clock.now_s() - world.view.started_s
    assert 72 * HOUR_S <= elapsed_s <= 240 * HOUR_S
