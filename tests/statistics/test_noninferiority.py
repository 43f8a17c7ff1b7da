"""A canary worse by exactly the margin: how often it passes; an equal one: how soon."""

from __future__ import annotations

import math

import numpy as np
import pytest
from canary_sim import allowed, binary_paths, ever, first, log_e, log_e_three, required
from scipy.special import logsumexp, ndtri

from llm_canary.decision.gates import MIN_ANSWERS
from llm_canary.stats.boundaries import crossing, obrien_fleming, shipped_bounds
from llm_canary.stats.exact import GRID, log_e_not_worse
from llm_canary.stats.mixture import precision
from llm_canary.stats.power import Target, binary_variance, canary_size, planned_variance

LOOKS = 30  # ten looks of the always-valid process per gate
GATE = 0.04
ANY_TIME = 0.01


def proof(paths, *, margin, alpha, v0, least=200):
    """Always-valid non-inferiority at each look, with the floors that guard it."""
    enough = paths.effective_units() >= least
    enough &= paths.n_canary >= math.log(1 / alpha) / margin
    return (paths.no_worse(v0, margin) >= math.log(1 / alpha)) & enough


def gates(paths, *, margin, bounds, at, least=200):
    """Group-sequential non-inferiority at the looks `at`."""
    enough = (paths.effective_units() >= least) & (paths.n_canary >= math.log(1 / GATE) / margin)
    passed = np.zeros_like(enough)
    z = paths.gate(margin)
    for bound, look in zip(bounds, at, strict=True):
        passed[:, look] = (z[:, look] >= bound) & enough[:, look]
    return passed


def planned(rate, margin, share, runs, rng, *, worse, gates_more=0):
    """Paths to the planned end of a stage, its v0, and the looks of its gates."""
    variance = binary_variance(rate, margin, share)
    size = canary_size(Target(margin, kappa=1.04), variance=variance, share=share)
    looks = LOOKS + gates_more * LOOKS // 3
    per_look = math.ceil(size / share / LOOKS)
    paths = binary_paths(
        rng,
        runs,
        per_look=per_look,
        share=np.full(looks, share),
        control=rate,
        canary=rate + worse,
        bucket=LOOKS // 3,
    )
    return paths, planned_variance(Target(margin), variance=variance), [9, 19, 29]


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
@pytest.mark.parametrize("rate", [0.0005, 0.001, 0.002, 0.01])
def test_a_rare_failure_worse_by_the_margin_is_rarely_passed(rate, share, length, seed, record):
    """Without the variance that the margin itself implies, an empty arm proves anything."""
    runs, margin = length(2_000, 20_000), 0.005
    rng = np.random.default_rng([seed, 10, int(rate * 1e4), int(share * 100)])
    paths, v_plan, at = planned(rate, margin, share, runs, rng, worse=margin)
    any_time = ever(proof(paths, margin=margin, alpha=0.05, v0=precision(0.05, v_plan)))
    gate = ever(gates(paths, margin=margin, bounds=obrien_fleming(0.05, 3), at=at))
    shipped = ever(
        gates(paths, margin=margin, bounds=shipped_bounds(), at=at)
        | proof(paths, margin=margin, alpha=ANY_TIME, v0=precision(ANY_TIME, v_plan))
    )
    observed = precision(
        0.05, max(rate * (1 - share), 1e-6) * 8.6 * binary_variance(rate, 0, share) / margin**2
    )
    blind = ever(
        log_e(margin * paths.i - paths.s, paths.variance(margin), observed) >= math.log(20)
    )
    record(
        runs=runs,
        always_valid=any_time / runs,
        gate_05=gate / runs,
        shipped=shipped / runs,
        without_implied_variance=blind / runs,
    )

    assert max(any_time, gate, shipped) <= allowed(0.05, runs)
    if rate <= 0.002:
        assert blind > allowed(0.05, runs)


@pytest.mark.parametrize(("share", "margin"), [(0.05, 0.15), (0.25, 0.10), (0.5, 0.05)])
@pytest.mark.parametrize("per_look", [50, 150])
def test_few_answers_of_people_rarely_pass_a_canary_at_the_margin(
    per_look, share, margin, length, seed, record
):
    """From 30 answers on: one in five thumbs is down, as few as 75 canary users answer in all."""
    runs, rate = length(2_000, 20_000), 0.2
    rng = np.random.default_rng([seed, 16, per_look, int(share * 100)])
    paths = binary_paths(
        rng,
        runs,
        per_look=per_look,
        share=np.full(LOOKS, share),
        control=rate,
        canary=rate + margin,
        bucket=LOOKS // 3,
    )
    v_plan = planned_variance(Target(0.05), variance=binary_variance(rate, 0.05, 0.5))
    shown = gates(paths, margin=margin, bounds=shipped_bounds(), at=[9, 19, 29], least=MIN_ANSWERS)
    v0 = precision(ANY_TIME, v_plan)
    shown |= proof(paths, margin=margin, alpha=ANY_TIME, v0=v0, least=MIN_ANSWERS)
    record(runs=runs, shown=ever(shown) / runs)

    assert ever(shown) <= allowed(0.05, runs)


@pytest.mark.parametrize(("rate", "margin"), [(0.2, 0.05), (0.01, 0.005), (0.4, 0.05)])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_twelve_more_days_of_looking_do_not_promote_a_canary_at_the_margin(
    rate, margin, share, length, seed, record
):
    """Three gates at .04 and always-valid proof at .01; repeating the last bound is the trap."""
    runs = length(2_000)
    rng = np.random.default_rng([seed, 11, int(rate * 100), int(share * 100)])
    paths, v_plan, at = planned(rate, margin, share, runs, rng, worse=margin, gates_more=12)
    promoted = gates(paths, margin=margin, bounds=shipped_bounds(), at=at)
    promoted |= proof(paths, margin=margin, alpha=ANY_TIME, v0=precision(ANY_TIME, v_plan))
    bounds = obrien_fleming(0.05, 3)
    again = gates(paths, margin=margin, bounds=(*bounds, *(bounds[-1],) * 12), at=range(9, 150, 10))
    record(runs=runs, promoted=ever(promoted) / runs, last_bound_repeated=ever(again) / runs)

    assert ever(promoted) <= allowed(0.05, runs)
    assert ever(again) > allowed(0.05, runs)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_an_equal_canary_passes_the_shipped_gate_with_the_planned_power(
    share, length, seed, record
):
    runs, margin, rate = length(2_000), 0.05, 0.2
    rng = np.random.default_rng([seed, 12, int(share * 100)])
    paths, v_plan, at = planned(rate, margin, share, runs, rng, worse=0.0)
    passed = ever(
        gates(paths, margin=margin, bounds=shipped_bounds(), at=at)
        | proof(paths, margin=margin, alpha=ANY_TIME, v0=precision(ANY_TIME, v_plan))
    )
    record(runs=runs, passed=passed / runs)

    assert passed >= required(0.87, runs)


def first_events(rng, units, incidence, ratio, share):
    """Arms of the first events in order of time: those who failed cannot fail first again."""
    hazard = -math.log1p(-incidence)
    times, arms = [], []
    for arm, n, rate in (
        (1, round(units * share), ratio * hazard),
        (0, units - round(units * share), hazard),
    ):
        count = rng.binomial(n, -math.expm1(-rate))
        times.append(-np.log1p(rng.random(count) * math.expm1(-rate)) / rate)
        arms.append(np.full(count, arm))
    return np.concatenate(arms)[np.argsort(np.concatenate(times))]


def wrongly_not_worse(rng, runs, units, incidence, share):
    """Runs in which a true ratio of 1.5 was called smaller, looking at each first event."""
    r0 = 1.5
    p = share * r0 / (share * r0 + 1 - share)
    ratios = r0 * np.exp(-GRID)
    q = share * ratios / (share * ratios + 1 - share)
    gain, loss = np.log(q / p), np.log((1 - q) / (1 - p))
    wrong = 0
    for _ in range(runs):
        x = np.cumsum(first_events(rng, units, incidence, r0, share))[:, None]
        n = np.arange(1, len(x) + 1)[:, None]
        log_each = logsumexp(x * gain + (n - x) * loss, axis=1) - math.log(len(GRID))
        wrong += bool(log_each.max() >= math.log(20))
    return wrong


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_the_exact_ratio_of_rare_events_is_rarely_wrong_at_its_margin(share, length, seed, record):
    """Incidence .02 and .63 among 40,000 and 4,000 units; the latter shows why it is refused."""
    runs = length(500)
    rng = np.random.default_rng([seed, 13, int(share * 100)])
    rare = wrongly_not_worse(rng, runs, 40_000, 0.02, share)
    often = wrongly_not_worse(rng, 100, 4_000, 0.63, share)
    record(runs=runs, wrong=rare / runs, wrong_at_incidence_63=often / 100)

    assert rare <= allowed(0.05, runs)
    assert often > allowed(0.05, 100)


def test_the_exact_ratio_refuses_frequent_events():
    assert log_e_not_worse([5], [200], [0.05], 1.5, incidence=0.1) is None


def test_a_gate_costs_at_most_five_percent_more_than_one_look(length, record):
    """Size that gives an O'Brien-Fleming gate of three looks the power of one fixed look."""
    alpha, power, times = 0.05, 0.9, (1 / 3, 2 / 3, 1.0)
    fixed = float(-ndtri(alpha) + ndtri(power))
    bounds = obrien_fleming(alpha, 3)
    low, high = 1.0, 2.0
    for _ in range(40):
        factor = 0.5 * (low + high)
        drift = fixed * math.sqrt(factor)
        shifted = [z - drift * math.sqrt(t) for z, t in zip(bounds, times, strict=True)]
        low, high = (factor, high) if crossing(shifted, times) < power else (low, factor)
    record(factor=high)

    assert high <= 1.05


def test_always_valid_proof_of_equality_takes_little_more_than_the_fixed_size(length, seed, record):
    """Brownian, in units of the information that one fixed look at power .9 needs."""
    runs, steps = length(4_000, 20_000), 400
    rng = np.random.default_rng([seed, 14])
    t = np.arange(1, 4 * steps + 1) / steps
    target = float(-ndtri(0.05) + ndtri(0.9))
    when = []
    for n in np.array_split(np.arange(runs), max(runs // 1000, 1)):
        s = target * t + np.cumsum(rng.standard_normal((len(n), len(t))) / math.sqrt(steps), axis=1)
        at = first(log_e(s, t, precision(0.05, 1.0)) >= math.log(20))
        when.append(np.where(at >= 0, (at + 1) / steps, np.inf))
    when = np.concatenate(when)
    record(runs=runs, median=np.median(when), p90=np.quantile(when, 0.9))

    assert np.median(when) <= 1.0
    assert np.quantile(when, 0.9) <= 1.75


def test_harm_that_begins_late_is_found_sooner_by_restarts(length, seed, record):
    """One sigma per root hour from hour 48 on, hourly looks, restarts every six hours."""
    runs, hours, onset = length(1_000, 10_000), 240, 48
    rng = np.random.default_rng([seed, 15])
    v0, t = precision(0.01, 24.0), np.arange(1, hours + 1.0)
    noise = np.cumsum(rng.standard_normal((runs, hours)), axis=1)
    late = noise + np.maximum(t - onset, 0.0)
    limit = -math.log(0.01)
    delay = {}
    for name, evidence in (
        ("restarts", _restarts(late, t, v0)),
        ("cumulative", log_e_three(late, t, v0)),
    ):
        at = first(evidence >= limit)
        delay[name] = np.where(at >= onset, at + 1.0 - onset, np.inf)[(at < 0) | (at >= onset)]
    alarm = ever(_restarts(noise[:, :120], t[:120], v0) >= limit)
    record(
        runs=runs,
        restarts_median=np.median(delay["restarts"]),
        restarts_p90=np.quantile(delay["restarts"], 0.9),
        cumulative_median=np.median(delay["cumulative"]),
        a_a=alarm / runs,
    )

    assert np.median(delay["restarts"]) < np.median(delay["cumulative"])
    assert np.median(delay["restarts"]) <= 20
    assert alarm <= allowed(0.01, runs)


def _restarts(s, t, v0):
    """Vectorised `global_test.restart_log_e`, a snapshot every six hours from the start."""
    total = np.zeros_like(s)
    left = np.ones(len(t))
    for k, start in enumerate(range(0, len(t), 6)):
        weight = 1.0 / ((k + 1) * (k + 2))
        before = s[:, start - 1 : start] if start else 0.0
        total[:, start:] += weight * np.exp(
            log_e_three(s[:, start:] - before, t[start:] - start, v0)
        )
        left[start:] -= weight
    return np.log(total + left)
