"""Cost of the statistics: a response, a decision over 8 x 7 x 3 hypotheses, a merge, a unit.

Run `python benchmarks/stats_decide.py`; prints JSON. Times are processor time of one core.
"""

from __future__ import annotations

import json
import random
import statistics
import tracemalloc
from time import process_time

from llm_canary.stats.global_test import average_log_e, e_bh
from llm_canary.stats.mixture import interval, log_e, log_e_three, precision
from llm_canary.stats.score import ScoreState, UnitRow, update, variance

METRICS, SLICES, MARGIN = 8, 7, 0.005
CELLS = METRICS * SLICES


def stream(responses, units, seed=1):
    """Score responses over a ramp; return the state and seconds per update."""
    rng = random.Random(seed)
    data = [
        (rng.randrange(units), (0.05, 0.25, 0.5)[3 * k // responses], float(rng.random() < 0.1))
        for k in range(responses)
    ]
    state, rows = ScoreState(), {}
    start = process_time()
    for unit, share, value in data:
        row = rows.get(unit)
        if row is None:
            row = rows[unit] = UnitRow()
        update(
            state,
            row,
            canary=unit / units < share,
            share=share,
            value=value,
            centre=0.1,
            binary=True,
        )
    return state, (process_time() - start) / responses


def grown(state, factor):
    """The state as `factor` times the traffic would leave it."""
    return ScoreState(*(getattr(state, name) * factor for name in ScoreState.__slots__))


def decide(states, v0):
    """Test harm, non-inferiority and superiority of every cell, with intervals; combine."""
    harm = []
    for state in states:
        v = variance(state, 0.0, noninferiority=False, binary=True)
        harm.append(log_e_three(state.s, v, v0))
        for d0 in (MARGIN, 0.0):
            v = variance(state, d0, noninferiority=True, binary=True)
            log_e(d0 * state.i - state.s, v, v0)
        interval(state, alpha=0.05, v0=v0, binary=True)
    average_log_e(harm, [1 / CELLS] * CELLS)
    e_bh(harm, q=0.1, total=CELLS)


def timed(call, repeats=25):
    """Median seconds of a call; the processor is shared, so repeat."""
    taken = []
    for _ in range(repeats):
        start = process_time()
        call()
        taken.append(process_time() - start)
    return statistics.median(taken)


def bytes_per_unit(units=20_000):
    """Memory of the rows of units seen at two shares."""
    tracemalloc.start()
    rows = {}
    for unit in range(units):
        row = rows[str(unit)] = UnitRow()
        for share in (0.05, 0.25):
            update(
                ScoreState(),
                row,
                canary=unit % 5 == 0,
                share=share,
                value=1.0,
                centre=0.1,
                binary=True,
            )
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / units


def main():
    """Measure and print."""
    state, per_update = stream(200_000, 20_000)
    small, _ = stream(1_000, 300)
    shards = [stream(2_000, 200, seed=k)[0] for k in range(100)]
    v0 = precision(0.05, 50.0)
    result = {
        "update_us": per_update * 1e6,
        "decide_ms_after_1e3_requests": timed(lambda: decide([small] * CELLS, v0)) * 1e3,
        "decide_ms_after_2e5_requests": timed(lambda: decide([state] * CELLS, v0)) * 1e3,
        "decide_ms_after_1e7_requests": timed(lambda: decide([grown(state, 50)] * CELLS, v0 * 50))
        * 1e3,
        "merge_100_shards_us": timed(lambda: sum(shards, ScoreState())) * 1e6,
        "megabytes_per_100k_units_and_metric": bytes_per_unit() * 1e5 / 1e6,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
