"""Simulated responses follow their laws."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from scipy.stats import binomtest

from llm_canary.decision.rules import specs_of
from llm_canary.errors import DataError
from llm_canary.simulation.laws import USUAL, Amount, Rate, World, changed
from llm_canary.simulation.plans import standard_plan
from llm_canary.simulation.responses import Source
from llm_canary.simulation.summary import share_of

SPECS = specs_of(standard_plan())
WORSE = World(
    canary=changed(
        changed(changed(USUAL, "error_rate", 0.02, relative=False), "cost_per_request", 0.3, relative=True),
        "thumbs_up_rate", 0.1, relative=False,
    )
)  # fmt: skip


def draw(world, n=400_000, *, seed=1):
    source = Source(world, SPECS.values(), np.random.default_rng(seed))
    return source.draw(n, start_s=0.0, end_s=3_600.0, stage="initial", share=0.25)


def mean(batch, metric, *, canary):
    seen = batch.seen[metric]
    arm = batch.canary if seen.at is None else batch.canary[seen.at]
    return float(seen.value[arm == canary].mean())


@pytest.mark.parametrize("per_user", [1.0, 4.0], ids=["once", "returning"])
def test_both_arms_answer_as_described(per_user):
    batch = draw(msgspec.structs.replace(WORSE, requests_per_user=per_user))
    cost = USUAL["cost"].mean

    assert batch.canary.mean() == pytest.approx(0.25, abs=0.02)
    for metric, control, canary in (
        ("error_rate", 0.01, 0.03),
        ("invalid_output", 0.02, 0.02),
        ("thumbs_up_rate", 0.2, 0.3),
        ("thumbs_response_rate", 0.97, 0.97),
        ("cost_per_request", cost, 1.3 * cost),
        ("latency_p95", USUAL["latency"].mean, USUAL["latency"].mean),
    ):
        assert mean(batch, metric, canary=False) == pytest.approx(control, rel=0.07), metric
        assert mean(batch, metric, canary=True) == pytest.approx(canary, rel=0.07), metric


def test_a_failed_response_has_no_latency_cost_or_answer():
    batch = draw(WORSE)
    failed = np.flatnonzero(batch.seen["error_rate"].value)

    assert len(failed) > 1_000
    for metric in ("latency_p95", "cost_per_request", "invalid_output"):
        assert not np.isin(failed, batch.seen[metric].at).any()


def test_who_comes_back_keeps_the_arm_and_gets_alike_answers():
    world = msgspec.structs.replace(WORSE, daily=4_000.0, requests_per_user=20.0, icc=0.3)
    batch = draw(world, 40_000)
    seen = batch.seen["latency_p95"]
    logs, unit = np.log(seen.value), batch.unit[seen.at]
    units = [np.flatnonzero(unit == each) for each in range(world.returning)]
    between = np.var([logs[at].mean() for at in units if len(at) > 50])

    assert all(len(set(batch.canary[batch.unit == each])) <= 1 for each in range(world.returning))
    assert between / np.var(logs) == pytest.approx(0.3, abs=0.08)


def test_an_amount_has_its_mean_and_impossible_laws_are_refused():
    amount = Amount(median=100.0, sigma=0.5)

    assert amount.mean == pytest.approx(100 * math.exp(0.125))
    for wrong in (
        lambda: Rate(bad=1.2),
        lambda: Rate(bad=0.1, asked=0.0),
        lambda: Amount(median=0.0, sigma=0.5),
        lambda: World(daily=math.nan),
        lambda: changed(USUAL, "cost", 0.1, relative=False),
    ):
        with pytest.raises(DataError):
            wrong()


@pytest.mark.parametrize(("count", "runs"), [(0, 20), (3, 50), (20, 20)])
def test_a_share_of_runs_has_its_exact_interval(count, runs):
    found, exact = share_of(count, runs), binomtest(count, runs).proportion_ci(0.95)

    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
