"""What is fixed before the first response is scored."""

import math

import numpy as np
import pytest

from llm_canary.errors import DataError
from llm_canary.metrics.builtin import BUILT_IN
from llm_canary.metrics.freeze import Rule, StageMargin, freeze, quantile_of, scored

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


def test_a_cost_beyond_the_cap_counts_as_the_cap():
    spec = BUILT_IN["cost_per_request"]
    frozen = freeze(spec, LADDER, lognormal(200))

    assert scored(spec, frozen, 1e12) == frozen.cap
    assert frozen.margins["s1"] == pytest.approx(0.1 * frozen.centre)
