"""Cost of a decision over 8 metrics x 7 slices, with little and with much traffic behind the sums.

Run `python benchmarks/stats_decide.py`; prints JSON. Times are processor time of one core, medians.
`yardstick_ms` is `json.dumps` of the same evidence in the same run: compare machines by it.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from math import sqrt
from time import process_time

import msgspec
from stats_update import MORE, feed, plan, stream

from llm_canary.config.rollout_spec import RolloutSpec
from llm_canary.decision.engine import decide
from llm_canary.decision.rules import specs_of
from llm_canary.metrics.accumulate import look
from llm_canary.metrics.state import MetricState, Rollup, SliceState, Totals, pack, unpack
from llm_canary.rollout.analysis import evidence_of
from llm_canary.routing.table import Variant
from llm_canary.storage.repositories.rollouts import RolloutRecord, State

SEGMENTS = {"tier": 2, "language": 2, "geo": 2}  # with all of them: seven slices
BASE = 1_000
NOW_S = 1.8e9 + 1e5


def stored(rollup):
    """The sums as SQL holds them."""
    return (
        pack(rollup.totals),
        {name: pack(state) for name, state in rollup.metrics.items()},
        {key: pack(state) for key, state in rollup.slices.items()},
    )


def read(rows):
    """The sums that `stored` wrote."""
    rollup = Rollup()
    totals, metrics, slices = rows
    rollup.totals = unpack(totals, Totals)
    for name, state in metrics.items():
        rollup.metrics[name] = unpack(state, MetricState)
    for key, state in slices.items():
        rollup.slices[key] = unpack(state, SliceState)
    return rollup


def grown(rows, factor, of):
    """The sums with `factor` times the traffic behind them, and as much evidence for either side.

    What is squared or counted grows with the traffic, what may be positive or negative with its
    root.
    """
    rollup, root = read(rows), sqrt(factor)
    totals = rollup.totals
    for pairs in (totals.new_units, totals.stage_units, totals.stage_responses):
        for pair in pairs.values():
            pair[:] = [round(n * factor) for n in pair]
    totals.units = [round(n * factor) for n in totals.units]
    for state in rollup.metrics.values():
        for pair in (state.applicable, state.observed, state.zeros):
            pair[:] = [round(n * factor) for n in pair]
        state.bins = [{at: round(n * factor) for at, n in arm.items()} for arm in state.bins]
        state.stages = {name: [s * root, i * factor] for name, (s, i) in state.stages.items()}
    for state in rollup.slices.values():
        score = state.score
        for field in dataclasses.fields(score):
            value = getattr(score, field.name)
            setattr(score, field.name, type(value)(value * factor))
        score.s *= root / factor
        for share, (canary, total) in state.first.items():
            expected = share * total
            shifted = expected * factor + (canary - expected) * root
            state.first[share] = [
                min(max(round(shifted), 0), round(total * factor)),
                round(total * factor),
            ]
    look(rollup, specs_of(of), NOW_S)
    return stored(rollup)


def record(of):
    """The rollout that is decided."""
    return RolloutRecord(
        id="r",
        name="next",
        attempt=1,
        build_attempt=1,
        route="bot",
        state=State.RUNNING,
        salt="s",
        spec=RolloutSpec(name="next", route="bot", canary=Variant("s", "b"), plan=of),
        created_at_s=1.8e9,
        stage=of.stages[0].name,
        share=0.05,
        segments=tuple(SEGMENTS),
        started_at_s=1.8e9,
        stage_started_at_s=1.8e9,
    )


def timed(call, repeats=41):
    """Median milliseconds of a call; the processor is shared, so repeat."""
    taken = []
    for _ in range(repeats):
        began = process_time()
        call()
        taken.append(process_time() - began)
    return statistics.median(taken) * 1e3


def main():
    """Measure and print."""
    of = plan(MORE)
    rollup, _, _ = feed(stream(BASE, 400, SEGMENTS), of)
    rows, about = stored(rollup), record(of)
    result = {}
    for requests in (10**3, 10**5, 10**7):
        own = grown(rows, requests / BASE, of)
        sums = read(own)
        evidence = evidence_of(about, sums, NOW_S)
        plain = msgspec.to_builtins(evidence)
        result[f"{requests:.0e}_requests"] = {
            "verdict": decide(of, evidence).verdict,
            "cells": sum(1 + len(each.segments) for each in evidence.metrics),
            "read_ms": timed(lambda own=own: read(own)),
            "evidence_ms": timed(lambda sums=sums: evidence_of(about, sums, NOW_S)),
            "decide_ms": timed(lambda evidence=evidence: decide(of, evidence)),
            "yardstick_ms": timed(lambda plain=plain: json.dumps(plain)),
        }
    print(json.dumps(result, indent=2, default=str))


if __name__ == "__main__":
    main()
