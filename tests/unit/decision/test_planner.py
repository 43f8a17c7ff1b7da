"""Forecasts against simulated tests, against the engine's own looks, and in what must hold always."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_canary.decision.gates import LOOKS, look_times_s
from llm_canary.decision.plan import Gate, Margin, MarginUnit, MetricKind, Plan, Stage
from llm_canary.decision.plan_warnings import warnings_of
from llm_canary.decision.planner import forecast
from llm_canary.decision.proof import KAPPA
from llm_canary.decision.sample_size import collection
from llm_canary.decision.traffic import MetricTraffic, Number, Traffic
from llm_canary.errors import DataError
from llm_canary.metrics.spec import Declared
from llm_canary.stats.boundaries import obrien_fleming
from llm_canary.stats.power import Target, binary_variance, canary_size

DAY_S = 86_400.0
ONCE = {"returning": Number(0.0), "per_unit": Number(1.0)}


def gate(metric="error_rate", margin=0.005, *, relative=False, kind=MetricKind.GUARDRAIL, **more):
    unit = MarginUnit.RELATIVE if relative else MarginUnit.ABSOLUTE
    return Gate(metric=metric, kind=kind, margin=Margin(margin, unit), **more)


def plan(*gates, shares=(0.05, 0.25, 0.5), min_days=1.0, max_days=3.0, **more):
    own = gates or (gate(),)
    names = ("initial", "expanded", "broad")[-len(shares) :]
    stages = [
        Stage(
            name=name,
            share=share,
            min_s=min_days * DAY_S,
            max_s=max_days * DAY_S,
            gates=own,
            margin_factor=float(len(shares) - index),
            min_units=more.pop("min_units", 200) if index == 0 else 200,
        )
        for index, (name, share) in enumerate(zip(names, shares, strict=True))
    ]
    stages += [
        Stage(name="full", share=0.99, is_measured=False),
        Stage(name="standby", share=0.99, for_s=2 * DAY_S, is_measured=False),
    ]
    return Plan(name="test", stages=tuple(stages), **more)


def traffic(daily=50_000.0, rate=None, **more):
    metrics = more.pop("metrics", {})
    if rate is not None:
        metrics = {"error_rate": MetricTraffic(rate=Number(rate)), **metrics}
    return Traffic(daily=Number(daily), metrics=metrics, **more)


def first(found, stage=0):
    return found.stages[stage].gates[0]


def simulated_chances(share, daily, rate, margin, *, bounds=None, runs=20_000):
    """How often a binomial canary that is truly equal has passed by each of the daily looks."""
    rng = np.random.default_rng(20_261_123)
    bounds = np.array(bounds or obrien_fleming(0.04, LOOKS))
    days = (runs, len(bounds))
    canary = rng.binomial(round(daily * share), rate, days).cumsum(axis=1)
    control = rng.binomial(round(daily * (1 - share)), rate, days).cumsum(axis=1)
    n = round(daily * share) * np.arange(1, len(bounds) + 1)
    m = round(daily * (1 - share)) * np.arange(1, len(bounds) + 1)
    score = (canary - n * rate) * (1 - share) - (control - m * rate) * share
    worse = rate + margin
    v_null = n * (1 - share) ** 2 * worse * (1 - worse) + m * share**2 * rate * (1 - rate)
    v_robust = (1 - share) ** 2 * (
        canary * (1 - worse) ** 2 + (n - canary) * worse**2
    ) + share**2 * (control * (1 - rate) ** 2 + (m - control) * rate**2)
    v = np.maximum(v_null, v_robust)
    z = (margin * n * (1 - share) - score) / np.sqrt(v)
    passed = (z >= bounds).cumsum(axis=1) > 0
    return passed.mean(axis=0)


@pytest.mark.parametrize(
    ("share", "daily", "rate", "margin"),
    [
        (0.05, 20_000, 0.01, 0.01),
        (0.5, 8_000, 0.02, 0.008),
        (0.25, 4_000, 0.2, 0.03),
        (0.5, 3_000, 0.7, 0.05),
    ],
)
def test_the_chance_of_passing_is_that_of_simulated_canaries(share, daily, rate, margin):
    of = plan(gate(margin=margin), shares=(share,), min_units=1)

    found = first(forecast(of, traffic(daily, rate, **ONCE)))

    simulated = simulated_chances(share, daily, rate, margin)
    assert 0.03 < simulated[0] < simulated[2] < 0.9999
    # Four standard errors of the simulation.
    assert found.chances == pytest.approx(simulated, abs=0.0145)


def test_the_size_lies_between_the_published_formulas_with_and_without_the_margin():
    of = plan(gate(margin=0.01), shares=(0.05,), min_units=1)

    needed = first(forecast(of, traffic(20_000, 0.01, **ONCE))).needed_responses

    target = Target(0.01, alpha=0.04, kappa=KAPPA)
    sizes = [
        canary_size(target, variance=variance, share=0.05)
        for variance in (0.01 * 0.99, binary_variance(0.01, 0.01, 0.05))
    ]
    # The bound grants the canary the margin; equal arms vary less than that.
    assert sizes[0] < needed < sizes[1]


def test_the_size_gives_the_power_that_it_promises():
    """One look at the size: a simulated canary that is equal passes in nine of ten runs."""
    of = plan(gate(margin=0.01), shares=(0.05,), min_units=1, min_days=1.0, max_days=1.0)
    needed = first(forecast(of, traffic(20_000, 0.01, **ONCE))).needed_responses

    chances = simulated_chances(0.05, needed / 0.05, 0.01, 0.01, bounds=(1.7507 * KAPPA**0.5,))

    assert chances[0] == pytest.approx(0.9, abs=0.012)


def test_the_looks_are_those_of_the_engine():
    of = plan(min_days=1.0, max_days=4.0)

    for stage, found in zip(of.stages, forecast(of, traffic()).stages, strict=False):
        assert [day * DAY_S for day in found.looks_days] == list(look_times_s(of, stage))


def test_days_are_whole_cycles_after_the_outcomes_window():
    rated = traffic(metrics={"thumbs_up_rate": MetricTraffic(observed=Number(0.5))}, **ONCE)
    of = plan(gate("thumbs_up_rate", 0.05), shares=(0.05,), min_units=1)

    slow = msgspec.structs.replace(of, windows_s={"thumbs_up_rate": 1.5 * DAY_S})

    assert first(forecast(of, rated)).days == 2.0
    assert first(forecast(slow, rated)).days == 3.0
    assert first(forecast(slow, rated)).chances[0] == 0.0


def test_what_earlier_stages_have_shown_is_not_asked_for_again():
    alone = first(forecast(plan(shares=(0.5,)), traffic(20_000, 0.01)))
    after = first(forecast(plan(shares=(0.25, 0.5)), traffic(20_000, 0.01)), stage=1)

    assert after.needed_responses < alone.needed_responses
    assert after.chances[0] > alone.chances[0]


def test_the_ladder_of_margins_is_applied():
    found = forecast(plan(gate(margin=0.005)), traffic())

    assert [first(found, k).written for k in range(3)] == ["1.5 pp", "1 pp", "0.5 pp"]
    assert [first(found, k).margin for k in range(3)] == pytest.approx([0.015, 0.01, 0.005])


def test_a_rate_that_is_better_when_larger_is_turned_round():
    rated = {"thumbs_up_rate": MetricTraffic(rate=Number(0.9), observed=Number(1.0))}
    of = plan(gate("thumbs_up_rate", 0.05), shares=(0.5,), min_units=1)

    needed = first(forecast(of, traffic(1_000, metrics=rated, **ONCE))).needed_responses

    bad = {"error_rate": MetricTraffic(rate=Number(0.1))}
    same = first(
        forecast(
            plan(gate(margin=0.05), shares=(0.5,), min_units=1), traffic(1_000, metrics=bad, **ONCE)
        )
    )
    assert needed == pytest.approx(same.needed_responses)


def test_returning_users_make_a_stage_longer_and_their_responses_worth_less():
    once = forecast(plan(), traffic(20_000, **ONCE))
    often = forecast(plan(), traffic(20_000, per_unit=Number(5.0), icc=Number(0.3)))

    assert once.independent_daily == 20_000
    # Geometric numbers of requests: 1 + (2 x 5 - 1 - 1) x 0.3.
    assert often.independent_daily == pytest.approx(20_000 / 3.4)
    assert often.days_expected > once.days_expected
    assert often.stages[0].exposed_units < once.stages[0].exposed_units


def test_users_who_come_every_day_are_exposed_once():
    every = forecast(plan(), traffic(returning=Number(1.0)))

    assert every.stages[-1].exposed_units == pytest.approx(25_000)


def test_returning_users_weigh_as_much_as_simulated_ones():
    """Users come on 4 days of 10, each time with their own number of requests; 3 % are rated."""
    rng = np.random.default_rng(9)
    users, days, mean, again, rated = 200_000, 3, 2.5, 0.4, 0.03
    comes = rng.random((users, days)) < again
    requests = rng.geometric(1 / mean, users) * comes.sum(axis=1)
    answers = rng.binomial(requests, rated)
    effective = answers.sum() ** 2 / (answers**2).sum()
    daily = users * again * mean

    known = traffic(
        daily,
        per_unit=Number(mean),
        returning=Number(again),
        metrics={"thumbs_up_rate": MetricTraffic(observed=Number(rated))},
    )
    of = plan(gate("thumbs_up_rate", 0.05), shares=(0.5,), windows_s={"thumbs_up_rate": 0.0})

    assert first(forecast(of, known)).units_at_max == pytest.approx(effective / 2, rel=0.03)
    assert known.units_within(days) == pytest.approx((requests > 0).sum(), rel=0.01)
    assert known.clumping(days) == pytest.approx((requests**2).sum() / requests.sum(), rel=0.01)


def test_the_cost_is_the_canarys_responses_at_its_price():
    priced = traffic(cost=Number(4e6), canary_cost=Number(1e6), **ONCE)

    found = forecast(plan(shares=(0.5,)), priced)
    stage = found.stages[0]

    assert stage.canary_responses == pytest.approx(25_000 * stage.days_expected)
    assert stage.canary_usd == pytest.approx(stage.canary_responses * 0.001)
    assert stage.extra_usd == pytest.approx(-stage.canary_responses * 0.003)
    assert found.standby_usd == pytest.approx(2 * 0.99 * 50_000 * 0.001)


def test_every_number_that_was_not_given_is_listed_with_its_source():
    found = forecast(plan(gate(), gate("latency_p95", 0.1, relative=True)), traffic(rate=0.02))

    sources = {each.what: (each.text, each.source) for each in found.assumptions}
    assert sources["requests a day"] == ("50,000", "given")
    assert sources["error_rate: control"] == ("2.0 %", "given")
    assert sources["users of one day who come on another"] == ("30 %", "default")
    assert sources["latency_p95: control"][1] == "default"


def test_recorded_values_are_fixed_as_the_engine_fixes_them():
    rng = np.random.default_rng(5)
    values = tuple(rng.lognormal(6.0, 0.5, 2_000).tolist())
    recorded = {"latency_p95": MetricTraffic(values=values, source="from the last 7 days")}
    of = plan(gate("latency_p95", 0.1, relative=True), shares=(0.5,))

    found = forecast(of, traffic(metrics=recorded))

    # A lognormal of sigma .5: a tenth more moves 5 % above the threshold from 3.3 %.
    assert first(found).margin == pytest.approx(0.0172, abs=0.004)
    assert {each.source for each in found.assumptions if "p95: control" in each.what} == {
        "from the last 7 days"
    }


@pytest.mark.parametrize(
    ("metric", "margin", "more"),
    [
        ("latency_p50", 0.1, {}),
        ("latency_mean", 0.1, {}),
        ("cost_per_request", 0.1, {}),
        ("cost_per_resolved", 0.1, {}),
        ("latency_rank", 0.1, {}),
        ("task_completion", 0.1, {}),
        ("escalation", 0.2, {}),
    ],
)
def test_every_kind_of_metric_has_a_default(metric, margin, more):
    found = forecast(plan(gate(metric, margin, relative=True)), traffic(500_000, **more))

    assert found.unknown == ()
    assert all(one.gates[0].chances[-1] > 0.5 for one in found.stages)


def test_a_metric_that_nothing_is_known_of_has_no_forecast_until_its_mean_is_given():
    of = plan(gate("basket", 2.0, kind=MetricKind.GOAL), declared={"basket": Declared(amount=True)})
    given_ = {"basket": MetricTraffic(mean=Number(40.0), sd=Number(30.0))}

    unknown, known = forecast(of, traffic()), forecast(of, traffic(metrics=given_))

    assert unknown.unknown == ("basket",)
    assert unknown.chance == 0.0
    assert any("--mean basket=MEAN:SD" in each for each in warnings_of(of, traffic(), unknown))
    assert known.unknown == ()
    assert first(known).margin == pytest.approx(6.0)


def warned(of, known):
    return warnings_of(of, known, forecast(of, known))


def test_a_margin_out_of_reach_is_named_with_what_would_do():
    known = traffic(3_000, rate=0.2, **ONCE)
    of = plan(gate(margin=0.01), shares=(0.25, 0.5))

    (text,) = [each for each in warned(of, known) if each.startswith("stage broad")]

    assert "the margin of 1 pp is shown within 3 d with" in text
    wider = float(text.partition("a margin of about ")[2].partition(" pp")[0]) / 100
    again = plan(gate(margin=wider), shares=(0.25, 0.5))
    assert first(forecast(again, known), stage=1).chances[-1] > 0.85


def test_a_share_that_would_do_does():
    known = traffic(3_000, rate=0.05, **ONCE)
    of = plan(gate(margin=0.02), shares=(0.05,))
    (text,) = [each for each in warned(of, known) if "a share of" in each]
    share = float(text.partition("a share of ")[2].partition("%")[0]) / 100

    other = plan(gate(margin=0.02), shares=(share,))

    assert first(forecast(other, known)).chances[-1] > 0.85


@pytest.mark.parametrize(
    ("of", "known", "part"),
    [
        pytest.param(
            plan(full_cycle_s=7 * DAY_S, max_days=10.0),
            traffic(),
            "shorter than a traffic cycle of 7 d",
            id="shorter-than-a-cycle",
        ),
        pytest.param(
            plan(), traffic(quietest=Number(0.4)), "brings 40% of the mean", id="weekdays"
        ),
        pytest.param(
            plan(gate("latency_p95", 0.1, relative=True)),
            traffic(1_000),
            "fewer than the min_units of 200",
            id="min-units",
        ),
        pytest.param(
            plan(gate(margin=0.001)),
            traffic(1_000, rate=0.0005),
            "that a margin of 0.3 pp asks for at least",
            id="units-for-the-margin",
        ),
        pytest.param(
            plan(gate(margin=0.1, relative=True)),
            traffic(rate=0.001),
            "10 % of so small a rate is 0.01 pp",
            id="relative-margin-of-a-tiny-rate",
        ),
        pytest.param(
            plan(gate("rubric:helpful", 0.03, kind=MetricKind.GOAL)),
            traffic(),
            "nothing measures it in this release",
            id="judged",
        ),
        pytest.param(plan(), traffic(), "no traffic estimate for error_rate (1.0 %)", id="default"),
        pytest.param(
            plan(gate(margin=0.004), gate("invalid_output", 0.006)),
            traffic(4_500, rate=0.01),
            "the weakest is error_rate",
            id="together",
        ),
    ],
)
def test_what_will_not_work_is_said(of, known, part):
    assert [each for each in warned(of, known) if part in each]


def test_a_good_plan_is_not_warned_about():
    assert warned(plan(), traffic(rate=0.01, quietest=Number(0.9))) == ()


def test_a_gate_that_nothing_measures_never_passes_but_says_what_it_would_need():
    found = forecast(plan(gate("rubric:helpful", 0.03)), traffic())

    assert found.chance == 0.0
    assert first(found).needed_responses > 0


def test_secondary_gates_are_not_waited_for():
    of = plan(gate(), gate("latency_p95", 0.001, relative=True, kind=MetricKind.SECONDARY))

    found = forecast(of, traffic())

    assert {each.metric for one in found.stages for each in one.gates} == {"error_rate"}


@pytest.mark.parametrize("wrong", [{"daily": Number(0.0)}, {"per_unit": Number(0.5)}])
def test_traffic_that_cannot_be_is_refused(wrong):
    with pytest.raises(DataError):
        Traffic(**({"daily": Number(1.0)} | wrong))


GATES = (
    gate(),
    gate("latency_p95", 0.1, relative=True),
    gate("thumbs_up_rate", 0.05, kind=MetricKind.GOAL),
    gate("cost_per_request", 0.1, relative=True, kind=MetricKind.GOAL),
)
MANY = st.fixed_dictionaries(
    {
        "daily": st.floats(200, 1e6),
        "per_unit": st.floats(1, 5),
        "returning": st.floats(0, 1),
        "icc": st.floats(0, 0.5),
    }
)


def drawn(values, **changes):
    return Traffic(**{name: Number(value) for name, value in (values | changes).items()})


@settings(max_examples=60)
@given(MANY, st.floats(1, 20))
def test_more_traffic_never_takes_longer(values, factor):
    little = forecast(plan(*GATES), drawn(values))
    much = forecast(plan(*GATES), drawn(values, daily=values["daily"] * factor))

    assert much.days_expected <= little.days_expected + 1e-6
    assert much.chance >= little.chance - 1e-6


@settings(max_examples=60)
@given(MANY, st.floats(0.001, 0.05), st.floats(1, 4))
def test_a_larger_margin_never_needs_more(values, margin, factor):
    known = drawn(values)
    narrow = first(forecast(plan(gate(margin=margin)), known))
    wide = first(forecast(plan(gate(margin=margin * factor)), known))

    assert (wide.days or math.inf) <= (narrow.days or math.inf)
    assert wide.chances[-1] >= narrow.chances[-1] - 1e-9


@settings(max_examples=60)
@given(MANY)
def test_a_forecast_is_in_order(values):
    found = forecast(plan(*GATES), drawn(values))

    assert found.days_min <= found.days_expected <= found.days_max
    assert 0.0 <= found.chance_at_least <= found.chance + 1e-9 <= 1.0
    for stage in found.stages:
        assert list(stage.chances) == sorted(stage.chances)
        assert stage.exposed_units <= values["daily"] * found.days_max
    assert [one.exposed_units for one in found.stages] == sorted(
        one.exposed_units for one in found.stages
    )


def test_the_sources_example_takes_four_days_and_would_do_with_less():
    found = collection(daily=50_000, share=0.05, needed=10_000)

    assert found.days == 4.0
    assert (found.effect, found.equal_arm) == (0.02, 9_804)
    assert [(one.rate, one.responses, one.days) for one in found.with_large_control] == [
        (0.5, 5_156, 3.0),
        (0.1, 2_166, 1.0),
    ]


def test_a_handful_of_responses_is_no_textbook_size():
    assert collection(daily=100, share=0.1, needed=20).effect is None


def test_a_stage_without_a_gate_that_decides_is_never_left():
    of = plan(gate(kind=MetricKind.SECONDARY))

    found = forecast(of, traffic())

    assert (found.chance, found.chance_at_least) == (0.0, 0.0)
    assert found.stages[0].binding is None
    assert "stage initial: no gate decides" in warned(of, traffic())[0]
