"""What the planner learns of a route's past traffic, on both databases."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from llm_canary.cli import main
from llm_canary.clock import ManualClock
from llm_canary.decision.plan import Gate, Margin, MarginUnit, MetricKind, Plan, Stage
from llm_canary.errors import NotFound
from llm_canary.ids import uuid7
from llm_canary.rollout import traffic as learning
from llm_canary.rollout.traffic import learn_traffic
from llm_canary.routing.bucket import unit_hash
from llm_canary.routing.table import Price
from llm_canary.storage.engine import read_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories.traffic import Day, Returns, TrafficRepository
from llm_canary.telemetry.events import Terminal
from tests.factories import NOON_S, make_inference, make_outcome

DAY_S = 86_400.0
ROUTE = "support-bot"
GATES = tuple(
    Gate(metric=metric, kind=MetricKind.GOAL, margin=Margin(0.1, MarginUnit.RELATIVE))
    for metric in ("error_rate", "latency_p95", "cost_per_request", "thumbs_up_rate", "invalid_output")
)  # fmt: skip
PLAN = Plan(
    name="test",
    stages=(Stage(name="broad", share=0.5, min_s=DAY_S, max_s=3 * DAY_S, gates=GATES),),
    max_per_unit_day=3,
)


def response(user, at_s, **changes):
    """A response of the control before any rollout."""
    free = {"rollout_id": None, "stage": None, "share": None, "assigned": None, "eligible": False}
    values = {"id": uuid7(), "at_s": at_s, "unit_hash": unit_hash(b"s", user), **free}
    return make_inference(**(values | changes))


def learn(engine, days=7, plan=PLAN, canary=None):
    return learn_traffic(engine, ManualClock(NOON_S), plan, ROUTE, days=days, canary=canary)


@pytest.fixture
def week(engine):
    """400 users, each here on half of the days, with two requests; half of them fail half of theirs."""
    rng = np.random.default_rng(11)
    events = []
    for day in range(7):
        for user in np.flatnonzero(rng.random(400) < 0.5).tolist():
            for _ in range(2):
                at_s = NOON_S - (day + rng.uniform(0.001, 0.999)) * DAY_S
                failed = user % 2 == 0 and rng.random() < 0.5
                event = response(
                    f"user-{user}",
                    at_s,
                    latency_ms=float(rng.lognormal(6.5, 0.6)),
                    terminal=Terminal.UPSTREAM_ERROR if failed else Terminal.COMPLETED,
                    response_id=uuid7(),
                )
                events.append(event)
                if rng.random() < 0.2:
                    events.append(
                        make_outcome(
                            id=uuid7(),
                            target_id=event.id,
                            value=bool(rng.random() < 0.9),
                            at_s=at_s + 60,
                            occurred_at_s=at_s + 60,
                        )
                    )
    SqlBatchSink(engine).write(events)
    return engine


def test_a_weeks_traffic_is_learned(week):
    found = learn(week)

    assert found.daily.value == pytest.approx(400, rel=0.05)
    assert found.daily.source == "from the last 7 days"
    assert (found.per_unit.value, found.spread.value) == (2.0, 2.0)
    assert found.returning.value == pytest.approx(0.5, abs=0.03)
    assert found.repeat.value == pytest.approx(1.0, abs=0.06)
    assert found.quietest.value == pytest.approx(1.0, abs=0.15)
    errors = found.metrics["error_rate"]
    assert np.mean(errors.values) == pytest.approx(0.25, abs=0.03)
    # Half of the users at .5, the others at 0: between .0625 of .1875 in all.
    assert errors.icc.value == pytest.approx(1 / 3, abs=0.07)
    assert found.metrics["latency_p95"].icc.value < 0.05


def test_outcomes_are_counted_among_matured_responses(week):
    thumbs = learn(week).metrics["thumbs_up_rate"]

    assert thumbs.observed.value == pytest.approx(0.2, abs=0.03)
    assert 1 - np.mean(thumbs.values) == pytest.approx(0.9, abs=0.04)


def test_a_metric_that_no_response_has_is_left_to_its_default(week):
    assert "invalid_output" not in learn(week).metrics


def test_the_canarys_cost_is_that_of_the_same_tokens_at_its_price(week):
    found = learn(week, canary=Price(input=1_000, output=10_000))

    assert found.cost.value == 110_000
    assert found.canary_cost.value == 120 * 1_000 + 40 * 10_000


def test_a_sample_has_whole_units_and_bounded_size(week, monkeypatch):
    monkeypatch.setattr(learning, "_SAMPLE", 500)
    with read_session(week) as session:
        repository = TrafficRepository(session, ROUTE, NOON_S - 7 * DAY_S, NOON_S)
        every = repository.sample(10, limit=100_000)
        some = repository.sample(len(every), limit=500)

    by_unit = {row.unit_hash for row in some}
    assert 300 < len(some) <= 1_000
    assert len(some) == sum(row.unit_hash in by_unit for row in every)
    sampled = learn(week)
    assert sampled.daily == learn(week).daily
    assert len(sampled.metrics["error_rate"].values) == len(some)


def test_only_what_could_be_compared_counts(engine):
    other = {"rollout_id": "r", "eligible": True}
    SqlBatchSink(engine).write(
        [
            response("a", NOON_S - 10),
            response("b", NOON_S - 20, assigned="control", **other),
            response("c", NOON_S - 30, assigned="canary", **other),
            response("d", NOON_S - 40, rollout_id="r", assigned="canary", eligible=False),
            response("e", NOON_S - 50, route="another"),
            response("f", NOON_S - 8 * DAY_S),
            response("g", NOON_S - 60, unit_hash=None),
        ]
    )

    with read_session(engine) as session:
        repository = TrafficRepository(session, ROUTE, NOON_S - 7 * DAY_S, NOON_S)
        days = repository.days(50)
        sample = repository.sample(3, 100)

    assert days == [Day(age=0, responses=3, units=3, scored=3, scored_squares=3.0)]
    assert {row.unit_hash for row in sample} == {unit_hash(b"s", user) for user in "ab"}


def test_days_are_counted_back_from_now_and_a_units_surplus_is_not_scored(engine):
    SqlBatchSink(engine).write(
        [response("a", NOON_S - 0.5 * DAY_S) for _ in range(5)]
        + [response(user, NOON_S - 1.5 * DAY_S) for user in "aab"]
    )

    with read_session(engine) as session:
        repository = TrafficRepository(session, ROUTE, NOON_S - 7 * DAY_S, NOON_S)
        days, returns = repository.days(3), repository.returns(3)

    assert days == [Day(0, 5, 1, 3, 9.0), Day(1, 3, 2, 3, 5.0)]
    assert returns == Returns(units=2, days=3, days_squared=5, scored_squares=5**2 + 1)
    # a on both days, b on one: of their 3 visits, 2 have another day with a visit.
    assert learn(engine).returning.value == pytest.approx(2 / 3)
    # Three of a's scored responses see two others on the other day, two see three: 12 of 6.
    assert learn(engine).repeat.value == pytest.approx(12 / 6)


def test_a_few_hours_stand_for_a_day(engine):
    SqlBatchSink(engine).write([response(str(k), NOON_S - k * 36.0) for k in range(1, 601)])

    found = learn(engine)

    assert found.daily.value == pytest.approx(2_400)
    assert found.daily.source == "from the last 6 hours"
    assert found.quietest is None
    assert found.returning.source == "default"


def thumb(of, value, *, occurred_s, received_s=None):
    at_s = of.at_s + (occurred_s if received_s is None else received_s)
    return make_outcome(
        id=uuid7(), target_id=of.id, value=value, at_s=at_s, occurred_at_s=of.at_s + occurred_s
    )


def test_the_last_thumb_in_time_counts_and_one_taken_back_is_none(engine):
    down, up, revoked, late = (
        response(f"u{k}", NOON_S - DAY_S, response_id=f"r{k}") for k in range(4)
    )
    SqlBatchSink(engine).write(
        [
            down, up, revoked, late,
            thumb(down, value=True, occurred_s=1), thumb(down, value=False, occurred_s=2),
            thumb(up, value=True, occurred_s=2), thumb(up, value=False, occurred_s=1),
            thumb(revoked, value=True, occurred_s=1), thumb(revoked, value=None, occurred_s=2),
            thumb(late, value=True, occurred_s=1, received_s=7_200),
        ]
    )  # fmt: skip

    thumbs = learn(engine).metrics["thumbs_up_rate"]

    assert sorted(thumbs.values) == [0.0, 1.0]  # a thumb down is 1: larger is worse
    assert thumbs.observed.value == pytest.approx(2 / 4)


def test_a_response_whose_thumb_may_still_come_is_not_counted_as_unrated(engine):
    old, young = response("a", NOON_S - DAY_S), response("b", NOON_S - 60)
    SqlBatchSink(engine).write([old, young, thumb(old, value=True, occurred_s=1)])

    assert learn(engine).metrics["thumbs_up_rate"].observed.value == 1.0


def test_without_traffic_the_way_out_is_named(engine):
    with pytest.raises(NotFound, match="--daily"):
        learn(engine)


CONFIG = """
version: 1
upstreams:
  sim: {kind: openai, base_url: "http://127.0.0.1:9", price: {input_per_million: 1, output_per_million: 4}}
routes:
  support-bot: {control: {upstream: sim, model: good}}
rollouts:
  next: {route: support-bot, canary: {upstream: sim, model: new}, plan: standard}
"""


def test_the_command_plans_from_the_database(week, database_url, tmp_path, monkeypatch):
    (tmp_path / "canary.yaml").write_text(CONFIG)
    monkeypatch.setenv("LLM_CANARY_DATABASE_URL", database_url)
    monkeypatch.setattr("llm_canary.clock.SystemClock", lambda: ManualClock(NOON_S))
    monkeypatch.chdir(tmp_path)

    shown = CliRunner().invoke(main, ["plan", "--rollout", "next", "--json"])

    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    sources = {each["what"]: each["source"] for each in found["assumptions"]}
    assert sources["requests a day"] == "from the last 7 days"
    assert sources["error_rate: control"] == "from the last 7 days"
    assert sources["invalid_output: control"] == "default"
    assert "at the canary's price" in sources["cost of a canary response"]
    assert found["canary_usd"] > 0
    assert any("min_units" in each for each in found["warnings"])
