"""What needs a person: found from the state on SQL, told to the page and to other systems alike."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from llm_canary.alerts.alert import Severity
from llm_canary.alerts.find import find_alerts
from llm_canary.api.app import create_api
from llm_canary.clock import utc
from llm_canary.config.load import load
from llm_canary.errors import NotReady
from llm_canary.judging.trust import Standing
from llm_canary.storage.engine import write_session
from llm_canary.storage.repositories.grading import add_calibration, add_drift
from llm_canary.storage.repositories.judging_days import day_of, settle
from tests.support.asgi import AsgiClient
from tests.support.control import api_services
from tests.support.drawn_answers import Drawn, draw
from tests.support.graded_world import CONFIG, RUBRIC
from tests.support.rollout_world import World

DAY_S = 86_400.0


@pytest.fixture
def world(tmp_path, engine):
    folder = tmp_path / "rubrics"
    folder.mkdir()
    (folder / "helpful.yaml").write_text(RUBRIC)
    (folder / "verdicts.jsonl").write_text("")
    config = CONFIG.replace("judging: {", "judging: {max_cost_usd_per_day: 2, ")
    return World(tmp_path, config, engine=engine)


def services(world, **changes):
    facts = {"rollouts": world.service, "config": lambda: world.config}
    return api_services(world.engine, world.clock, **(facts | changes))


def alerts(world, **changes):
    return {each.kind: each for each in find_alerts(services(world, **changes))}


def calibrate(world, standing: Standing, *, at_s: float, judge: str = "j1") -> None:
    report = {
        "rubric": "helpful", "rubric_hash": "h", "judge": {"id": judge}, "label_hash": "l",
        "labelled": 200, "standing": standing.value, "reasons": ["passed: kappa 0.10"],
    }  # fmt: skip
    with write_session(world.engine) as session:
        add_calibration(session, utc(at_s), report)


def test_where_all_is_well_there_is_none(world):
    world.start()

    assert alerts(world) == {}


def test_a_held_rollout_needs_a_person_until_it_goes_on(world):
    world.start()
    world.service.hold("next", actor="mara", reason="looks odd")
    world.clock.advance(7_200.0)

    held = alerts(world)["held"]

    assert (held.severity, held.needs_person) == (Severity.WARNING, True)
    assert "Held by mara 2 h ago: looks odd" in held.text
    assert held.link == "/rollouts/next"
    world.service.resume("next", actor="mara", reason="it was nothing")
    assert "held" not in alerts(world)


def test_a_rollback_is_told_with_the_metric_that_was_worse_for_two_weeks(world):
    world.canary.error = 0.6
    world.start()
    for _ in range(3):
        world.step(100, 10.0)

    told = alerts(world)["rolled_back"]

    assert (told.needs_person, told.metric) == (False, "error_rate")
    assert told.link == "/rollouts/next?attempt=1#metric-error_rate"
    world.clock.advance(15 * DAY_S)
    assert "rolled_back" not in alerts(world)


def test_a_health_problem_is_told_since_it_is_there(world):
    world.arm_of = lambda event: event.assigned == "control" or int(event.unit_hash[:2], 16) < 40
    world.start()
    for _ in range(6):
        world.step(100, 10.0)
    first_s = world.clock.now_s()
    for _ in range(3):
        world.step(50, 10.0)

    held, health = alerts(world)["held"], alerts(world)["health"]

    assert "srm" in health.id
    assert health.needs_person
    assert health.since_s < first_s
    assert held.rollout == health.rollout == "next"


def test_a_judge_that_is_not_trusted_is_told_and_one_that_is_is_not(world):
    now_s = world.clock.now_s()
    calibrate(world, Standing.TRUSTED, at_s=now_s - 3 * DAY_S)
    assert alerts(world) == {}
    calibrate(world, Standing.UNTRUSTED, at_s=now_s - 2 * DAY_S)
    calibrate(world, Standing.UNTRUSTED, at_s=now_s - DAY_S)

    told = alerts(world)["judge_untrusted"]

    assert "kappa 0.10" in told.text
    assert told.since_s == now_s - 2 * DAY_S
    assert told.link == "/calibration?rubric=helpful"


def test_trust_that_got_old_is_told(world):
    calibrate(world, Standing.TRUSTED, at_s=world.clock.now_s() - 15 * DAY_S)

    assert alerts(world)["judge_stale"].since_s == world.clock.now_s() - DAY_S


def test_a_judge_that_has_moved_is_told_until_it_is_stable_again(world):
    def look(drift, days_ago):
        at = utc(world.clock.now_s()) - timedelta(days=days_ago)
        with write_session(world.engine) as session:
            add_drift(
                session, at, rubric_id="helpful", rubric_hash="h", judge_id="j1", drift=drift,
                report={"reasons": ["9 anchors are lost"]},
            )  # fmt: skip

    look("stable", 5)
    assert alerts(world) == {}
    look("judge_drift", 4)
    look("judge_drift", 3)
    told = alerts(world)["judge_drift"]
    look("stable", 2)

    assert told.since_s == world.clock.now_s() - 4 * DAY_S
    assert "9 anchors are lost" in told.text
    assert alerts(world) == {}


def test_a_queue_that_is_too_old_is_told(world):
    names = draw(world.engine, [Drawn(at_s=world.clock.now_s())])
    with world.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE sample SET review_stream = 'probability', reviews_wanted = 1, "
                "review_state = 'open' WHERE inference_id = :i"
            ),
            {"i": names[0]},
        )
    world.clock.advance(20.0)
    assert alerts(world) == {}
    world.clock.advance(20.0)  # the file's window is 30 s

    told = alerts(world)["reviews_old"]

    assert told.link == "/review"
    assert "1 wait, the oldest for 40 s" in told.text


def test_spent_money_is_told_on_its_day_only(world):
    with write_session(world.engine) as session:
        settle(
            session, day_of(utc(world.clock.now_s())), reserved_nanousd=0,
            spent_nanousd=1_999_000_000, dearest_nanousd=2_000_000, judged=900, calls=900, unknown_cost=0,
        )  # fmt: skip

    assert "$2.00 of $2.00" in alerts(world)["budget_spent"].text
    world.clock.advance(DAY_S)
    assert alerts(world) == {}


def test_judges_without_a_price_are_told_where_a_limit_is_set(world):
    with write_session(world.engine) as session:
        settle(
            session, day_of(utc(world.clock.now_s())), reserved_nanousd=0, spent_nanousd=0,
            dearest_nanousd=0, judged=900, calls=900, unknown_cost=850,
        )  # fmt: skip

    assert alerts(world).keys() == {"judge_unpriced"}
    assert "850 of 900 calls" in alerts(world)["judge_unpriced"].text


def test_a_database_in_trouble_is_told_and_what_the_process_knows_too(world):
    def refuse():
        raise NotReady("the schema is older than this version")

    status = {"config_problem": "canary.yaml:1: no", "loops": (), "telemetry": None}

    told = alerts(world, ready=refuse, status=lambda: status)

    assert told.keys() == {"database", "config_refused"}
    assert told["database"].severity is Severity.CRITICAL


def test_other_systems_get_what_needs_a_person_first(world):
    world.canary.error = 0.6
    world.start()
    for _ in range(3):
        world.step(100, 10.0)
    calibrate(world, Standing.UNTRUSTED, at_s=world.clock.now_s() - DAY_S)

    client = AsgiClient(create_api(services(world)))
    answer = client.get("/api/v1/alerts")

    body = answer.json()
    assert answer.status_code == 200
    assert body["needs_person"] == 1
    assert [each["kind"] for each in body["alerts"]] == ["judge_untrusted", "rolled_back"]
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Alert"]
    assert set(body["alerts"][0]) == set(schema["properties"])


def test_the_reader_of_another_file_is_not_told_of_its_rubrics(world, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "canary.yaml").write_text(
        CONFIG.replace("    rubrics: [helpful]\n", "").replace(
            "      rubric: {kind: goal, margin: 0.1}\n", ""
        )
    )
    calibrate(world, Standing.UNTRUSTED, at_s=world.clock.now_s())

    assert alerts(world, config=lambda: load(other / "canary.yaml")) == {}
