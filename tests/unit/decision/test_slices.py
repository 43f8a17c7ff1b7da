"""Segments as people see them: the same marks as the engine's, and intervals of their own."""

import msgspec
import pytest

from llm_canary.decision.compare import segment_log_e
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


def seen(of, evidence):
    return slices(of, evidence).slices


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

    (marked,) = [each for each in seen(of, evidence) if each.is_flagged or each.rolls_back]

    assert (marked.value, marked.comparison.metric) == ("at", "error_rate")
    assert marked.rolls_back == rolls_back
    assert decide(of, evidence).verdict is verdict


def test_without_harm_nothing_is_flagged():
    found = seen(OF, gather(OF, rows(failing=0.0), segments=GEO))

    assert {each.value for each in found} == {"at", "de"}
    assert not any(each.is_flagged or each.rolls_back for each in found)


def test_the_interval_of_a_slice_holds_its_difference_and_is_wider_than_that_of_all():
    evidence = gather(OF, rows(failing=0.1), segments=GEO)
    whole = next(each for each in decide(OF, evidence).comparisons if each.metric == "error_rate")

    own = of_metric(seen(OF, evidence), "error_rate")["at"].comparison

    assert own.low < own.difference < own.high
    assert own.high - own.low > whole.high - whole.low
    assert own.n_control + own.n_canary < whole.n_control + whole.n_canary


def test_a_quantile_shows_shares_above_its_threshold():
    own = of_metric(seen(OF, gather(OF, rows(), segments=GEO)), "latency_p95")["de"].comparison

    assert own.unit == own.scored_unit == "rate"
    assert 0.0 <= own.control <= 1.0
    assert own.threshold is not None


def test_protected_segments_are_told_apart():
    evidence = msgspec.structs.replace(gather(OF, rows(), segments=GEO), protected=GEO)

    assert all(each.is_protected for each in seen(OF, evidence))


@pytest.mark.parametrize("arm", [0, 1], ids=["no-control", "no-canary"])
def test_a_slice_that_one_arm_alone_has_is_compared_with_nothing(arm):
    only = [row for row in rows(harmed="") if row[3]["geo"] == "de" or row[1] is not bool(arm)]

    own = of_metric(seen(OF, gather(OF, only, segments=GEO)), "error_rate")["at"].comparison

    assert (own.difference, own.low, own.high) == (None, None, None)


def many_values():
    """Twelve countries and two devices; in the smallest country the canary always fails."""
    made = []
    for k in range(12):
        for n in range(200 + 40 * k):
            canary = n % 10 == 0
            bad = n % 7 == 0 or (canary and k == 0)
            facts = respond(bad=bad, latency_ms=300.0 + n % 89)
            where = {"geo": f"c{k:02}", "device": ("phone", "desk")[n % 20 // 10]}
            made.append((f"u{k}-{n}", canary, facts, where))
    return gather(OF, made, segments=("geo", "device"))


def test_those_shown_are_those_of_the_full_computation_in_the_order_of_their_rank():
    evidence = many_values()
    full, shown = slices(OF, evidence), slices(OF, evidence, most=4)
    marked = {each.value for each in full.slices if each.is_flagged or each.rolls_back}
    most = {}
    for each in full.slices:
        key = (each.segment, each.value)
        most[key] = max(most.get(key, 0), each.comparison.n_canary)
    geo = [value for segment, value in most if segment == "geo"]
    ranked = sorted(geo, key=lambda value: (value not in marked, -most["geo", value], value))

    assert marked == {"c00"} == {min(geo, key=lambda value: most["geo", value])}
    assert geo == ranked
    assert {each.value for each in shown.slices} == {*ranked[:4], "phone", "desk"}
    assert shown.slices == tuple(
        each for each in full.slices if each.segment == "device" or each.value in ranked[:4]
    )
    assert shown.left_out == {"geo": 8, "device": 0}
    assert full.left_out == {"geo": 0, "device": 0}
    assert any(each.comparison.low is not None for each in shown.slices)


def test_the_evidence_that_is_shown_of_a_slice_is_its_own():
    evidence = many_values()
    own = {
        (metric.metric, part.value): segment_log_e(part, metric.frozen)
        for metric in evidence.metrics
        for part in metric.segments
        if metric.frozen is not None
    }

    shown = [each for each in seen(OF, evidence) if each.comparison.log_e_harm is not None]
    assert len(shown) >= 14
    for each in shown:
        assert each.comparison.log_e_harm == own[each.comparison.metric, each.value]


def test_values_with_a_mark_are_never_left_out():
    shown = slices(OF, many_values(), most=0)

    assert {each.value for each in shown.slices} == {"c00"}
    assert shown.left_out == {"geo": 11, "device": 2}


def test_one_segment_is_had_by_itself_with_the_marks_of_all():
    evidence = many_values()
    full, own = slices(OF, evidence), slices(OF, evidence, only="geo")

    assert own.slices == tuple(each for each in full.slices if each.segment == "geo")
    assert slices(OF, evidence, only="nowhere").slices == ()
