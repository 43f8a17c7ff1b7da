"""Responses into sums: what is scored, once, with which share; what travels and what merges."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_canary.metrics.accumulate import Response, Settings, enter, look, mature
from llm_canary.metrics.builtin import BUILT_IN
from llm_canary.metrics.freeze import Rule, StageMargin
from llm_canary.metrics.graded import net_benefit
from llm_canary.metrics.spec import ResponseFacts
from llm_canary.metrics.state import (
    ALL,
    MetricState,
    Rollup,
    SliceState,
    Totals,
    UnitState,
    merge,
    pack,
    unpack,
)

SPECS = {name: BUILT_IN[name] for name in ("error_rate", "latency_p95", "thumbs_up_rate")}
RULES = {
    "error_rate": Rule(stages={"initial": StageMargin(0.01, relative=False)}),
    "latency_p95": Rule(stages={"initial": StageMargin(0.1, relative=True)}),
    "thumbs_up_rate": Rule(stages={"initial": StageMargin(0.05, relative=False)}),
}
NOW_S = 1_800_000_000.0


def plain(**changes):
    return Settings(rules=RULES, started_at_s=NOW_S, share_changes_s=(NOW_S,), **changes)


def response(at_s=NOW_S, *, canary=False, share=0.1, segments=None, **known):
    return Response(
        at_s=at_s,
        canary=canary,
        share=share,
        stage="initial",
        facts=ResponseFacts(**({"terminal": "completed", "latency_ms": 500.0} | known)),
        segments=segments or {},
    )


def feed(responses, how=None, rollup=None):
    rollup, units = rollup or Rollup(), {}
    for unit, each in responses:
        enter(rollup, units.setdefault(unit, UnitState()), each, SPECS, how or plain())
    look(rollup, SPECS, NOW_S)
    return rollup, units


def test_beyond_fifty_a_day_a_unit_is_counted_and_not_scored():
    rollup, _ = feed([("bot", response())] * 60)

    assert rollup.slice("error_rate").score.n_control == 50
    assert rollup.totals.over_cap == [10, 0]


def test_the_cap_begins_anew_with_the_utc_day():
    rollup, _ = feed([("bot", response())] * 60 + [("bot", response(NOW_S + 86_400.0))] * 10)

    assert rollup.slice("error_rate").score.n_control == 60


def test_nothing_is_compared_at_a_share_of_zero_or_one():
    rollup, _ = feed([("a", response(share=0.0)), ("b", response(share=1.0, canary=True))])

    assert rollup.totals.unusable == 2
    assert rollup.slices == {}


def test_latency_is_scored_only_once_the_control_has_been_watched():
    rollup, _ = feed([(f"u{k}", response(canary=k % 10 == 0)) for k in range(100)])
    state = rollup.metric("latency_p95")

    assert state.frozen.n == 50
    assert (
        sum(state.calibrating) == 56
    )  # fifty of the control and what the canary answered meanwhile
    assert rollup.slice("latency_p95").score.n_control + state.calibrating[0] == 90


def test_latency_right_after_a_ramp_is_not_scored_in_either_arm():
    history = [(f"u{k}", response()) for k in range(60)]
    rollup, _ = feed(history, plain(warmup_s=600.0))
    later = [(f"v{k}", response(NOW_S + 601.0, canary=k == 0)) for k in range(10)]

    rollup, _ = feed(later, plain(warmup_s=600.0), rollup)

    assert rollup.metric("latency_p95").warming_up == [10, 0]
    assert rollup.slice("latency_p95").score.n_canary == 1


def test_only_the_first_failure_of_a_unit_enters_the_exact_test():
    failed = response(canary=True, terminal="upstream_error")
    rollup, _ = feed([("u", failed)] * 3 + [("v", response(terminal="timeout"))])

    assert rollup.slice("error_rate").first == {0.1: [1, 2]}


def test_a_unit_stays_in_the_segment_in_which_it_was_first_seen():
    rollup, _ = feed(
        [("u", response(segments={"tier": "free"})), ("u", response(segments={"tier": "paid"}))]
    )

    assert rollup.slice("error_rate", "tier=free").score.n_control == 2
    assert ("error_rate", "tier=paid") not in rollup.slices


def test_a_segment_that_names_each_user_does_not_make_a_slice_of_each():
    rollup, _ = feed([(f"u{k}", response(segments={"id": str(k)})) for k in range(100)])

    assert len([key for key in rollup.slices if key[0] == "error_rate"]) == 26
    assert rollup.slice("error_rate", "id=other").score.n_control == 76


@pytest.mark.parametrize(
    ("stream", "faults"),
    [
        pytest.param([(False, 0.1), (True, 0.25)], 0, id="a-ramp-moves-units-into-the-canary"),
        pytest.param([(True, 0.25), (False, 0.1)], 0, id="a-late-response-from-before-the-ramp"),
        pytest.param([(True, 0.1), (False, 0.1)], 1, id="both-arms-at-one-share"),
        pytest.param([(True, 0.1), (False, 0.25), (True, 0.1)], 1, id="out-by-a-ramp-counts-once"),
    ],
)
def test_arms_that_no_share_explains_are_counted(stream, faults):
    rollup, _ = feed([("u", response(canary=canary, share=share)) for canary, share in stream])

    assert rollup.totals.in_both_arms == faults


def test_a_thumb_is_scored_when_its_window_closes_with_the_share_of_the_request():
    rollup, units = feed([("u", response(canary=True, share=0.1))])
    assert rollup.slice("thumbs_up_rate").score.n_canary == 0

    rated = response(canary=True, share=0.1, outcomes={"thumbs": 0.0})
    mature(rollup, units["u"], rated, SPECS["thumbs_up_rate"], plain())

    assert rollup.slice("thumbs_up_rate").score.i == pytest.approx(0.9)


def test_a_value_of_another_kind_is_refused_and_counted():
    rollup, units = feed([("u", response())])
    spec = dataclasses.replace(SPECS["thumbs_up_rate"], value=lambda _: 0.5)

    mature(rollup, units["u"], response(), spec, plain())

    assert rollup.metric("thumbs_up_rate").refused == 1
    assert ("thumbs_up_rate", ALL) not in rollup.slices


def test_the_centre_follows_the_control_bucket_by_bucket():
    first = [(f"u{k}", response(terminal="timeout" if k < 30 else "completed")) for k in range(60)]
    rollup, _ = feed(first, plain(bucket_s=60.0))
    feed([("v", response(NOW_S + 61.0))], plain(bucket_s=60.0), rollup)

    assert rollup.metric("error_rate").centres[-1][1] == pytest.approx(0.5)


RESPONSES = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.booleans(),
        st.sampled_from([0.05, 0.25, 0.5]),
        st.sampled_from(["completed", "timeout"]),
        st.floats(1.0, 5_000.0),
        st.sampled_from(["de", "fr"]),
    ),
    max_size=200,
)


def as_responses(drawn):
    return [
        (
            f"u{unit}",
            response(
                canary=canary,
                share=share,
                terminal=terminal,
                latency_ms=latency,
                segments={"lang": lang},
            ),
        )
        for unit, canary, share, terminal, latency, lang in drawn
    ]


@given(RESPONSES)
@settings(max_examples=30)
def test_states_travel_without_losing_a_bit(drawn):
    rollup, units = feed(as_responses(drawn))

    assert unpack(pack(rollup.totals), Totals) == rollup.totals
    for state in rollup.metrics.values():
        assert unpack(pack(state), MetricState) == state
    for state in rollup.slices.values():
        assert unpack(pack(state), SliceState) == state
    for unit in units.values():
        assert unpack(pack(unit), UnitState) == unit


@given(RESPONSES, st.integers(2, 5))
@settings(max_examples=30)
def test_shards_by_unit_add_up_to_the_whole(drawn, shards):
    responses = as_responses(drawn)
    whole, _ = feed(responses)
    parts = [
        feed([each for each in responses if int(each[0][1:]) % shards == k])[0]
        for k in range(shards)
    ]
    state = whole.metric("error_rate")
    if state.frozen is None:
        return
    total = SliceState()
    for part in parts:
        total = merge(total, part.slice("error_rate"), state.frozen, binary=True)

    expected = whole.slice("error_rate")
    assert total.first == expected.first
    for name in ("s", "i", "pp", "pq", "qq", "xx", "xc", "cc", "n1", "n0v"):
        ours, theirs = getattr(total.score, name), getattr(expected.score, name)
        assert math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)


@given(RESPONSES)
@settings(max_examples=20)
def test_segments_add_up_to_all(drawn):
    rollup, _ = feed(as_responses(drawn))
    parts = [
        state
        for (name, part), state in rollup.slices.items()
        if name == "error_rate" and part != ALL
    ]

    total = sum(state.score.n_control + state.score.n_canary for state in parts)
    whole = rollup.slice("error_rate").score
    assert total == whole.n_control + whole.n_canary


def test_corrections_of_a_judge_who_is_wrong_about_the_canary_alone_count_whole():
    """Every control answer has 0.8 points; a tenth of the canary's are corrected from 1 to -2."""
    spec, _ = net_benefit(2e7, outcome="rubric:x")
    how = Settings(
        rules={"net_benefit": Rule(stages={"initial": StageMargin(5e5, relative=False)})}
    )
    rollup = Rollup()
    for k in range(400):
        is_canary = k >= 100 and k % 2 == 1
        points = 0.8 if not is_canary else (-2.0 if k % 20 == 1 else 1.0)
        cost = 2_000_000 if k != 300 else 10**12  # one answer is beyond all others
        facts = {"uncached_cost_nanousd": cost, "outcomes": {"rubric:x": points}}
        mature(rollup, UnitState(), response(canary=is_canary, share=0.5, **facts), spec, how)
    look(rollup, {"net_benefit": spec}, NOW_S)
    found, frozen = rollup.slice("net_benefit").score, rollup.metric("net_benefit").frozen

    # 15 of 150 canary answers are three points below the judge's: 0.7 points in the mean.
    assert found.sum_canary / found.n_canary == pytest.approx(2e6 - 2e7 * 0.7)
    assert found.sum_control / found.n_control < 3 * frozen.cap - 2e7 * 0.8
