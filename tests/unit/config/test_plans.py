"""Stages and gates: what a plan means after extending, adding and overriding."""

from __future__ import annotations

import pytest

from llm_canary.decision.plan import Gate, Margin, MarginUnit, MetricKind
from tests.unit.config.texts import EXAMPLE, MINIMAL, OWN_PLAN, ROLLOUT

DAY_S = 86_400.0


def absolute(value: float) -> Margin:
    return Margin(value=value, unit=MarginUnit.ABSOLUTE)


def relative(value: float) -> Margin:
    return Margin(value=value, unit=MarginUnit.RELATIVE)


def gates_of(stage) -> dict[str, Gate]:
    return {gate.metric: gate for gate in stage.gates}


class TestStandard:
    """The built-in plan."""

    def test_its_stages(self, loads):
        stages = loads(MINIMAL).plans["standard"].stages

        assert [
            (s.name, s.share, s.min_s, s.max_s, s.min_units) for s in stages if s.is_measured
        ] == [
            ("initial", 0.05, DAY_S, 3 * DAY_S, 200),
            ("expanded", 0.25, DAY_S, 3 * DAY_S, 200),
            ("broad", 0.5, DAY_S, 3 * DAY_S, 200),
        ]
        assert [(s.name, s.share, s.for_s) for s in stages if not s.is_measured] == [
            ("full", 0.99, 0.0),
            ("standby", 0.99, 2 * DAY_S),
        ]

    def test_its_gates_stand_in_every_measured_stage(self, loads):
        for stage in loads(MINIMAL).plans["standard"].stages[:3]:
            assert {m: (g.kind, g.margin) for m, g in gates_of(stage).items()} == {
                "error_rate": (MetricKind.GUARDRAIL, absolute(0.005)),
                "latency_p95": (MetricKind.GUARDRAIL, relative(0.1)),
                "invalid_output": (MetricKind.GUARDRAIL, absolute(0.01)),
                "thumbs_up_rate": (MetricKind.GOAL, absolute(0.05)),
                "cost_per_request": (MetricKind.GOAL, relative(0.1)),
            }

    def test_its_error_rates_and_cycle(self, loads):
        plan = loads(MINIMAL).plans["standard"]

        assert (plan.alpha_rollback, plan.alpha_promote) == (0.01, 0.05)
        assert plan.full_cycle_s == DAY_S

    def test_it_adds_a_goal_for_each_rubric_of_the_route(self, loads):
        stage = loads(EXAMPLE).rollouts["support-v13"].plan.stages[0]

        gate = gates_of(stage)["rubric:support_answer"]
        assert (gate.kind, gate.margin) == (MetricKind.GOAL, absolute(0.03))

    def test_a_file_may_override_it_and_still_extend_it(self, loads):
        text = MINIMAL + "plans: {standard: {extends: standard, alpha: {rollback: 0.02}}}\n"

        plan = loads(text).plans["standard"]

        assert (plan.alpha_rollback, plan.alpha_promote) == (0.02, 0.05)
        assert len(plan.stages) == 5


def test_full_and_standby_are_not_measured_and_have_no_gates(loads):
    for stage in loads(EXAMPLE).rollouts["support-v13"].plan.stages[3:]:
        assert not stage.is_measured
        assert stage.gates == ()


def test_a_stage_adds_gates_to_those_of_the_plan(loads):
    initial, expanded, *_ = loads(EXAMPLE).plans["careful"].stages

    assert "cost_per_resolved" not in gates_of(initial)
    assert gates_of(expanded)["cost_per_resolved"].margin == relative(0.1)
    assert gates_of(expanded)["error_rate"] == gates_of(initial)["error_rate"]


def test_a_stage_overrides_only_what_it_writes(loads):
    text = MINIMAL + ROLLOUT + OWN_PLAN
    text = text.replace("10%, min", "10%, gates: {error_rate: {margin: 2pp}}, min")

    one, two, *_ = loads(text).rollouts["next"].plan.stages

    assert gates_of(one)["error_rate"].margin == absolute(0.01)
    assert gates_of(two)["error_rate"].margin == absolute(0.02)
    assert gates_of(two)["error_rate"].kind is MetricKind.GUARDRAIL


def test_a_rollout_adds_to_and_overrides_every_measured_stage(loads):
    rollout = loads(EXAMPLE).rollouts["support-v13"]

    for stage in rollout.plan.stages[:3]:
        gate = gates_of(stage)["net_benefit"]
        assert (gate.kind, gate.margin) == (MetricKind.GOAL, absolute(500_000.0))  # nano-dollars
        assert gate.value_per_rubric_point_usd == 0.02


def test_a_rollout_wins_over_a_stage(loads):
    text = MINIMAL + ROLLOUT + "    gates: {error_rate: {margin: 3pp}}\n" + OWN_PLAN
    text = text.replace("10%, min", "10%, gates: {error_rate: {margin: 2pp}}, min")

    two = loads(text).rollouts["next"].plan.stages[1]

    assert gates_of(two)["error_rate"].margin == absolute(0.03)


def test_the_gates_of_a_rollout_do_not_change_the_plan(loads):
    assert "net_benefit" not in gates_of(loads(EXAMPLE).plans["standard"].stages[0])


@pytest.mark.parametrize(
    ("written", "margin"),
    [
        pytest.param("0.5pp", absolute(0.005), id="percentage points"),
        pytest.param("10%", relative(0.1), id="a percentage of the control's value"),
        pytest.param("0.03", absolute(0.03), id="a bare number is in the metric's unit"),
        pytest.param("'0.03'", absolute(0.03), id="also as text"),
    ],
)
def test_margins(loads, written, margin):
    text = MINIMAL + ROLLOUT + f"    gates: {{error_rate: {{margin: {written}}}}}\n"

    assert gates_of(loads(text).rollouts["next"].plan.stages[0])["error_rate"].margin == margin


def test_a_tolerance_is_a_number_in_the_margins_unit(loads):
    text = MINIMAL + ROLLOUT + "    gates: {thumbs_up_rate: {tolerance: 1pp}}\n"

    gates = gates_of(loads(text).rollouts["next"].plan.stages[0])
    assert gates["thumbs_up_rate"].tolerance == 0.01
    assert gates["error_rate"].tolerance is None


@pytest.mark.parametrize(
    ("shares", "factors"),
    [
        pytest.param([50], [1], id="one stage"),
        pytest.param([10, 50], [2, 1], id="two stages"),
        pytest.param([5, 25, 50], [3, 2, 1], id="three stages"),
        pytest.param([1, 5, 10, 25, 50], [3, 3, 3, 2, 1], id="no more than three margins"),
    ],
)
def test_the_margin_ladder_counts_from_the_last_measured_stage(loads, shares, factors):
    stages = "".join(
        f"      - {{name: s{share}, share: {share}%, min: 1d, max: 2d}}\n" for share in shares
    )
    text = f"{MINIMAL}plans:\n  p:\n    extends: standard\n    stages:\n{stages}"
    plan = loads(text + "      - {name: full}\n").plans["p"]

    assert [stage.margin_factor for stage in plan.stages if stage.is_measured] == factors
    assert plan.stages[-1].share == 1.0  # no holdback


def test_a_gate_of_all_rubrics_can_be_narrowed_for_one(loads):
    text = EXAMPLE.replace(
        "      net_benefit:", "      'rubric:support_answer': {margin: 0.01}\n      net_benefit:"
    )

    gate = gates_of(loads(text).rollouts["support-v13"].plan.stages[0])["rubric:support_answer"]
    assert (gate.kind, gate.margin) == (MetricKind.GOAL, absolute(0.01))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90.0), ("1.5h", 5400.0), ("7d", 7 * DAY_S), ("1w", 7 * DAY_S), ("250ms", 0.25)],
)
def test_durations(loads, written, seconds):
    text = MINIMAL + ROLLOUT + OWN_PLAN.replace("for: 1h", f"for: {written}")

    assert loads(text).plans["mine"].stages[-1].for_s == seconds


@pytest.mark.parametrize("written", ["5%", "0.05", "'0.05'", "5.0%"])
def test_shares(loads, written):
    text = MINIMAL + ROLLOUT + OWN_PLAN.replace("share: 5%", f"share: {written}")

    assert loads(text).plans["mine"].stages[0].share == 0.05
