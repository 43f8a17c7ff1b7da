"""What is fixed before the first response is scored."""

import math

import numpy as np
import pytest

from llm_canary.errors import DataError
from llm_canary.metrics.builtin import BUILT_IN, declared_metrics
from llm_canary.metrics.freeze import Rule, StageMargin, freeze, quantile_of, scored
from llm_canary.metrics.graded import net_benefit
from llm_canary.metrics.spec import Declared

P95 = BUILT_IN["latency_p95"]
LADDER = Rule(stages={f"s{k}": StageMargin(0.1 * k, relative=True) for k in (3, 2, 1)})


def lognormal(n, seed=1):
    return list(np.random.default_rng(seed).lognormal(math.log(800.0), 0.6, n))


def test_the_threshold_is_the_quantile_and_the_final_margin_above():
    values = lognormal(1_000)

    frozen = freeze(P95, LADDER, values)

    assert frozen.threshold == pytest.approx(1.1 * quantile_of(values, 0.95))
    assert quantile_of(values, 0.95) == pytest.approx(np.quantile(values, 0.95), rel=0.05)


def test_a_canary_slower_by_the_final_margin_has_exactly_the_allowed_share_above():
    frozen = freeze(P95, LADDER, lognormal(1_000))

    assert frozen.centre + frozen.final_margin == pytest.approx(0.05, abs=1e-6)


def test_margins_of_earlier_stages_are_wider():
    margins = freeze(P95, LADDER, lognormal(1_000)).margins

    assert margins["s3"] > margins["s2"] > margins["s1"] > 0.0


def test_fifty_equal_latencies_still_give_a_usable_threshold():
    frozen = freeze(P95, LADDER, [500.0] * 50)

    assert 500.0 < frozen.threshold < 600.0
    assert frozen.final_margin > 0.01


def test_too_few_control_values_fix_nothing():
    with pytest.raises(DataError, match="50 are needed"):
        freeze(P95, LADDER, [500.0] * 49)


def test_a_rate_is_centred_on_its_prior_without_data_and_never_at_zero():
    rule = Rule(stages={"s": StageMargin(0.005, relative=False)})

    assert freeze(BUILT_IN["error_rate"], rule, []).centre == pytest.approx(0.01)
    assert freeze(BUILT_IN["error_rate"], rule, [0.0] * 100).centre == pytest.approx(0.5 / 101)


@pytest.mark.parametrize(
    ("metric", "tolerance", "expected"),
    [
        pytest.param("error_rate", None, 0.0, id="none-for-hard-failures"),
        pytest.param("refusal_rate", None, 0.005, id="half-the-margin-otherwise"),
        pytest.param("refusal_rate", 0.002, 0.002, id="as-written"),
    ],
)
def test_the_tolerance(metric, tolerance, expected):
    rule = Rule(stages={"s": StageMargin(0.01, relative=False)}, tolerance=tolerance)

    assert freeze(BUILT_IN[metric], rule, []).tolerance == pytest.approx(expected)


def test_a_relative_margin_is_one_of_the_rate_that_is_shown():
    rule = Rule(stages={"s": StageMargin(0.2, relative=True)})
    not_clicked = [1.0] * 95 + [0.0] * 5
    (click,) = declared_metrics("click", Declared())

    assert freeze(click, rule, not_clicked).margins["s"] == pytest.approx(0.2 * 0.05)
    assert freeze(BUILT_IN["refusal_rate"], rule, not_clicked).margins["s"] == pytest.approx(0.19)


def test_a_cost_beyond_the_cap_counts_as_the_cap():
    spec = BUILT_IN["cost_per_request"]
    frozen = freeze(spec, LADDER, lognormal(200))

    assert scored(spec, frozen, 1e12) == frozen.cap
    assert frozen.margins["s1"] == pytest.approx(0.1 * frozen.centre)


def test_what_may_be_negative_is_cut_at_both_ends_around_the_mean():
    spec, _ = net_benefit(1e7)
    values = [1e6 * each for each in np.random.default_rng(3).normal(-8.0, 2.0, 500)]
    frozen = freeze(spec, Rule(stages={"s": StageMargin(5e5, relative=False)}), values)

    assert frozen.floor < min(values)
    assert max(values) < frozen.cap
    assert scored(spec, frozen, 1e12) == frozen.cap
    assert scored(spec, frozen, -1e12) == frozen.floor
    assert frozen.margins["s"] == 5e5


def test_a_ratio_is_scored_around_the_controls_own():
    spec = BUILT_IN["cost_per_resolved"]
    rng = np.random.default_rng(4)
    costs, resolved = list(rng.lognormal(10.0, 0.3, 400)), list(rng.binomial(1, 0.6, 400) * 1.0)
    frozen = freeze(spec, LADDER, costs, resolved)
    lines = [scored(spec, frozen, c, n) for c, n in zip(costs, resolved, strict=True)]

    assert frozen.ratio == pytest.approx(sum(costs) / sum(resolved))
    assert np.mean(lines) == pytest.approx(0.0, abs=1e-6 * frozen.ratio)
    # A canary 10 % dearer per resolved task differs by the last stage's margin on the scored scale.
    dearer = np.mean(
        [scored(spec, frozen, 1.1 * c, n) for c, n in zip(costs, resolved, strict=True)]
    )
    assert dearer == pytest.approx(frozen.margins["s1"], rel=0.01)
    assert frozen.margins["s1"] / frozen.per_response == pytest.approx(0.1 * frozen.ratio)


def test_a_ratio_without_any_denominator_fixes_nothing():
    with pytest.raises(DataError, match="positive sum"):
        freeze(BUILT_IN["cost_per_resolved"], LADDER, [5.0] * 60, [0.0] * 60)


def test_ranks_of_the_control_average_to_one_half():
    spec = BUILT_IN["latency_rank"]
    values = lognormal(300)
    frozen = freeze(spec, Rule(stages={"s": StageMargin(0.03, relative=False)}), values)

    assert np.mean([scored(spec, frozen, each) for each in values]) == pytest.approx(0.5)
    assert scored(spec, frozen, 1e9) == 1.0
    assert frozen.margins["s"] == 0.03
