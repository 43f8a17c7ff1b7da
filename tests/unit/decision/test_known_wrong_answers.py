"""Answers of other canary judges that their users reported as wrong, judged by ours.

A judge of time series sees one number per interval. Here a number belongs to a response, so each
series stands for responses of an arm, with the arms in the proportion of the plan's share. A series
of ten numbers proves nothing: the verdict must be to wait. The same series over and over is proof.
"""

from __future__ import annotations

import math

import pytest

from llm_canary.decision import evidence as form
from llm_canary.decision.engine import Verdict, decide
from llm_canary.decision.gates import GateStatus
from llm_canary.decision.plan import MetricKind
from tests.support.evidence import gate, gather, plan, respond

MEAN = gate("latency_mean", margin=0.1, relative=True)
P95 = gate("latency_p95", margin=0.1, relative=True)


def rollout(of, control, canary, *, stage="broad", times=1, age_s=100.0, last_age_s=1.0):
    """Decide on `control` and `canary` answers, each of a unit of its own, `times` over."""
    share = next(each.share for each in of.stages if each.name == stage)
    each_control = round((1.0 - share) / share)
    rows = []
    for k in range(times):
        # Where there are more units of the control, its series is repeated.
        rows += [
            (f"control-{k}-{j}-{n}", False, facts)
            for j in range(each_control)
            for n, facts in enumerate(control)
        ]
        rows += [(f"canary-{k}-{n}", True, facts) for n, facts in enumerate(canary)]
    found = gather(of, rows, stage=stage, age_s=age_s, last_age_s=last_age_s)
    return decide(of, found)


def timed(values):
    return [respond(latency_ms=value) for value in values]


def counted(errors, *, of):
    """`of` responses in each interval, so many of them failed."""
    return [respond(bad=k < failed) for failed in errors for k in range(of)]


def statuses(decision):
    return {each.metric: each.status for each in decision.gates}


SEVEN_OF_TEN = [100.0] * 7 + [1.0] * 3


def test_seven_of_ten_points_at_a_hundred_against_one_is_never_a_pass():
    """Spinnaker issue 6278: passes there, and only an eighth point makes it fail."""
    decision = rollout(plan(MEAN), timed([1.0] * 10), timed(SEVEN_OF_TEN))

    assert decision.verdict is Verdict.WAIT
    assert "watching the control first, 10 of 50" in decision.reasons[0]


@pytest.mark.parametrize("metric", ["latency_mean", "latency_p50", "latency_p95"])
def test_seven_of_ten_at_a_hundred_over_and_over_is_rolled_back(metric):
    of = plan(gate(metric, margin=0.1, relative=True))

    decision = rollout(of, timed([1.0] * 10), timed(SEVEN_OF_TEN), times=12)

    assert decision.verdict is Verdict.ROLLBACK
    assert decision.reasons[0].startswith(f"global_harm: {metric} is worse")


SPARSE = [0, 1, 2, 1, 0, 0]


def test_sparse_errors_are_never_a_pass():
    """Kayenta issue 426: four errors against none, in three of six intervals, pass there."""
    decision = rollout(plan(), counted([0] * 6, of=10), counted(SPARSE, of=10))

    assert decision.verdict is Verdict.WAIT
    assert decision.gates[0].comparison.first_failures == (4, 4, 2.0)
    assert decision.log_e_global > 0.0  # what little there is speaks against the canary


def test_sparse_errors_that_go_on_are_rolled_back():
    decision = rollout(plan(), counted([0] * 6, of=10), counted(SPARSE, of=10), times=5)

    assert decision.verdict is Verdict.ROLLBACK
    assert "20 of 20 units with a failure are in the canary, expected 10.0" in decision.reasons[0]


REPORTED = [1, None, None, None, None, 2, None, None, None, None, 1] + [None] * 4 + [2] + [None] * 9


def test_errors_where_the_control_has_none_are_rolled_back():
    """Kayenta issue 799: without an error the control has no series, and nothing is compared.

    An answer without an error is an observation here: the control's rate is 0, not unknown.
    """
    canary = counted([each or 0 for each in REPORTED], of=5)

    decision = rollout(plan(), counted([0] * 25, of=5), canary, stage="initial")

    assert decision.verdict is Verdict.ROLLBACK
    assert "6 of 6 units with a failure are in the canary" in decision.reasons[0]


@pytest.mark.parametrize("age_s", [100.0, 500.0, 5_000.0])
@pytest.mark.parametrize("silent", ["control", "canary"])
@pytest.mark.parametrize("nothing", [None, math.nan, math.inf, -1.0])
def test_a_metric_without_values_in_one_arm_is_never_a_pass(silent, nothing, age_s):
    """Kayenta issue 799, Flagger issue 1098 (no value is read as 0 and is under the threshold)."""
    values = {"control": [500.0] * 400, "canary": [500.0] * 400, silent: [nothing] * 400}
    of = plan(gate(), P95)

    decision = rollout(of, timed(values["control"]), timed(values["canary"]), age_s=age_s)

    assert statuses(decision)["latency_p95"] is GateStatus.NO_DATA
    assert decision.verdict is (Verdict.WAIT if age_s < 180.0 else Verdict.HOLD)
    assert any(f"not observed on the {silent} yet" in reason for reason in decision.reasons)


QUIET = [10.0, 10.1, 10.2, 10.3, 10.4, 10.5, 10.6, 17.0, 17.1, 17.2, 17.3, 17.4, 17.5, 17.6, 17.7]
WILD = [1.0, 100.0, 4.0, 101.0, 5.0, 102.0, 6.0, 103.0, 7.0, 104.0, 8.0, 105.0, 9.0, 106.0, 17.0]


def test_a_canary_that_became_erratic_is_never_a_pass():
    """Kayenta issue 780, case 1: more variability passes there."""
    decision = rollout(plan(MEAN, P95), timed(QUIET), timed(WILD))

    assert decision.verdict is Verdict.WAIT
    assert set(statuses(decision).values()) == {GateStatus.NO_DATA}


def test_a_canary_that_stays_erratic_is_rolled_back():
    decision = rollout(plan(MEAN, P95), timed(QUIET), timed(WILD), times=20)

    assert decision.verdict is Verdict.ROLLBACK


def test_a_wider_spread_around_the_same_middle_is_rolled_back_by_its_tail():
    """A test of location is blind to it, and so is ours of the mean; the percentile is not."""
    steady, spread = [9.0, 10.0, 11.0], [1.0, 10.0, 19.0]
    of = plan(MEAN, P95)

    decision = rollout(of, timed(steady), timed(spread), times=60)

    assert decision.verdict is Verdict.ROLLBACK
    assert [each.metric for each in decision.culprits] == ["latency_p95"]


def test_an_unclear_result_is_not_promoted_when_the_pause_ends():
    """Argo Rollouts issue 3850: asked again and again, then promoted at the end of the pause."""
    unclear = [respond(bad=k % 10 == 0) for k in range(40)]

    verdicts = [
        rollout(plan(), unclear, unclear, age_s=age_s).verdict
        for age_s in (70.0, 120.0, 179.0, 181.0, 1_000.0, 100_000.0)
    ]

    assert verdicts == [Verdict.WAIT] * 3 + [Verdict.HOLD] * 3


def test_without_values_a_rollout_waits_and_goes_on_when_they_come():
    """Argo Rollouts issue 1905: a new version that nobody has called yet is reverted there."""
    fine = timed([500.0] * 2_000)

    assert rollout(plan(), [], []).verdict is Verdict.WAIT
    assert rollout(plan(), fine, fine).verdict is Verdict.PROMOTE


@pytest.mark.parametrize("silent", [0, 1], ids=["control", "canary"])
def test_traffic_that_ceased_does_not_advance_on_what_it_proved(silent):
    """Flagger issue 1011: with traffic at first and none later it still advances."""
    fine = [(f"{arm}-{k}", bool(arm), respond()) for k in range(2_000) for arm in (0, 1)]
    evidence = gather(plan(), fine, stage="broad")
    ages = [1.0, 1.0]
    ages[silent] = 60.0
    health = form.msgspec.structs.replace(evidence.health, last_age_s=tuple(ages))
    ceased = form.msgspec.structs.replace(evidence, health=health)

    decision = decide(plan(), ceased)

    assert decide(plan(), evidence).verdict is Verdict.PROMOTE
    assert decision.verdict is Verdict.WAIT
    assert decision.reasons == (f"no response of the {('control', 'canary')[silent]} for 60 s",)


def test_a_gate_on_a_metric_that_does_not_exist_is_not_progress():
    """Flagger issue 892: a metric template that does not exist is passed over."""
    of = plan(gate(), gate("nonexistent_metric", MetricKind.GOAL))
    fine = timed([500.0] * 2_000)

    decision = rollout(of, fine, fine, age_s=200.0)

    assert statuses(decision)["nonexistent_metric"] is GateStatus.NO_DATA
    assert decision.verdict is Verdict.HOLD
