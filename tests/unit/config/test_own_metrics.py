"""Outcome metrics that the file declares, and net benefit."""

from __future__ import annotations

import pytest

from llm_canary.decision.rules import specs_of
from llm_canary.metrics.spec import Declared, Missing, ResponseFacts
from tests.unit.config.texts import EXAMPLE, MINIMAL, OWN_PLAN, ROLLOUT

PLAN = """
metrics:
  click: {window: 30m}
  revenue: {window: 2h, value: amount, missing: not_observed}
  complaints: {window: 1d, better: lower}
plans:
  shop:
    extends: standard
    gates:
      click: {kind: goal, margin: 1pp}
      revenue: {kind: goal, margin: 5%}
      complaints: {kind: guardrail, margin: 0.5pp}
"""


def test_a_declared_outcome_can_be_gated(loads):
    plan = loads(MINIMAL + PLAN).plans["shop"]

    assert plan.declared["click"] == Declared()
    assert plan.declared["revenue"] == Declared(amount=True, missing=Missing.NOT_OBSERVED)
    assert plan.windows_s == {"click": 1_800.0, "revenue": 7_200.0, "complaints": 86_400.0}
    assert {"click", "revenue", "revenue_response_rate", "complaints"} <= specs_of(plan).keys()
    assert "click_response_rate" not in specs_of(plan)


@pytest.mark.parametrize(
    ("name", "outcomes", "expected"),
    [
        pytest.param("click", {"click": 1.0}, 0.0, id="a-click-is-good"),
        pytest.param("click", {}, 1.0, id="no-click-in-time-is-none"),
        pytest.param("revenue", {"revenue": 12.5}, -12.5, id="more-revenue-is-better"),
        pytest.param("revenue", {}, None, id="revenue-not-reported-is-not-zero"),
        pytest.param("complaints", {"complaints": 1.0}, 1.0, id="a-complaint-is-bad"),
        pytest.param("complaints", {}, 0.0, id="no-complaint-in-time-is-good"),
    ],
)
def test_the_number_of_a_declared_outcome(loads, name, outcomes, expected):
    spec = specs_of(loads(MINIMAL + PLAN).plans["shop"])[name]

    assert spec.value(ResponseFacts(terminal="completed", outcomes=outcomes)) == expected


def test_net_benefit_is_cost_less_the_worth_of_the_answer(loads):
    spec = specs_of(loads(EXAMPLE).rollouts["support-v13"].plan)["net_benefit"]

    def value(**outcomes):
        facts = ResponseFacts(
            terminal="completed", share=0.5, cost_nanousd=3_000_000, outcomes=outcomes
        )
        return spec.value(facts)

    assert value(**{"rubric:support_answer": 0.5}) == pytest.approx(3_000_000 - 0.5 * 20_000_000)
    assert value(quality=0.5) is None
    assert value() is None


def test_net_benefit_of_a_route_without_rubrics_takes_the_quality_that_the_app_sends(loads):
    text = EXAMPLE.replace("rubrics: [support_answer]", "rubrics: []")
    spec = specs_of(loads(text).rollouts["support-v13"].plan)["net_benefit"]

    def value(**outcomes):
        facts = ResponseFacts(
            terminal="completed", share=0.5, cost_nanousd=3_000_000, outcomes=outcomes
        )
        return spec.value(facts)

    assert value(quality=0.5) == pytest.approx(3_000_000 - 0.5 * 20_000_000)
    assert value(quality=1.5) is None
    assert value() is None


@pytest.mark.parametrize(
    ("text", "path", "part"),
    [
        pytest.param(
            "metrics: {thumbs_up_rate: {window: 1h, better: lower}}",
            "metrics.thumbs_up_rate.better",
            "built in",
            id="a-built-in-keeps-its-meaning",
        ),
        pytest.param(
            "metrics: {click: {window: 1h, value: number}}",
            "metrics.click.value",
            "yes_or_no",
            id="an-unknown-kind-of-value",
        ),
        pytest.param(
            PLAN.replace("1pp", "5"), "plans.shop.gates.click.margin", "unit", id="5-is-no-rate"
        ),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(refuses, text, path, part):
    problems = "\n".join(refuses(f"{MINIMAL}\n{text}\n"))

    assert path in problems
    assert part in problems


def test_a_rubric_point_has_one_worth_in_the_whole_plan(refuses):
    gate = "net_benefit: {kind: goal, value_per_rubric_point_usd: WORTH, margin_usd: 0.0005}"
    text = MINIMAL + ROLLOUT + OWN_PLAN.replace("max: 2h}", "max: 2h, gates: {" + gate + "}}")
    text = text.replace("WORTH", "0.05", 1).replace("WORTH", "0.07")

    assert "worth different dollars" in "\n".join(refuses(text))
