"""Input that cannot be right is refused, counted as missing or reported; it never decides."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_canary.decision import evidence as form
from llm_canary.decision.engine import Verdict, decide
from llm_canary.decision.gates import GateStatus
from llm_canary.decision.plan import MetricKind
from llm_canary.decision.rules import rules_of, specs_of
from llm_canary.errors import DataError
from llm_canary.metrics.accumulate import Response, Settings, enter, look, mature
from llm_canary.metrics.state import Rollup, UnitState
from tests.support.evidence import START_S, arms, gate, gather, plan, respond
from tests.support.rollout_world import QUICK, World

changed = msgspec.structs.replace
COST = gate("cost_per_request", MetricKind.GOAL, 0.1, relative=True)
THUMBS = gate("thumbs_up_rate", MetricKind.GOAL, 0.1)
NO_NUMBERS = [math.nan, math.inf, -math.inf, -1.0]


def statuses(decision):
    return {each.metric: each.status for each in decision.gates}


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("arm", [0, 1], ids=["control", "canary"])
def test_times_that_are_no_times_are_missing_and_decide_nothing(value, arm):
    of = plan(gate(), gate("latency_mean", margin=0.1, relative=True))
    rows = [
        (unit, canary, changed(facts, latency_ms=value if canary == arm else 500.0 + k % 7))
        for k, (unit, canary, facts) in enumerate(arms(2_000, 240))
    ]

    decision = decide(of, gather(of, rows, age_s=200.0))

    assert decision.verdict is Verdict.HOLD
    assert statuses(decision)["latency_mean"] is GateStatus.NO_DATA


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0.5, 7.0, 1e308])
def test_an_outcome_that_changes_its_kind_is_counted_as_refused(value):
    of = plan(gate(), THUMBS)
    specs, rollup = specs_of(of), Rollup()
    how = Settings(rules=rules_of(of), started_at_s=START_S)
    facts = changed(respond(), outcomes={"thumbs": value})
    response = Response(at_s=START_S, canary=True, share=0.1, stage="initial", facts=facts)

    mature(rollup, UnitState(), response, specs["thumbs_up_rate"], how)
    look(rollup, specs, START_S)

    assert rollup.metric("thumbs_up_rate").refused == 1
    assert rollup.slices == {}


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_a_share_at_which_nothing_is_compared_decides_nothing(share):
    of, rollup = plan(), Rollup()
    how = Settings(rules=rules_of(of), started_at_s=START_S)
    for k in range(400):
        facts = respond(bad=k % 2 == 1)
        at = Response(at_s=START_S, canary=k % 2 == 1, share=share, stage="initial", facts=facts)

        assert not enter(rollup, UnitState(), at, specs_of(of), how)

    look(rollup, specs_of(of), START_S)
    assert rollup.totals.unusable == 400
    assert rollup.slices == {}
    assert rollup.totals.stage_responses == {}


@pytest.mark.parametrize("silent", [0, 1], ids=["control", "canary"])
@pytest.mark.parametrize("failing", [False, True])
def test_without_traffic_in_one_arm_a_person_is_asked(silent, failing):
    units = [400, 400]
    units[silent] = 0

    decision = decide(plan(), gather(plan(), arms(*units, bad=(400, 400) if failing else (0, 0))))

    assert decision.verdict is Verdict.HOLD
    assert decision.codes[0] in ("srm", "idle_canary", "idle_control")


@pytest.mark.parametrize("silent", [0, 1], ids=["control", "canary"])
@pytest.mark.parametrize("cost", [100, 400_000, 10**12])
def test_what_one_arm_alone_costs_accuses_nobody(silent, cost):
    """The frozen centre may be far off: without the other arm the score measures only that."""
    of = plan(gate(), COST)
    rows = []
    for k, (unit, canary, facts) in enumerate(arms(2_000, 240)):
        usual = 400_000 + 1_000 * (k % 7) if k < 100 else cost
        is_silent = canary == silent and k >= 60
        rows.append(
            (unit, canary, changed(facts, uncached_cost_nanousd=None if is_silent else usual))
        )
    rows = [row for row in rows if row[1] != silent or row[2].uncached_cost_nanousd is None]

    decision = decide(of, gather(of, rows, age_s=200.0))

    assert decision.verdict is Verdict.HOLD
    assert statuses(decision)["cost_per_request"] is GateStatus.NO_DATA


NUMBERS = st.sampled_from([math.nan, math.inf, -math.inf])


def numbers(node, path=()):
    """Return path and value of each number."""
    if isinstance(node, bool | str) or node is None:
        return []
    if isinstance(node, int | float):
        return [(path, node)]
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    return [found for key, each in pairs for found in numbers(each, (*path, key))]


def put(node, path, value):
    if not path:
        return value
    if isinstance(node, dict):
        return {**node, path[0]: put(node[path[0]], path[1:], value)}
    copy = list(node)
    copy[path[0]] = put(copy[path[0]], path[1:], value)
    return copy


@given(st.data())
@settings(max_examples=100)
def test_evidence_with_one_number_that_cannot_be_is_refused_by_its_name(standard, healthy, data):
    document = msgspec.to_builtins(healthy)
    path, value = data.draw(st.sampled_from(numbers(document)))
    wrong = -1 if isinstance(value, int) else data.draw(NUMBERS)
    forged = msgspec.convert(put(document, path, wrong), form.Evidence)

    with pytest.raises(DataError, match=str(path[-1])) as caught:
        decide(standard, forged)

    assert repr(wrong) in caught.value.message


def test_the_order_of_responses_within_a_bucket_changes_nothing():
    rows = arms(900, 100, bad=(9, 12))

    there, back = gather(plan(), rows), gather(plan(), rows[::-1])

    assert decide(plan(), there).verdict is decide(plan(), back).verdict
    one, other = there.metrics[0].score, back.metrics[0].score
    for name in ("s", "i", "pp", "pq", "qq", "xx", "xc", "cc"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9)
    assert there.metrics[0].first == back.metrics[0].first


@given(st.permutations(range(40)))
@settings(max_examples=25)
def test_events_out_of_order_across_buckets_are_all_counted_in_their_stage(order):
    of = plan()
    how = Settings(rules=rules_of(of), started_at_s=START_S, bucket_s=10.0)
    rollup, units = Rollup(), {}
    for k in order:
        facts = respond(bad=k % 8 == 0)
        stage, share = ("initial", 0.1) if k < 20 else ("broad", 0.5)
        at = Response(
            at_s=START_S + 5.0 * k, canary=k % 3 == 0, share=share, stage=stage, facts=facts
        )
        enter(rollup, units.setdefault(k, UnitState()), at, specs_of(of), how)

    look(rollup, specs_of(of), START_S + 200.0)
    score = rollup.slice("error_rate").score
    assert (score.n_control, score.n_canary) == (26, 14)
    assert rollup.totals.stage_responses == {"initial": [13, 7], "broad": [13, 7]}
    assert rollup.totals.in_both_arms == 0
    assert max(at for at in rollup.totals.last_at_s) == START_S + 5.0 * 39


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path, QUICK.replace("PLAN", "quick"))
    yield world
    world.engine.dispose()


def test_events_that_come_twice_count_once(world):
    world.start()
    events = [each for k in range(50) for each in world.request(world.clock.now_s() + 0.1 * k)]
    for _ in range(3):
        world.sink.write(events)
        world.clock.advance(10.0)
        world.score()
    world.sink.write(events[:20] + events[:20])
    world.clock.advance(10.0)
    world.score()

    assert sum(world.view.responses) == 50


def test_a_clock_that_goes_backwards_neither_promotes_nor_rolls_back(world):
    world.start()
    for _ in range(4):
        world.step(400, 10.0)
    world.clock.advance(-3_600.0)
    for _ in range(6):
        world.step(400, 10.0)

    assert world.view.stage == "initial"
    assert world.view.state in ("running", "held")


RATE, WORSE = 0.10, 0.15  # of refusals, which only the score watches
SHARE = 0.25


def crowd_and_bot(seed, *, canary_rate, bot_in_canary, bot_rate, users=5_000, requests=18_000):
    """Responses of many users and of one that sends three of ten requests."""
    rng = np.random.default_rng(seed)
    in_canary = rng.random(users) < SHARE
    rows = []
    for _ in range(requests):
        if rng.random() < 0.3:
            rows.append(("bot", bot_in_canary, respond(refusal=bool(rng.random() < bot_rate))))
            continue
        user = int(rng.integers(users))
        rate = canary_rate if in_canary[user] else RATE
        rows.append((f"u{user}", bool(in_canary[user]), respond(refusal=bool(rng.random() < rate))))
    return rows


def judged(rows, **more):
    of = plan(gate("refusal_rate", MetricKind.GOAL, 0.05), last=("quarter", SHARE))
    return decide(of, gather(of, rows, stage="quarter", **more))


@pytest.mark.parametrize("bot_rate", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("bot_in_canary", [False, True])
def test_a_bot_with_30_percent_of_the_traffic_does_not_condemn_an_equal_canary(
    bot_in_canary, bot_rate
):
    for seed in range(3):
        rows = crowd_and_bot(seed, canary_rate=RATE, bot_in_canary=bot_in_canary, bot_rate=bot_rate)

        assert judged(rows, max_per_unit_day=50).verdict is not Verdict.ROLLBACK, seed


@pytest.mark.parametrize("bot_in_canary", [False, True])
def test_a_canary_with_half_as_many_refusals_more_is_found_beside_a_bot(bot_in_canary):
    for seed in range(5):
        rows = crowd_and_bot(seed, canary_rate=WORSE, bot_in_canary=bot_in_canary, bot_rate=RATE)

        assert judged(rows, max_per_unit_day=50).verdict is Verdict.ROLLBACK, seed


def test_a_bot_proves_nothing_about_others():
    """Thousands of its answers are one unit; the others are too few."""
    few = [(f"u{k}", k % 4 == 0, respond(refusal=False)) for k in range(60)]
    rows = few + [("bot", True, respond(refusal=False))] * 3_000

    decision = judged(rows)

    assert decision.verdict is Verdict.WAIT
    assert decision.gates[0].comparison.effective_units < 2.0


def test_an_absurd_amount_does_not_stop_the_scoring():
    """One such value that raised would keep every later response from being scored."""
    of = plan(gate(), gate("latency_mean", margin=0.1, relative=True))
    rows = [
        (unit, canary, changed(facts, latency_ms=1e308 if k in (3, 70) else 500.0 + k % 7))
        for k, (unit, canary, facts) in enumerate(arms(2_000, 240))
    ]

    decision = decide(of, gather(of, rows))

    assert decision.verdict is not Verdict.ROLLBACK
