"""Cost of taking responses into the sums of a rollout, and what a unit weighs.

Run `python benchmarks/stats_update.py`; prints JSON. Times are processor time of one core, medians.
`yardstick_us` is `json.dumps` of one such response in the same run: compare machines by it.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import tracemalloc
from itertools import islice
from pathlib import Path
from time import process_time

from llm_canary.config.load import load
from llm_canary.decision.rules import rules_of, specs_of
from llm_canary.metrics.accumulate import Response, Settings, enter, look, mature
from llm_canary.metrics.spec import ResponseFacts
from llm_canary.metrics.state import Rollup, UnitState, pack, unpack

PROJECT = """
version: 1
upstreams: {s: {kind: openai, base_url: "http://127.0.0.1:9"}}
routes: {bot: {control: {upstream: s, model: a}}}
rollouts: {next: {route: bot, canary: {upstream: s, model: b}}}
"""
# With the three that `standard` scores at once: eight.
MORE = """
plans: {standard: {extends: standard, gates: {
  timeout_rate: {kind: goal, margin: 1pp}, empty_rate: {kind: goal, margin: 1pp},
  refusal_rate: {kind: goal, margin: 1pp}, latency_p50: {kind: goal, margin: 10%},
  output_tokens: {kind: goal, margin: 10%}}}}
"""
FIVE = {"tier": 3, "geo": 4, "language": 2, "input_length": 3, "client": 3}
SIX = {**FIVE, "task": 3}
MANY = {**FIVE, "hour": 24}  # and nearly every response of a batch in a combination of its own
SHARES = ((0.05, "initial"), (0.25, "broad"), (0.5, "half"))
BATCH = 1_000  # responses between two looks, as the controller takes them


def plan(more=""):
    """The shipped plan `standard`, with the gates of `more`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "canary.yaml"
        path.write_text(PROJECT + more)
        return load(path).rollouts["next"].plan


def settings(of):
    """Score everything: no warm-up, no cap that matters here."""
    return Settings(rules=rules_of(of), share_changes_s=(0.0,), max_per_unit_day=10**9)


def stream(responses, units, segments, seed=1):
    """Yield (unit, response) over a ramp; units come back, some give a thumb."""
    rng = random.Random(seed)
    values = [{name: f"v{rng.randrange(n)}" for name, n in segments.items()} for _ in range(units)]
    for k in range(responses):
        unit, (share, stage) = rng.randrange(units), SHARES[3 * k // responses]
        facts = ResponseFacts(
            terminal="timeout" if rng.random() < 0.02 else "completed",
            share=share,
            latency_ms=rng.lognormvariate(6.7, 0.6),
            completion_tokens=rng.randrange(20, 600),
            cost_nanousd=rng.randrange(100_000, 900_000),
            uncached_cost_nanousd=rng.randrange(100_000, 900_000),
            empty=rng.random() < 0.01,
            refusal=rng.random() < 0.03,
            outcomes={"thumbs": float(rng.random() < 0.7)} if rng.random() < 0.1 else {},
        )
        response = Response(
            at_s=1.8e9 + k * 0.5,
            canary=unit / units < share,
            share=share,
            stage=stage,
            facts=facts,
            segments=values[unit],
            reported_model="m",
        )
        yield unit, response


def feed(rows, of):
    """Score the rows as the controller does: batch by batch, its units read and written.

    Return sums, units as stored, and microseconds per response: scored at once, matured, and the
    reading and writing of units.
    """
    specs, how = specs_of(of), settings(of)
    late = [spec for spec in specs.values() if spec.outcome is not None]
    rollup, stored, spent = Rollup(), {}, [0.0, 0.0, 0.0]
    n = 0
    for batch in batched(rows):
        n += len(batch)
        began = process_time()
        units = {unit: unpack(stored[unit], UnitState) for unit, _ in batch if unit in stored}
        read = process_time()
        for unit, response in batch:
            state = units.get(unit)
            if state is None:
                state = units[unit] = UnitState()
            enter(rollup, state, response, specs, how)
        look(rollup, specs, batch[-1][1].at_s)
        entered = process_time()
        for unit, response in batch:
            for spec in late:
                mature(rollup, units[unit], response, spec, how)
        look(rollup, specs, batch[-1][1].at_s)
        matured = process_time()
        stored |= {unit: pack(state) for unit, state in units.items()}
        spent[0] += entered - read
        spent[1] += matured - entered
        spent[2] += read - began + process_time() - matured
    return rollup, stored, [each / n * 1e6 for each in spent]


def batched(rows):
    """Lists of `BATCH` rows, made when they are asked for, as they are read from SQL."""
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        yield batch


def median_us(of, segments, repeats=5):
    """Return the medians of the microseconds that `feed` returns."""
    runs = [feed(stream(20_000, 5_000, segments), of)[2] for _ in range(repeats)]
    return [statistics.median(each) for each in zip(*runs, strict=True)]


def yardstick_us(repeats=7):
    """Return the median microseconds of `json.dumps` of a response."""
    _, response = next(stream(1, 1, FIVE))
    event = {name: getattr(response, name) for name in ("at_s", "canary", "stage", "segments")}
    event |= {name: getattr(response.facts, name) for name in ResponseFacts.__struct_fields__}
    taken = []
    for _ in range(repeats):
        began = process_time()
        for _ in range(10_000):
            json.dumps(event)
        taken.append((process_time() - began) / 1e4 * 1e6)
    return statistics.median(taken)


def unit_bytes(of, units=10_000):
    """Return bytes per unit in memory and in SQL, each unit seen at three shares."""
    rows = ((k % units, each) for k, (_, each) in enumerate(stream(3 * units, units, FIVE)))
    _, stored, _ = feed(rows, of)
    tracemalloc.start()
    held = {unit: unpack(state, UnitState) for unit, state in stored.items()}
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(held), sum(map(len, stored.values())) / len(stored)


def main():
    """Measure and print."""
    standard = plan()
    yardstick = yardstick_us()
    at_once, matured, stored = median_us(standard, FIVE)
    scattered, _, _ = median_us(standard, MANY)
    of_eight, _, _ = median_us(plan(MORE), SIX)
    memory, sql = unit_bytes(standard)
    result = {
        "yardstick_us": yardstick,
        "standard_at_once_us": at_once,
        "standard_at_once_yardsticks": at_once / yardstick,
        "standard_at_once_most_combinations_us": scattered,
        "standard_matured_us": matured,
        "standard_units_read_and_written_us": stored,
        "eight_metrics_seven_slices_us": of_eight,
        "megabytes_per_100k_units_in_memory": memory / 10,
        "megabytes_per_100k_units_in_sql": sql / 10,
    }
    print(json.dumps({name: round(value, 2) for name, value in result.items()}, indent=2))


if __name__ == "__main__":
    main()
