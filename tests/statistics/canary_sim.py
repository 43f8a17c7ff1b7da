"""Many rollouts at once: the score process of `llm_canary.stats.score`, vectorised over runs.

`tests/statistics/test_simulator.py` checks it against the shipped update, response by response.
Arrays have one row per run and one column per look. A seed decides everything.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.special import log_ndtr, logsumexp
from scipy.stats import binom

from llm_canary.simulation.units import Rows, implied, of_new_units
from llm_canary.stats.mixture import SCALES
from llm_canary.stats.score import ASSUMED_ICC

NAMES = ("s", "i", "pp", "pq", "qq", "xx", "xc", "cc", "n1", "n1m", "n1v", "n0v")


def log_e(score, variance, v0):
    """Vectorised `mixture.log_e`."""
    total = v0 + variance
    return (
        np.log(2.0)
        + 0.5 * np.log(v0 / total)
        + 0.5 * score**2 / total
        + log_ndtr(score / np.sqrt(total))
    )


def log_e_three(score, variance, v0):
    """Vectorised `mixture.log_e_three`."""
    return logsumexp([log_e(score, variance, v0 * scale) for scale in SCALES], axis=0) - np.log(3.0)


@dataclass
class Paths:
    """Sufficient statistics at each look, and the plain counts by arm that naive tests read."""

    s: np.ndarray
    i: np.ndarray
    pp: np.ndarray
    pq: np.ndarray
    qq: np.ndarray
    xx: np.ndarray
    xc: np.ndarray
    cc: np.ndarray
    n1: np.ndarray
    n1m: np.ndarray
    n1v: np.ndarray
    n0v: np.ndarray
    n_canary: np.ndarray
    n_control: np.ndarray
    y_canary: np.ndarray
    y_control: np.ndarray
    yy_canary: np.ndarray
    yy_control: np.ndarray

    def variance(self, d0, *, noninferiority=False, running=True):
        """`score.variance` at each look, and its running maximum."""
        robust = self.pp - 2 * d0 * self.pq + d0**2 * self.qq
        randomised = self.xx - 2 * d0 * self.xc + d0**2 * self.cc
        v = np.maximum(np.maximum(robust, randomised), 0.0)
        if noninferiority:
            implied = self.n1v + d0 * (self.n1 - 2 * self.n1m) - d0**2 * self.n1 + self.n0v
            per_unit = self.qq / np.maximum(self.n1, 1e-300)
            returning = 1.0 + np.maximum(per_unit - 1.0, 0.0) * ASSUMED_ICC
            v = np.maximum(v, returning * implied)
        return np.maximum.accumulate(v, axis=1) if running else v

    def harm(self, v0, d0=0.0):
        """Log e-value of "worse by more than d0" at each look."""
        return log_e_three(self.s - d0 * self.i, self.variance(d0), v0)

    def no_worse(self, v0, d0, *, binary=True):
        """Log e-value of "worse by less than d0" at each look."""
        v = self.variance(d0, noninferiority=binary)
        return log_e(d0 * self.i - self.s, v, v0)

    def gate(self, d0, *, binary=True):
        """Standardised estimate of a gate at each look."""
        v = self.variance(d0, noninferiority=binary)
        return (d0 * self.i - self.s) / np.sqrt(np.maximum(v, 1e-300))

    def effective_units(self):
        """I^2/QQ at each look."""
        return self.i**2 / np.maximum(self.qq, 1e-300)

    def naive_z(self):
        """Welch's z by request at each look, NaN while an arm shows no variation."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean_c, mean_t = self.y_canary / self.n_canary, self.y_control / self.n_control
            var_c = self.yy_canary / self.n_canary - mean_c**2
            var_t = self.yy_control / self.n_control - mean_t**2
            z = (mean_c - mean_t) / np.sqrt(var_c / self.n_canary + var_t / self.n_control)
        return np.where((self.n_canary >= 30) & np.isfinite(z), z, 0.0)


def stack(parts):
    """Put the runs of several Paths below each other."""
    return Paths(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Paths)))


def binary_paths(rng, runs, *, per_look, share, control, canary, centre=None, bucket=10):
    """One response of each unit, 0/1: exact counts per look.

    `share`, `control`, `canary` are one value per look (or one for all runs and looks broadcast to
    them); `centre` the baseline before the first of the buckets, each `bucket` looks long, after
    which the centre is the last bucket's control mean.
    """
    share, control, canary = (
        np.broadcast_to(each, (runs, np.shape(share)[-1])) for each in (share, control, canary)
    )
    looks = share.shape[1]
    n_c = rng.binomial(per_look, share)
    n_t = per_look - n_c
    x_c, x_t = rng.binomial(n_c, canary), rng.binomial(n_t, control)
    m = np.empty((runs, looks))
    now = np.full(runs, control[0, 0] if centre is None else centre, dtype=float)
    for start in range(0, looks, bucket):
        at = slice(start, start + bucket)
        m[:, at] = now[:, None]
        n = n_t[:, at].sum(axis=1)
        now = np.where(n >= 50, x_t[:, at].sum(axis=1) / np.maximum(n, 1), now)
        now = np.clip(now, 0.5 / 2001, 1.0)
    return count_paths(share, m, (n_c, n_t), (x_c, x_t))


def count_paths(share, m, n, x):
    """One 0/1 response of each unit: `n`, `x` of them 1, by (canary, control) and look."""
    sums = of_new_units(share, m, n, x, x) | implied(share, m, n)
    counts = zip(("n_canary", "n_control", "y_canary", "y_control"), (*n, *x), strict=True)
    sums |= dict(counts) | {"yy_canary": x[0], "yy_control": x[1]}
    return Paths(**{name: np.cumsum(each, axis=1, dtype=float) for name, each in sums.items()})


class Clusters:
    """Returning units: one row per (run, unit), fed a batch of responses per look.

    Without `margins` only what a test of d0 = 0 needs is kept, in half the time.
    """

    def __init__(self, runs, units, shares, *, margins=False):
        self.runs, self.units, self.margins = runs, units, margins
        self.rows = Rows(runs * units, shares, margins=margins)
        self.sums = {name: np.zeros(runs) for name in [f.name for f in fields(Paths)]}
        self.looks = []

    def feed(self, unit, arm, share, value, centre):
        """Score a batch of (runs, b) responses around `centre` (runs, 1); NaN is not scored."""
        sums = self.sums
        offset = np.arange(self.runs)[:, None] * self.units
        run = np.broadcast_to(np.arange(self.runs)[:, None], unit.shape)
        scored = ~np.isnan(value)
        at, run, arm, r = (
            np.broadcast_to(each, unit.shape)[scored]
            for each in (unit + offset, run, arm, value - centre)
        )
        y, m = (np.broadcast_to(each, unit.shape)[scored] for each in (value, centre))
        once, gains = self.rows.add(at, arm, share, r)
        for name, gain in gains.items():
            sums[name] += np.bincount(once // self.units, gain, self.runs)
        w = r * (arm - share)
        for name, amount in (
            ("s", w),
            ("i", arm * (1 - share)),
            ("n_canary", arm),
            ("n_control", 1 - arm),
            ("y_canary", arm * y),
            ("y_control", (1 - arm) * y),
            ("yy_canary", arm * y * y),
            ("yy_control", (1 - arm) * y * y),
        ):
            sums[name] += np.bincount(run, amount, self.runs)
        if self.margins:
            e = (1 - share) ** 2 * arm
            for name, amount in (
                ("n1", e),
                ("n1m", e * m),
                ("n1v", e * m * (1 - m)),
                ("n0v", share**2 * (1 - arm) * m * (1 - m)),
            ):
                sums[name] += np.bincount(run, amount, self.runs)

    def look(self):
        """Remember the statistics as they are now."""
        self.looks.append({name: each.copy() for name, each in self.sums.items()})

    def paths(self):
        """Return what was remembered."""
        return Paths(
            **{name: np.stack([each[name] for each in self.looks], axis=1) for name in self.sums}
        )


class Population:
    """Units of unequal activity (gamma, shape 2), each with a hash and a level of its own."""

    def __init__(self, rng, runs, units, *, icc):
        self.rng, self.runs, self.units, self.icc = rng, runs, units, icc
        activity = rng.gamma(2.0, size=units)
        copies = np.maximum(np.round(activity / activity.sum() * 65_536).astype(int), 1)
        self.table = np.repeat(np.arange(units, dtype=np.int32), copies)
        self.hash = rng.random((runs, units), dtype=np.float32)
        self.latent = rng.standard_normal((runs, units), dtype=np.float32)
        self.rows = np.arange(runs)[:, None]

    def requests(self, count):
        """Return `count` requests of each run as unit numbers."""
        return self.table[self.rng.integers(0, len(self.table), (self.runs, count))]

    def arms(self, unit, share):
        """Return 1.0 where the unit is in the canary at this share."""
        return (self.hash[self.rows, unit] < share) * 1.0

    def levels(self, rate):
        """Return each unit's own rate, Beta around `rate` with the intra-class correlation."""
        concentration = (1 - self.icc) / self.icc
        return self.rng.beta(
            rate * concentration, (1 - rate) * concentration, (self.runs, self.units)
        )

    def lognormal(self, unit, sigma):
        """Return lognormal values with the unit's share of the log variance."""
        own = self.latent[self.rows, unit] * np.sqrt(self.icc)
        noise = self.rng.standard_normal(unit.shape, dtype=np.float32) * np.sqrt(1 - self.icc)
        return np.exp(sigma * (own + noise).astype(float))


def ever(condition):
    """Return how many runs met the condition at any look."""
    return int(np.any(condition, axis=1).sum())


def first(condition):
    """Return the first look (0-based) that met the condition, or -1."""
    return np.where(condition.any(axis=1), condition.argmax(axis=1), -1)


def allowed(bar, runs):
    """Return the largest count a true rate of `bar` explains (99.9 % binomial quantile)."""
    return int(binom.ppf(0.999, runs, bar))


def required(bar, runs):
    """Return the smallest count a true rate of `bar` explains."""
    return int(binom.ppf(0.001, runs, bar))


def in_chunks(runs, size):
    """Split a number of runs so that memory stays bounded."""
    return [min(size, runs - start) for start in range(0, runs, size)]
