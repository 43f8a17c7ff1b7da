"""Sample ratio, drift of categories, and people with a judge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from canary_sim import allowed, ever, first, required
from scipy.special import betaln, logsumexp

from llm_canary.stats.aipw import ppi_mean
from llm_canary.stats.drift import CONCENTRATION, log_e_drift, psi
from llm_canary.stats.srm import CONCENTRATIONS, log_e_srm

LOOKS = 500


def log_beta_binomial(x, n, share, concentration):
    a, b = concentration * share, concentration * (1 - share)
    return (
        betaln(a + x, b + n - x) - betaln(a, b) - x * math.log(share) - (n - x) * math.log1p(-share)
    )


def srm_paths(rng, runs, planned, true, looks=LOOKS):
    x = np.cumsum(rng.binomial(100, true, (runs, looks)), axis=1)
    n = 100 * np.arange(1, looks + 1)
    each = [log_beta_binomial(x, n, planned, c) for c in CONCENTRATIONS]
    return x, n, logsumexp(each, axis=0) - math.log(len(each))


def test_the_vectorised_mismatch_is_the_shipped_one():
    x, n, log_each = srm_paths(np.random.default_rng(1), 1, 0.05, 0.08, looks=20)

    assert log_each[0, -1] == pytest.approx(log_e_srm([int(x[0, -1])], [int(n[-1])], [0.05]))


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_a_true_split_is_rarely_called_a_mismatch(share, length, seed, record):
    runs = length(2_000, 20_000)
    rng = np.random.default_rng([seed, 40, int(share * 100)])
    x, n, log_each = srm_paths(rng, runs, share, share)
    z = (x - n * share) / np.sqrt(n * share * (1 - share))
    flagged, naive = ever(log_each >= math.log(1000)), ever(np.abs(z) >= 3.290527)
    record(runs=runs, flagged=flagged / runs, chi_squared_peeked=naive / runs)

    assert flagged <= allowed(0.002, runs)
    assert naive > flagged


@pytest.mark.parametrize(
    ("planned", "true", "users"), [(0.5, 0.45, 2_500), (0.5, 0.475, 9_000), (0.05, 0.04, 10_000)]
)
def test_a_false_split_is_found_soon(planned, true, users, length, seed, record):
    runs = length(1_000)
    rng = np.random.default_rng([seed, 41, int(true * 1000)])
    _, _, log_each = srm_paths(rng, runs, planned, true)
    at = first(log_each >= math.log(1000))
    when = np.where(at >= 0, (at + 1) * 100, np.inf)
    record(runs=runs, median=np.median(when))

    assert np.median(when) <= users


def mixes(rng, runs, categories, share, canary=None):
    """Cumulative counts (runs, looks, categories) of canary and all, 200 looks at 100 responses."""
    control = np.full(categories, 1 / categories)
    canary = control if canary is None else canary
    n_c = rng.binomial(100, share, (runs, 200))
    x = rng.multinomial(n_c, canary)
    y = rng.multinomial(100 - n_c, control)
    return np.cumsum(x, axis=1), np.cumsum(x + y, axis=1)


def drift_evidence(x, n, share):
    return log_beta_binomial(x, n, share, CONCENTRATION).sum(axis=2)


def test_the_vectorised_drift_is_the_shipped_one():
    x, n = mixes(np.random.default_rng(2), 1, 5, 0.25)
    shipped = log_e_drift([x[0, -1].tolist()], [n[0, -1].tolist()], [0.25])

    assert drift_evidence(x, n, 0.25)[0, -1] == pytest.approx(shipped)


@pytest.mark.parametrize("categories", [5, 20])
@pytest.mark.parametrize("share", [0.05, 0.25])
def test_identical_mixes_of_answers_rarely_count_as_drift(categories, share, length, seed, record):
    """The folklore "PSI > 0.1" fires in nearly every such rollout with 20 categories."""
    runs = length(500)
    rng = np.random.default_rng([seed, 42, categories, int(share * 100)])
    flagged = folklore = 0
    for n in np.array_split(np.arange(runs), max(runs // 500, 1)):
        x, total = mixes(rng, len(n), categories, share)
        flagged += ever(drift_evidence(x, total, share) >= math.log(20))
        folklore += ever(_psi(x, total - x) > 0.1)
    record(runs=runs, flagged=flagged / runs, psi_above_a_tenth=folklore / runs)

    assert flagged <= allowed(0.05, runs)
    if categories == 20:
        assert folklore >= required(0.9, runs)


def _psi(x, y):
    p = (x + 0.5) / (x.sum(axis=2, keepdims=True) + 0.5 * x.shape[2])
    q = (y + 0.5) / (y.sum(axis=2, keepdims=True) + 0.5 * x.shape[2])
    # A first look of five canary responses proves nothing to anyone: start at 100.
    enough = x.sum(axis=2) >= 100
    return np.where(enough, ((p - q) * np.log(p / q)).sum(axis=2), 0.0)


def test_the_vectorised_psi_is_the_shipped_one():
    x, n = mixes(np.random.default_rng(3), 1, 5, 0.25)

    assert _psi(x, n - x)[0, -1] == pytest.approx(psi(x[0, -1].tolist(), (n - x)[0, -1].tolist()))


def test_a_shifted_mix_is_found(length, seed, record):
    runs = length(500)
    rng = np.random.default_rng([seed, 43])
    canary = np.array([0.2 + 0.08, 0.2, 0.2, 0.2, 0.2 - 0.08])
    x, n = mixes(rng, runs, 5, 0.25, canary)
    found = ever(drift_evidence(x, n, 0.25) >= math.log(20))
    record(runs=runs, found=found / runs)

    assert found >= required(0.99, runs)


def rubric(latent):
    """Ordinal 1-5 with a standard deviation near 1.12."""
    return np.clip(np.round(3.3 + 1.12 * latent), 1, 5)


def rated_day(rng, n, judged, mix):
    """Human and judge scores of n responses, the judge's of others; the judge 0.3 too kind."""
    total = n + judged
    quality, own = rng.standard_normal(total), rng.standard_normal(total)
    human = rubric(quality)
    judge = rubric(mix * quality + math.sqrt(1 - mix**2) * own) + 0.3
    return human[:n], judge[:n], judge[n:]


@pytest.mark.parametrize(
    ("mix", "correlation", "width"),
    [
        pytest.param(0.0, 0.0, 1.03, id="unrelated-judge"),
        pytest.param(0.55, 0.5, 0.88, id="half-correlated"),
        pytest.param(0.78, 0.72, 0.72, id="correlated"),
        pytest.param(0.967, 0.91, 0.50, id="nearly-human"),
    ],
)
@pytest.mark.parametrize("folds", [1, 5])
def test_a_judge_narrows_the_interval_of_people_and_never_moves_it(
    mix, correlation, width, folds, length, seed, record
):
    """100 labels and 5,000 judge scores a day; the true mean is that of all responses."""
    runs = length(1_000)
    rng = np.random.default_rng([seed, 44, int(mix * 1000), folds])
    truth = float(rubric(np.random.default_rng(0).standard_normal(4_000_000)).mean())
    ratios, covered, correlations = [], 0, []
    for _ in range(runs):
        human, judge, rest = rated_day(rng, 100, 5_000, mix)
        day = ppi_mean(human, judge, rest, folds=folds)
        alone = 2 * 1.984217 * human.std(ddof=1) / 10.0
        ratios.append((day.upper - day.lower) / alone)
        covered += day.lower <= truth <= day.upper
        correlations.append(np.corrcoef(human, judge)[0, 1])
    record(
        runs=runs,
        correlation=np.mean(correlations),
        width=np.median(ratios),
        covered=covered / runs,
    )

    assert np.mean(correlations) == pytest.approx(correlation, abs=0.015)
    assert np.median(ratios) <= width
    assert covered >= required(0.935 if folds == 1 else 0.94, runs)
    assert covered <= allowed(0.965 if folds == 1 else 0.975, runs)
