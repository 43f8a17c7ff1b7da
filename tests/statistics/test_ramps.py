"""Shares that grow while base rates drift, outcomes that come late, ratings that are missing."""

from __future__ import annotations

import math

import numpy as np
from canary_sim import Clusters, Population, allowed, count_paths, ever, in_chunks, required

from llm_canary.stats.mixture import precision
from llm_canary.stats.power import Target, planned_variance

SHARES, BASE = (0.05, 0.25, 0.5), (0.10, 0.14, 0.08)
LIMIT = math.log(20)


def staged(rng, runs, *, harm, units=5_000, per_stage=16_700):
    """Sticky units cross into the canary as the share grows; stages differ in base rate."""
    population = Population(rng, runs, units, icc=0.1)
    clusters = Clusters(runs, units, SHARES)
    own = population.levels(0.1)
    per_look = per_stage // 25
    for share, base in zip(SHARES, BASE, strict=True):
        before = clusters.looks[-1] if clusters.looks else None
        centre = np.full((runs, 1), 0.1) if before is None else _control_mean(before)
        for _ in range(25):
            unit = population.requests(per_look)
            arm = population.arms(unit, share)
            rate = np.minimum(own[population.rows, unit] * base / 0.1, 1.0) * (1 + harm * arm)
            clusters.feed(unit, arm, share, (rng.random(unit.shape) < rate) * 1.0, centre)
            clusters.look()
    return clusters.paths()


def _control_mean(look):
    return (look["y_control"] / look["n_control"])[:, None]


def test_stages_with_drifting_base_rates_alarm_rarely_and_still_find_harm(length, seed, record):
    """5, 25 and 50 %; pooling the stages instead compares different days (Simpson)."""
    runs = length(150)
    rng = np.random.default_rng([seed, 20])
    target = Target(0.025, design_effect=1.5)
    v0 = precision(0.05, planned_variance(target, variance=0.09))
    alarms = found = pooled = 0
    for n in in_chunks(runs, 200):
        same = staged(rng, n, harm=0.0)
        alarms += ever(same.harm(v0) >= LIMIT)
        pooled += ever(np.abs(same.naive_z()) >= 1.959964)
        found += ever(staged(rng, n, harm=0.25).harm(v0) >= LIMIT)
    record(runs=runs, alarms=alarms / runs, pooled_z=pooled / runs, found=found / runs)

    assert alarms <= allowed(0.03, runs)
    assert pooled >= required(0.9, runs)
    assert found >= required(0.93, runs)


def test_outcomes_that_come_late_are_scored_when_their_window_closes(length, seed, record):
    """Thumbs after 12 hours on average; 5 %, then 50 %: the canary's requests are younger."""
    runs, hours, per_hour, window, rate = length(1_000), 120, 500, 24, 0.1
    rng = np.random.default_rng([seed, 21])
    share = np.where(np.arange(hours) < 48, 0.05, 0.5)
    delays = np.diff(-np.expm1(-np.arange(hours + 1) / 12.0))
    chances = rate * np.append(delays, 1 - delays.sum())
    n_c = rng.binomial(per_hour, share, (runs, hours))
    arrived = {"canary": np.zeros((runs, hours)), "control": np.zeros((runs, hours))}
    matured = {name: np.zeros((runs, hours)) for name in arrived}
    for hour in range(hours):
        for name, n in (("canary", n_c[:, hour]), ("control", per_hour - n_c[:, hour])):
            counts = rng.multinomial(n, np.append(chances, 1 - rate))[:, :hours]
            arrived[name][:, hour:] += counts[:, : hours - hour]
            matured[name][:, hour] = counts[:, :window].sum(axis=1)
    naive = _proportions_z(
        arrived["canary"], np.cumsum(n_c, 1), arrived["control"], np.cumsum(per_hour - n_c, 1)
    )
    ours = ever(_matured_evidence(matured, n_c, per_hour, share) >= LIMIT)
    record(runs=runs, alarms=ours / runs, naive=ever(np.abs(naive) >= 1.959964) / runs)

    assert ours <= allowed(0.03, runs)
    assert ever(np.abs(naive) >= 1.959964) >= required(0.99, runs)


def _proportions_z(arrived_c, requests_c, arrived_t, requests_t):
    events_c, events_t = np.cumsum(arrived_c, axis=1), np.cumsum(arrived_t, axis=1)
    p = (events_c + events_t) / (requests_c + requests_t)
    error = np.sqrt(
        np.maximum(p * (1 - p), 1e-12) * (1 / np.maximum(requests_c, 1) + 1 / requests_t)
    )
    return (events_c / np.maximum(requests_c, 1) - events_t / requests_t) / error


def _matured_evidence(matured, n_c, per_hour, share):
    """A look as each hour's window closes; a thumb given late is an answer that counts as none."""
    n = (n_c, per_hour - n_c)
    centre = np.full(n_c.shape, 0.09)
    paths = count_paths(share[None, :], centre, n, (matured["canary"], matured["control"]))
    return paths.harm(precision(0.05, planned_variance(Target(0.02), variance=0.08)))


def test_missing_ratings_are_seen_as_selection_before_they_look_like_harm(length, seed, record):
    """Identical quality; the canary gets 80 % as many ratings, the first centre is off by .05."""
    runs, looks, per_look, share, rated = length(2_000), 100, 1_200, 0.25, 0.2
    rng = np.random.default_rng([seed, 22])
    shares = np.full(looks, share)
    # Control and canary ratings are thinned counts of the same requests.
    n = rng.binomial(per_look, share, (runs, looks))
    seen = (rng.binomial(n, 0.8 * rated), rng.binomial(per_look - n, rated))
    good = tuple(rng.binomial(each, 0.3) for each in seen)
    quality, stale = (_conditional(shares, seen, good, refreeze=each) for each in (True, False))
    observed = _observation(shares, n, per_look, seen)
    v_quality = precision(0.05, planned_variance(Target(0.03), variance=0.21))
    v_rate = precision(0.05, planned_variance(Target(0.02), variance=0.16))
    missing = (observed.harm(v_rate) >= LIMIT) | (observed.no_worse(v_rate, 0.0) >= LIMIT)
    held = np.maximum.accumulate(missing, axis=1)
    alarm = (quality.harm(v_quality) >= LIMIT) & ~held
    unguarded = stale.harm(v_quality) >= LIMIT
    record(
        runs=runs,
        rolled_back=ever(alarm) / runs,
        held=ever(missing) / runs,
        unguarded=ever(unguarded) / runs,
    )

    assert ever(alarm) <= allowed(0.02, runs)
    assert ever(missing) >= required(0.99, runs)
    assert ever(unguarded) > allowed(0.05, runs)


def _conditional(share, seen, good, *, refreeze):
    """Score of a 0/1 rating among those observed; the centre starts .05 too high."""
    bad = tuple(n - x for n, x in zip(seen, good, strict=True))
    m = np.full(seen[0].shape, 0.75)
    if refreeze:
        for start in range(10, m.shape[1], 10):
            last = slice(start - 10, start)
            m[:, start : start + 10] = (bad[1][:, last].sum(1) / seen[1][:, last].sum(1))[:, None]
    return count_paths(share[None, :], m, seen, bad)


def _observation(share, n, per_look, seen):
    """Score of "not rated", itself a 0/1 metric of all requests."""
    requests = (n, per_look - n)
    unseen = tuple(a - b for a, b in zip(requests, seen, strict=True))
    return count_paths(share[None, :], np.full(n.shape, 0.8), requests, unseen)
