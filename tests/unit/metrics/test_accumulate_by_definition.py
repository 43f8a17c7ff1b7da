"""The sums against their definition, computed from all responses at once; and shards of them."""

from __future__ import annotations

import copy
from collections import defaultdict
from itertools import product
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_canary.metrics.accumulate import Response, Settings, enter, look, mature
from llm_canary.metrics.builtin import BUILT_IN
from llm_canary.metrics.freeze import Rule, freeze
from llm_canary.metrics.spec import ResponseFacts
from llm_canary.metrics.state import ALL, MetricState, Rollup, UnitState
from llm_canary.stats.score import ScoreState

START_S = 1_800_000_000.0
SPECS = {
    name: BUILT_IN[name] for name in ("error_rate", "latency_p95", "latency_mean", "thumbs_up_rate")
}
BASELINE = [float(ms) for ms in range(100, 1_100, 10)]
FROZEN = {name: freeze(spec, Rule(), BASELINE) for name, spec in SPECS.items() if "lat" in name} | {
    name: freeze(SPECS[name], Rule(), []) for name in ("error_rate", "thumbs_up_rate")
}
HOW = Settings(rules={}, started_at_s=START_S, max_per_unit_day=10**6)
QUADRATIC = ("s", "i", "pp", "pq", "qq", "xx", "xc", "cc", "n1", "n1m", "n1v", "n0v")


class Event(NamedTuple):
    unit: int
    canary: bool
    share: float
    failed: bool
    latency_ms: float
    language: str
    rated: float | None
    is_late: bool  # its outcome becomes known after all responses
    looked: bool  # somebody reads the sums after it


EVENTS = st.lists(
    st.builds(
        Event,
        unit=st.integers(0, 12),
        canary=st.booleans(),
        share=st.sampled_from([0.01, 0.05, 0.25, 0.5]),
        failed=st.booleans(),
        latency_ms=st.floats(1.0, 9_000.0),
        language=st.sampled_from(["de", "fr", "it"]),
        rated=st.sampled_from([None, 0.0, 1.0]),
        is_late=st.booleans(),
        looked=st.booleans(),
    ),
    max_size=80,
)


def response(event, *, matured=False):
    return Response(
        at_s=START_S,
        canary=event.canary,
        share=event.share,
        stage=f"at-{event.share}",
        facts=ResponseFacts(
            terminal="timeout" if event.failed else "completed",
            latency_ms=event.latency_ms,
            outcomes={"thumbs": event.rated} if matured and event.rated is not None else {},
        ),
        segments={"language": event.language, "tier": "free"},
    )


def accumulated(events):
    rollup, units = Rollup(), defaultdict(UnitState)
    for name, frozen in FROZEN.items():
        rollup.metrics[name] = MetricState(frozen=frozen)
    thumbs = SPECS["thumbs_up_rate"]
    for event in events:
        enter(rollup, units[event.unit], response(event), SPECS, HOW)
        if not event.is_late:
            mature(rollup, units[event.unit], response(event, matured=True), thumbs, HOW)
        if event.looked:
            look(rollup, SPECS, START_S)
    for event in events:
        if event.is_late:
            mature(rollup, units[event.unit], response(event, matured=True), thumbs, HOW)
    return rollup


def number(name, event):
    """The scored number; None when there is none."""
    if name == "error_rate":
        return float(event.failed)
    if name == "thumbs_up_rate":
        return None if event.rated is None else 1.0 - event.rated
    if event.failed:
        return None
    if name == "latency_p95":
        return float(event.latency_ms > FROZEN[name].threshold)
    return min(event.latency_ms, FROZEN[name].cap)


def kernel(a, b):
    return min(a, b) - a * b


def defined(name, scored):
    """The score of (event, number) pairs: the sums over units, each written out."""
    centre, binary = FROZEN[name].centre, SPECS[name].is_binary
    if name in ("error_rate", "thumbs_up_rate"):
        assert FROZEN[name].n == 0
    sums = dict.fromkeys(QUADRATIC, 0.0)
    of_unit = defaultdict(list)
    for event, value in scored:
        of_unit[event.unit].append((event, value - centre))
        w = (value - centre) * (event.canary - event.share)
        sums["s"] += w
        sums["i"] += event.canary * (1.0 - event.share)
        if binary and event.canary:
            e = (1.0 - event.share) ** 2
            sums["n1"] += e
            sums["n1m"] += e * centre
            sums["n1v"] += e * centre * (1.0 - centre)
        if binary and not event.canary:
            sums["n0v"] += event.share**2 * centre * (1.0 - centre)
    for rows in of_unit.values():
        p = sum(residual * (event.canary - event.share) for event, residual in rows)
        q = sum(event.canary * (1.0 - event.share) for event, _ in rows)
        sums["pp"] += p * p
        sums["pq"] += p * q
        sums["qq"] += q * q
        x, c = defaultdict(float), defaultdict(float)
        for event, residual in rows:
            x[event.share] += residual
            c[event.share] += event.canary
        for a, b in product(x, x):
            sums["xx"] += kernel(a, b) * x[a] * x[b]
            sums["xc"] += kernel(a, b) * x[a] * c[b]
            sums["cc"] += kernel(a, b) * c[a] * c[b]
    return sums


def close(expected):
    """Equal to 1e-9 of the largest sum of its kind, which is what cancels in the smaller ones."""
    return pytest.approx(expected, rel=1e-9, abs=1e-9 * max(map(abs, expected.values()), default=0))


@given(EVENTS)
@settings(max_examples=60)
def test_the_sums_are_those_of_their_definition_whoever_reads_them_when(events):
    rollup = accumulated(events)

    first_seen = {}
    for event in events:
        first_seen.setdefault(event.unit, event.language)
    found = {
        key: state.score for key, state in rollup.slices.items() if state.score != ScoreState()
    }
    expected = {}
    for name, part in product(
        SPECS, (ALL, "tier=free", *(f"language={v}" for v in ("de", "fr", "it")))
    ):
        scored = [
            (event, number(name, event))
            for event in events
            if number(name, event) is not None
            and part in (ALL, "tier=free", f"language={first_seen[event.unit]}")
        ]
        if scored:
            expected[name, part] = scored
    assert found.keys() == expected.keys()
    for (name, part), scored in expected.items():
        score = found[name, part]
        assert {each: getattr(score, each) for each in QUADRATIC} == close(defined(name, scored))
        for arm, suffix in ((False, "control"), (True, "canary")):
            own = [(event.unit, value) for event, value in scored if event.canary == arm]
            assert getattr(score, f"n_{suffix}") == len(own)
            assert getattr(score, f"units_{suffix}") == len({unit for unit, _ in own})
            assert getattr(score, f"sum_{suffix}") == pytest.approx(sum(value for _, value in own))


@given(EVENTS)
@settings(max_examples=30)
def test_the_first_failures_are_those_of_each_unit_at_its_share(events):
    rollup = accumulated(events)

    first = {}
    for event in events:
        if event.failed:
            first.setdefault(event.unit, event)
    expected = defaultdict(lambda: [0, 0])
    for event in first.values():
        expected[event.share][0] += event.canary
        expected[event.share][1] += 1
    assert rollup.slice("error_rate").first == expected


@given(EVENTS)
@settings(max_examples=30)
def test_the_sums_of_the_stages_are_those_of_all(events):
    rollup = accumulated(events)

    for name in SPECS:
        stages = rollup.metric(name).stages.values()
        score = rollup.slice(name).score
        assert sum(i for _, i in stages) == pytest.approx(score.i)
        assert sum(s for s, _ in stages) == pytest.approx(score.s, abs=1e-9 * (1 + score.pp**0.5))


@given(EVENTS, st.integers(2, 4))
@settings(max_examples=40)
def test_shards_of_the_units_have_the_sums_of_one_stream(events, shards):
    whole = accumulated(events)
    parts = [
        accumulated([each for each in events if each.unit % shards == k]) for k in range(shards)
    ]

    for key in {key for part in (whole, *parts) for key in part.slices}:
        own = [part.slice(*key) for part in parts]
        merged, one = sum((each.score for each in own), ScoreState()), whole.slice(*key)
        for kind in (QUADRATIC, ("sum_control", "sum_canary", "sumsq_control", "sumsq_canary")):
            expected = {name: getattr(one.score, name) for name in kind}
            assert {name: getattr(merged, name) for name in kind} == close(expected)
        for name in ("n_control", "n_canary", "units_control", "units_canary"):
            assert getattr(merged, name) == getattr(one.score, name)
        for share, pair in one.first.items():
            assert pair == summed(each.first.get(share, [0, 0]) for each in own)
    for name in SPECS:
        own, one = [part.metric(name) for part in parts], whole.metric(name)
        assert one.applicable == summed(each.applicable for each in own)
        assert one.observed == summed(each.observed for each in own)
        assert one.zeros == summed(each.zeros for each in own)
        assert one.refused == sum(each.refused for each in own) == 0
    for of in ("units", "over_cap"):
        assert getattr(whole.totals, of) == summed(getattr(part.totals, of) for part in parts)
    assert whole.totals.in_both_arms == sum(part.totals.in_both_arms for part in parts)
    for of in ("new_units", "stage_units", "stage_responses"):
        for key, pair in getattr(whole.totals, of).items():
            assert pair == summed(getattr(part.totals, of).get(key, [0, 0]) for part in parts)


def summed(pairs):
    return [sum(each) for each in zip(*pairs, strict=True)]


def test_the_sums_that_somebody_holds_on_to_are_not_added_to_twice():
    event = Event(1, True, 0.25, True, 500.0, "de", 1.0, False, False)
    rollup = accumulated([event])

    before = copy.deepcopy(rollup.slice("error_rate"))

    assert rollup.slice("error_rate") == before
    assert before.score.n_canary == 1
