"""The batches of a rehearsal reach the sums that the product reaches response by response."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from llm_canary.decision.plan import Gate, Margin, MarginUnit, MetricKind, Plan, Stage
from llm_canary.decision.rules import rules_of, specs_of, window_s
from llm_canary.metrics.accumulate import Response, Settings, enter, look, mature
from llm_canary.metrics.spec import ResponseFacts
from llm_canary.metrics.state import Rollup, UnitState
from llm_canary.simulation.laws import USUAL, Rate, World, changed
from llm_canary.simulation.responses import Source
from llm_canary.simulation.sums import Sums

START_S, HOUR_S = 1_799_971_200.0, 3_600.0
MARGINS = {
    "error_rate": Margin(0.5, MarginUnit.RELATIVE),
    "invalid_output": Margin(0.01, MarginUnit.ABSOLUTE),
    "latency_p95": Margin(0.1, MarginUnit.RELATIVE),
    "latency_mean": Margin(0.1, MarginUnit.RELATIVE),
    "cost_per_request": Margin(0.1, MarginUnit.RELATIVE),
    "thumbs_up_rate": Margin(0.05, MarginUnit.ABSOLUTE),
    "task_completion": Margin(0.05, MarginUnit.ABSOLUTE),
}
GATES = tuple(Gate(metric=m, kind=MetricKind.GOAL, margin=margin) for m, margin in MARGINS.items())
PLAN = Plan(
    name="test",
    stages=tuple(
        Stage(name=f"at {share}", share=share, gates=GATES) for share in (0.05, 0.25, 0.5)
    ),
    windows_s={"task_completion": 2 * HOUR_S},
)
SPECS = specs_of(PLAN)
LATER = [spec for spec in SPECS.values() if spec.outcome is not None]
WORLD = World(
    control={**USUAL, "error_rate": Rate(bad=0.1), "invalid_output": Rate(bad=0.1, asked=0.6)},
    canary=changed(
        {**USUAL, "error_rate": Rate(bad=0.2), "invalid_output": Rate(bad=0.1, asked=0.6)},
        "latency_p95",
        0.2,
        relative=True,
    ),
    daily=12_000.0,
)


def facts_of(batch, i, shown):
    """What is known of the i-th response of the batch."""
    value = {name: found[i] for name, found in shown.items() if i in found}
    applies = batch.seen["invalid_output"].applies
    cost = value.get("cost_per_request")
    outcomes = {
        outcome: 1.0 - value[name]
        for name, outcome in (("thumbs_up_rate", "thumbs"), ("task_completion", "task_completed"))
        if name in value
    }
    return ResponseFacts(
        terminal="upstream_error" if value["error_rate"] else "completed",
        share=batch.share,
        latency_ms=value.get("latency_mean"),
        cost_nanousd=cost,
        uncached_cost_nanousd=cost,
        schema_expected=bool(applies[i]),
        output_valid=None if "invalid_output" not in value else not value["invalid_output"],
        outcomes=outcomes,
    )


def by_position(seen, n):
    at = range(n) if seen.at is None else seen.at
    return {int(i): float(value) for i, value in zip(at, seen.value, strict=True)}


def one_by_one(batches, settings):
    rollup, units, waiting = Rollup(), defaultdict(UnitState), []
    for number, (batch, now_s) in enumerate(batches):
        n = len(batch.canary)
        shown = {name: by_position(seen, n) for name, seen in batch.seen.items()}
        for i in range(n):
            response = Response(
                at_s=batch.at_s(i),
                canary=bool(batch.canary[i]),
                share=batch.share,
                stage=batch.stage,
                facts=facts_of(batch, i, shown),
            )
            unit = units[(number, i) if batch.unit is None else int(batch.unit[i])]
            if enter(rollup, unit, response, SPECS, settings):
                waiting += [
                    (batch.end_s + window_s(PLAN, spec), spec, unit, response) for spec in LATER
                ]
        for _, spec, unit, response in [each for each in waiting if each[0] <= now_s]:
            mature(rollup, unit, response, spec, settings)
        waiting = [each for each in waiting if each[0] > now_s]
        look(rollup, SPECS, now_s)
    return rollup


def in_batches(batches, settings, units):
    sums = Sums(SPECS, settings, units=units, shares=(0.05, 0.25, 0.5))
    waiting = []
    for batch, now_s in batches:
        kept = sums.enter(batch)
        waiting += [(batch.end_s + window_s(PLAN, spec), spec, kept) for spec in LATER]
        for _, spec, each in [each for each in waiting if each[0] <= now_s]:
            sums.mature(each, spec)
        waiting = [each for each in waiting if each[0] > now_s]
        look(sums.rollup, SPECS, now_s)
    return sums.rollup


def plain(rollup):
    """The sums as nested values; the histograms of a rehearsal stay empty."""
    found = msgspec.to_builtins(
        {
            "totals": rollup.totals,
            "metrics": rollup.metrics,
            "slices": {f"{metric}/{name}": each for (metric, name), each in rollup.slices.items()},
        },
        str_keys=True,
    )
    for state in found["metrics"].values():
        state["bins"] = state["zeros"] = None
    return found


def same(one, other, where=""):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            same(value, other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            same(a, b, f"{where}[{index}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-9), where
    else:
        assert one == other, where


def stream(world, settings, *, hours=9, seed=1):
    """Hours of traffic at rising shares, each with the time at which its look comes."""
    source = Source(world, SPECS.values(), np.random.default_rng(seed))
    for hour in range(hours):
        share = (0.05, 0.25, 0.5)[hour // 3]
        start_s = START_S + hour * HOUR_S
        edges = [start_s, start_s + HOUR_S]
        if start_s in settings.share_changes_s:
            edges.insert(1, start_s + settings.warmup_s)
        for from_s, to_s in pairwise(edges):
            n = int(world.daily * (to_s - from_s) / 86_400)
            batch = source.draw(n, start_s=from_s, end_s=to_s, stage=f"at {share}", share=share)
            yield batch, to_s


@pytest.mark.parametrize("calibrate_s", [1_800.0, 3_600.0], ids=["fixed early", "fixed later"])
@pytest.mark.parametrize(
    ("per_user", "cap"), [(1.0, 50), (20.0, 50), (100.0, 6)], ids=["once", "returning", "over cap"]
)
def test_a_batch_adds_what_its_responses_add_one_by_one(per_user, cap, calibrate_s):
    world = msgspec.structs.replace(WORLD, requests_per_user=per_user)
    settings = Settings(
        rules=rules_of(PLAN),
        max_per_unit_day=cap,
        warmup_s=600.0,
        calibrate_s=calibrate_s,
        started_at_s=START_S,
        share_changes_s=(START_S, START_S + 3 * HOUR_S, START_S + 6 * HOUR_S),
    )
    batches = list(stream(world, settings))

    expected = one_by_one(batches, settings)
    found = in_batches(batches, settings, world.returning)

    same(plain(expected), plain(found))
    assert all(state.frozen is not None for state in found.metrics.values())
    assert all(found.metric(name).centres for name in ("error_rate", "cost_per_request"))
    assert found.totals.over_cap == [0, 0] or cap < 50
    if cap < 50:
        assert min(found.totals.over_cap) > 0
