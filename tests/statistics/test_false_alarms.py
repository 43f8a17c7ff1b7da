"""Identical models: how often a rollout is stopped, or called better, although nothing changed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from canary_sim import (
    Clusters,
    Paths,
    Population,
    allowed,
    binary_paths,
    ever,
    in_chunks,
    log_e_three,
    required,
    stack,
)
from scipy.special import logsumexp

from llm_canary.stats.exact import GRID
from llm_canary.stats.mixture import precision
from llm_canary.stats.power import Target, planned_variance

LOOKS, PER_LOOK, UNITS = 500, 100, 5_000
SIGMA = 0.8
CAP = math.exp(SIGMA * 3.09)  # the control's 99.9th percentile
MEAN = 1.3735  # of the capped lognormal
RATE = 0.1
Z_TWO_SIDED = 1.959964


def tuned(alpha, effect, variance, deff=1.0):
    return precision(alpha, planned_variance(Target(effect, design_effect=deff), variance=variance))


def clustered(rng, runs, metric, share):
    population = Population(rng, runs, UNITS, icc=0.1)
    clusters = Clusters(runs, UNITS, [share])
    level = population.levels(RATE) if metric == "binary" else None
    centre = np.full((runs, 1), RATE if metric == "binary" else MEAN)
    for _ in range(LOOKS):
        unit = population.requests(PER_LOOK)
        if level is None:
            value = np.minimum(population.lognormal(unit, SIGMA), CAP)
        else:
            value = (rng.random(unit.shape) < level[population.rows, unit]) * 1.0
        clusters.feed(unit, population.arms(unit, share), share, value, centre)
        clusters.look()
    return clusters.paths()


def independent_latency(rng, runs, share):
    """One response of each unit; sums per look suffice."""
    parts = {
        name: np.empty((runs, LOOKS))
        for name in ("s", "i", "pp", "xx", "n", "y", "yy", "nt", "yt", "yyt")
    }
    for look in range(LOOKS):
        y = np.minimum(
            np.exp(SIGMA * rng.standard_normal((runs, PER_LOOK), dtype=np.float32)), CAP
        ).astype(float)
        a = rng.random((runs, PER_LOOK), dtype=np.float32) < share
        r = y - MEAN
        w = r * (a - share)
        for name, each in {
            "s": w, "i": a * (1 - share), "pp": w * w, "xx": share * (1 - share) * r * r,
            "n": a, "y": a * y, "yy": a * y * y, "nt": ~a, "yt": ~a * y, "yyt": ~a * y * y,
        }.items():  # fmt: skip
            parts[name][:, look] = each.sum(axis=1)
    c = {name: np.cumsum(each, axis=1) for name, each in parts.items()}
    zero = np.zeros((runs, LOOKS))
    return Paths(
        c["s"], c["i"], c["pp"], zero, zero, c["xx"], zero, zero, zero, zero, zero, zero,
        c["n"], c["nt"], c["y"], c["yt"], c["yy"], c["yyt"],
    )  # fmt: skip


def a_a(seed, runs, metric, data, share):
    rng = np.random.default_rng([seed, *map(ord, metric + data), int(share * 1000)])
    if data == "clustered":
        return stack([clustered(rng, n, metric, share) for n in in_chunks(runs, 200)])
    if metric == "latency":
        return stack([independent_latency(rng, n, share) for n in in_chunks(runs, 500)])
    return binary_paths(
        rng,
        runs,
        per_look=PER_LOOK,
        share=np.full(LOOKS, share),
        control=RATE,
        canary=RATE,
        centre=0.11,
    )


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("data", ["independent", "clustered"])
@pytest.mark.parametrize("metric", ["binary", "latency"])
def test_identical_models_are_rarely_rolled_back_at_500_looks(
    metric, data, share, length, seed, record
):
    runs = length(2_000 if (metric, data) == ("binary", "independent") else 200)
    paths = a_a(seed, runs, metric, data, share)
    v0 = tuned(
        0.05, 0.02 if metric == "binary" else 0.1 * MEAN, RATE * 0.9 if metric == "binary" else 0.9
    )
    ours = ever(paths.harm(v0) >= math.log(20))
    z = paths.naive_z()
    naive = ever(np.abs(z) >= Z_TWO_SIDED)
    record(
        runs=runs,
        rolled_back=ours / runs,
        naive_any=naive / runs,
        naive_worse=ever(z >= Z_TWO_SIDED) / runs,
    )

    assert ours <= allowed(0.04, runs)
    if share >= 0.05:
        assert naive >= required(0.40, runs)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_the_exact_test_of_first_events_rarely_stops_identical_models(share, length, seed, record):
    """One e-value per event: looking at each of 2,000 events."""
    runs, events = length(500), 2_000
    rng = np.random.default_rng([seed, 1, int(share * 1000)])
    x = np.cumsum(rng.random((runs, events)) < share, axis=1)
    n = np.arange(1, events + 1)
    ratios = np.exp(GRID)
    p = share * ratios / (share * ratios + 1 - share)
    gain, loss = np.log(p / share), np.log((1 - p) / (1 - share))
    stopped = sum(
        ever(
            logsumexp(x[rows, :, None] * gain + (n - x[rows])[:, :, None] * loss, axis=2)
            - math.log(len(GRID))
            >= math.log(20)
        )
        for rows in np.array_split(np.arange(runs), max(runs // 100, 1))
    )
    record(runs=runs, rolled_back=stopped / runs)

    assert stopped <= allowed(0.05, runs)


@pytest.mark.parametrize(("alpha", "bar"), [(0.05, 0.04), (0.01, 0.01)])
def test_48_processes_together_rarely_roll_back_identical_models(alpha, bar, length, seed, record):
    """Six metrics, correlated .5, overall and in seven slices; half the weight overall."""
    runs, metrics, slices, share = length(300), 6, 7, 0.25
    rng = np.random.default_rng([seed, 2])
    weights = np.concatenate(
        [np.full(metrics, 0.5 / metrics), np.full(metrics * slices, 0.5 / (metrics * slices))]
    )
    v0 = precision(alpha, 0.5 * LOOKS * PER_LOOK * share * (1 - share))
    globally = alone = 0
    for n in in_chunks(runs, 50):
        s, v = _correlated_slices(rng, n, (metrics, slices), share)
        log_each = log_e_three(s, np.maximum.accumulate(v, axis=-1), v0)
        average = logsumexp(log_each, axis=1, b=weights[None, :, None])
        globally += ever(average >= -math.log(alpha))
        alone += ever(log_each.max(axis=1) >= -math.log(alpha))
    record(runs=runs, alpha=alpha, rolled_back=globally / runs, uncorrected=alone / runs)

    assert globally <= allowed(bar, runs)
    assert alone > 3 * max(globally, 1)


def _correlated_slices(rng, runs, shape, share):
    """Cumulative score and variance per process: each metric overall, then in each slice."""
    metrics, slices = shape
    sums = np.empty((3, runs, metrics * (slices + 1), LOOKS))
    # Slices take the requests of a look in turn; units come once.
    edges = np.linspace(0, PER_LOOK, slices + 1).astype(int)[:-1]
    for look in range(LOOKS):
        common = rng.standard_normal((runs, 1, PER_LOOK), dtype=np.float32)
        own = rng.standard_normal((runs, metrics, PER_LOOK), dtype=np.float32)
        r = math.sqrt(0.5) * (common + own)
        w = r * ((rng.random((runs, 1, PER_LOOK), dtype=np.float32) < share) - np.float32(share))
        for kind, each in enumerate((w, w * w, share * (1 - share) * r * r)):
            by_slice = np.add.reduceat(each, edges, axis=2)
            sums[kind, :, :metrics, look] = by_slice.sum(axis=2)
            sums[kind, :, metrics:, look] = by_slice.reshape(runs, -1)
    s, robust, randomised = np.cumsum(sums, axis=3)
    return s, np.maximum(robust, randomised)


@pytest.mark.parametrize("rate", [0.001, 0.005, 0.02])
@pytest.mark.parametrize("share", [0.01, 0.05])
def test_a_canary_without_failures_yet_is_not_called_better(rate, share, length, seed, record):
    """The robust variance alone is blind to failures that have not happened."""
    runs = length(2_000)
    rng = np.random.default_rng([seed, 3, int(rate * 1e4), int(share * 100)])
    paths = binary_paths(
        rng,
        runs,
        per_look=PER_LOOK,
        share=np.full(LOOKS, share),
        control=rate,
        canary=rate,
        bucket=50,
    )
    v0 = tuned(0.05, 0.005, rate)
    better = ever(paths.no_worse(v0, 0.0) >= math.log(20))
    blind = np.maximum.accumulate(paths.pp, axis=1)
    plug_in = ever(log_e_three(-paths.s, blind, v0) >= math.log(20))
    record(runs=runs, better=better / runs, plug_in_better=plug_in / runs)

    assert better <= allowed(0.02, runs)
    if rate == 0.005:
        assert plug_in >= required(0.4, runs)


def test_units_that_answer_alike_and_return_often_do_not_raise_the_alarm(length, seed, record):
    """Intra-class correlation .5, 20 requests of each unit in 10 windows, each with its centre."""
    runs, units, windows = length(400), 400, 10
    rolled_back = evicted = 0
    rng = np.random.default_rng([seed, 4])
    for n in in_chunks(runs, 400):
        population = Population(rng, n, units, icc=0.5)
        level = population.levels(0.2)
        kept, dropped = Clusters(n, units, [0.25]), None
        windows_dropped = []
        for window in range(windows):
            dropped = Clusters(n, units, [0.25])
            centre = _window_centre(kept, n, window)
            for _ in range(8):
                unit = population.requests(units * 2 // 8)
                value = (rng.random(unit.shape) < level[population.rows, unit]) * 1.0
                for each in (kept, dropped):
                    each.feed(unit, population.arms(unit, 0.25), 0.25, value, centre)
                    each.look()
            windows_dropped.append(dropped.paths())
        v0 = tuned(0.05, 0.05, 0.16, deff=10.0)
        rolled_back += ever(kept.paths().harm(v0) >= math.log(20))
        evicted += ever(_forgetful(windows_dropped, v0) >= math.log(20))
    record(
        runs=runs, rolled_back=rolled_back / runs, rolled_back_if_rows_are_evicted=evicted / runs
    )

    assert rolled_back <= allowed(0.04, runs)
    assert evicted > allowed(0.05, runs)


def _window_centre(clusters, runs, window):
    if window == 0:
        return np.full((runs, 1), 0.2)
    last, before = clusters.looks[-1], clusters.looks[-9] if window > 1 else None
    y, n = (last[k] - (before[k] if before else 0.0) for k in ("y_control", "n_control"))
    return (y / n)[:, None]


def _forgetful(parts, v0):
    """The evidence if unit rows were dropped after each window: cross terms are lost."""
    s, v, logs = 0.0, 0.0, []
    for part in parts:
        logs.append(log_e_three(s + part.s, v + part.variance(0.0), v0))
        s, v = s + part.s[:, -1:], v + part.variance(0.0)[:, -1:]
    return np.concatenate(logs, axis=1)


def test_a_bot_with_a_third_of_the_traffic_hides_no_harm_when_its_responses_are_capped(
    length, seed, record
):
    """+50 % at a 25 % share over four days of 5,000 requests, 30 % of them by one unit."""
    runs, units, share = length(400), 3_000, 0.25
    found = uncapped = 0
    rng = np.random.default_rng([seed, 5])
    for n in in_chunks(runs, 400):
        population = Population(rng, n, units, icc=0.1)
        level = population.levels(RATE)
        capped, free = Clusters(n, units, [share]), Clusters(n, units, [share])
        for look in range(96):
            unit = population.requests(208)
            unit[rng.random(unit.shape) < 0.3] = 0
            arm = population.arms(unit, share)
            rate = level[population.rows, unit] * (1 + 0.5 * arm)
            value = (rng.random(unit.shape) < rate) * 1.0
            centre = np.full((n, 1), RATE)
            free.feed(unit, arm, share, value, centre)
            # About 60 of the bot's requests fall into an hour, so only the day's first hour is
            # below the cap of 50.
            over = (unit == 0) & ((np.cumsum(unit == 0, axis=1) > 50) | (look % 24 > 0))
            capped.feed(unit, arm, share, np.where(over, np.nan, value), centre)
            free.look()
            capped.look()
        v0 = tuned(0.05, 0.02, 0.09, deff=1.5)
        found += ever(capped.paths().harm(v0) >= math.log(20))
        uncapped += ever(free.paths().harm(v0) >= math.log(20))
    record(runs=runs, found=found / runs, found_without_cap=uncapped / runs)

    assert found >= required(0.95, runs)
    assert uncapped < required(0.8, runs)


def test_restarts_raise_no_alarm_where_a_ramp_leaves_few_in_the_control(length, seed, record):
    """Two days at 50 %, two at 99 %: the robust variance hardly grows until a control unit fails.

    A restart whose variance is the gain of the larger of the two takes a lull there for harm.
    """
    runs, hours, rate = length(2_000, 20_000), 96, 0.01
    rng = np.random.default_rng([seed, 6])
    share = np.where(np.arange(hours) < 48, 0.5, 0.99)
    paths = binary_paths(
        rng, runs, per_look=1_000, share=share, control=rate, canary=rate, bucket=1
    )
    v0 = tuned(0.01, 0.005, 1.5 * rate)
    total = paths.variance(0.0)
    gain_of_larger = _restarted(paths, v0, lambda at: total - total[:, at])
    larger_gain = _restarted(
        paths,
        v0,
        lambda at: np.maximum.reduce(
            [total - total[:, at], paths.pp - paths.pp[:, at], paths.xx - paths.xx[:, at]]
        ),
    )
    ours = ever(larger_gain >= math.log(100))
    wrong = ever(gain_of_larger >= math.log(100))
    record(runs=runs, rolled_back=ours / runs, gain_of_the_larger=wrong / runs)

    assert ours <= allowed(0.01, runs)
    assert wrong > allowed(0.01, runs)


def _restarted(paths, v0, gain):
    """Vectorised `global_test.restart_log_e`, a restart every six hours from the start."""
    total, left = np.zeros_like(paths.s), np.ones(paths.s.shape[1])
    for k, start in enumerate(range(0, paths.s.shape[1], 6)):
        weight = 1.0 / ((k + 1) * (k + 2))
        since = slice(start, None)
        if start:
            at = slice(start - 1, start)
            s, v = paths.s - paths.s[:, at], np.maximum(gain(at), 0.0)
        else:
            s, v = paths.s, paths.variance(0.0)
        total[:, since] += weight * np.exp(log_e_three(s[:, since], v[:, since], v0))
        left[since] -= weight
    return np.log(total + left)
