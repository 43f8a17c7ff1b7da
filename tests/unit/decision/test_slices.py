"""Segments as people see them: the same marks as the engine's, and intervals of their own."""

import msgspec
import pytest

from llm_canary.decision.engine import Verdict, decide
from llm_canary.decision.plan import MetricKind
from llm_canary.decision.slices import slices
from tests.support.evidence import gate, gather, plan, respond

OF = plan(gate(margin=0.05), gate("latency_p95", MetricKind.GOAL, 0.1, relative=True))
GEO = ("geo",)


def rows(*, harmed="at", n=600, failing=0.5):
    """Units of two countries; in the harmed one the canary fails that often."""
    made = []
    for k in range(n):
        geo, canary = ("at", "de")[k // 10 % 2], k % 10 == 0
        bad = canary and geo == harmed and k // 20 % 10 < 10 * failing
        made.append((f"u{k}", canary, respond(bad=bad, latency_ms=400.0 + k % 97), {"geo": geo}))
    return made


def of_metric(found, metric):
    return {each.value: each for each in found if each.comparison.metric == metric}


@pytest.mark.parametrize(
    ("n", "failing", "verdict", "rolls_back"),
    [
        pytest.param(1_200, 0.1, Verdict.HOLD, False, id="flagged"),
        pytest.param(1_200, 0.3, Verdict.ROLLBACK, True, id="rings-the-alarm"),
    ],
)
def test_a_segment_bears_the_mark_that_the_decision_acts_on(n, failing, verdict, rolls_back):
    of = plan(gate(margin=0.3))
    evidence = gather(of, rows(n=n, failing=failing), segments=GEO, age_s=100.0)

    (marked,) = [each for each in slices(of, evidence) if each.is_flagged or each.rolls_back]

    assert (marked.value, marked.comparison.metric) == ("at", "error_rate")
    assert marked.rolls_back == rolls_back
    assert decide(of, evidence).verdict is verdict


def test_without_harm_nothing_is_flagged():
    found = slices(OF, gather(OF, rows(failing=0.0), segments=GEO))

    assert {each.value for each in found} == {"at", "de"}
    assert not any(each.is_flagged or each.rolls_back for each in found)


def test_the_interval_of_a_slice_holds_its_difference_and_is_wider_than_that_of_all():
    evidence = gather(OF, rows(failing=0.1), segments=GEO)
    whole = next(each for each in decide(OF, evidence).comparisons if each.metric == "error_rate")

    own = of_metric(slices(OF, evidence), "error_rate")["at"].comparison

    assert own.low < own.difference < own.high
    assert own.high - own.low > whole.high - whole.low
    assert own.n_control + own.n_canary < whole.n_control + whole.n_canary


def test_a_quantile_shows_shares_above_its_threshold():
    own = of_metric(slices(OF, gather(OF, rows(), segments=GEO)), "latency_p95")["de"].comparison

    assert own.unit == own.scored_unit == "rate"
    assert 0.0 <= own.control <= 1.0
    assert own.threshold is not None


def test_protected_segments_are_told_apart():
    evidence = msgspec.structs.replace(gather(OF, rows(), segments=GEO), protected=GEO)

    assert all(each.is_protected for each in slices(OF, evidence))


@pytest.mark.parametrize("arm", [0, 1], ids=["no-control", "no-canary"])
def test_a_slice_that_one_arm_alone_has_is_compared_with_nothing(arm):
    only = [row for row in rows(harmed="") if row[3]["geo"] == "de" or row[1] is not bool(arm)]

    own = of_metric(slices(OF, gather(OF, only, segments=GEO)), "error_rate")["at"].comparison

    assert (own.difference, own.low, own.high) == (None, None, None)
