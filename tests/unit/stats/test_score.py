"""The score process against its specification, brute force and itself merged."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.errors import DataError
from llm_canary.stats.mixture import log_e
from llm_canary.stats.score import (
    ASSUMED_ICC,
    ScoreState,
    UnitRow,
    design_effect,
    effect,
    effective_canary_units,
    update,
    variance,
)


@dataclass(frozen=True)
class Response:
    unit: str
    canary: bool
    share: float
    value: float
    centre: float = 0.2


def score(responses, *, binary=True):
    state, rows = ScoreState(), {}
    for each in responses:
        update(
            state,
            rows.setdefault(each.unit, UnitRow()),
            canary=each.canary,
            share=each.share,
            value=each.value,
            centre=each.centre,
            binary=binary,
        )
    return state


STREAM = [
    (("u1", 1, 0.05, 1), (0.76, 0.95, 0.5776, 0.722, 0.9025, 0.0304, 0.038, 0.0475)),
    (("u2", 0, 0.05, 0), (0.77, 0.95, 0.5777, 0.722, 0.9025, 0.0323, 0.038, 0.0475)),
    (("u1", 1, 0.05, 0), (0.58, 1.9, 0.325, 1.083, 3.61, 0.019, 0.057, 0.19)),
    (("u3", 0, 0.05, 1), (0.54, 1.9, 0.3266, 1.083, 3.61, 0.0494, 0.057, 0.19)),
    (("u4", 0, 0.05, 0), (0.55, 1.9, 0.3267, 1.083, 3.61, 0.0513, 0.057, 0.19)),
    (("u3", 1, 0.25, 1), (1.15, 2.65, 0.6387, 1.503, 4.1725, 0.2193, 0.237, 0.3775)),
    (("u2", 0, 0.25, 1), (0.95, 2.65, 0.6747, 1.503, 4.1725, 0.3273, 0.237, 0.3775)),
    (("u1", 1, 0.25, 1), (1.55, 3.4, 1.7187, 3.5205, 7.585, 0.4833, 0.4695, 0.715)),
    (("u3", 0, 0.05, 0), (1.56, 3.4, 1.73, 3.528, 7.585, 0.458, 0.462, 0.715)),
    (("u1", 1, 0.05, 1), (2.32, 4.35, 4.086, 7.3755, 13.5225, 0.582, 0.6645, 1.0275)),
]
RESPONSES = [Response(u, bool(a), p, y) for (u, a, p, y), _ in STREAM]


@pytest.mark.parametrize("rows", range(1, 11), ids="after-row-{}".format)
def test_the_published_stream_is_reproduced(rows):
    state = score(RESPONSES[:rows])

    assert astuple(state)[:8] == pytest.approx(STREAM[rows - 1][1], abs=1e-6)


@pytest.mark.parametrize(
    ("d0", "score_at", "robust", "randomised", "harm", "noninferior"),
    [
        pytest.param(0.0, 2.32, 4.086, 0.582, -0.668550, -2.583634, id="no-harm"),
        pytest.param(0.1, 1.885, 2.746125, 0.459375, -0.498380, -2.382425, id="margin"),
        pytest.param(2.32 / 4.35, 0.0, 0.0652, 0.165467, -0.488160, None, id="the-estimate"),
    ],
)
def test_the_published_evaluations_are_reproduced(
    d0, score_at, robust, randomised, harm, noninferior
):
    state = score(RESPONSES)
    s0, v = (
        state.s - d0 * state.i,
        variance(state, d0, noninferiority=False, binary=True),
    )

    assert s0 == pytest.approx(score_at, abs=1e-6)
    assert v == pytest.approx(max(robust, randomised), abs=1e-6)
    assert log_e(s0, v, 0.1) == pytest.approx(harm, abs=1e-6)
    if noninferior is not None:
        assert log_e(-s0, v, 0.1) == pytest.approx(noninferior, abs=1e-6)


def test_the_stream_has_one_and_a_half_effective_units():
    assert effective_canary_units(score(RESPONSES)) == pytest.approx(4.35**2 / 13.5225)


def test_units_are_counted_once_per_arm():
    state = score(RESPONSES)

    assert (state.n_control, state.n_canary) == (5, 5)
    assert (state.units_control, state.units_canary) == (3, 2)


def test_without_canary_responses_there_is_no_effect():
    state = score([Response("u", False, 0.1, 1.0)])

    assert effect(state) is None
    assert effective_canary_units(state) == 0.0


def test_one_response_per_unit_counts_canary_units():
    state = score([Response(f"u{k}", True, 0.05, 0.0) for k in range(137)])

    assert effective_canary_units(state) == pytest.approx(137)


def test_the_variance_implied_by_a_margin_sees_events_that_have_not_happened():
    quiet = score(
        [Response(f"c{k}", True, 0.5, 0.0, 0.001) for k in range(100)]
        + [Response(f"t{k}", False, 0.5, 0.0, 0.001) for k in range(100)]
    )
    implied = 0.25 * 100 * (0.006 * 0.994) + 0.25 * 100 * 0.001 * 0.999

    assert variance(quiet, 0.005, noninferiority=True, binary=True) == pytest.approx(implied)
    assert variance(quiet, 0.005, noninferiority=False, binary=True) < 0.01 * implied
    assert variance(quiet, 0.005, noninferiority=True, binary=False) < 0.01 * implied


def test_units_who_come_back_make_the_implied_variance_larger():
    once = score([Response(f"c{k}", True, 0.5, 0.0, 0.001) for k in range(100)])
    again = score([Response(f"c{k // 10}", True, 0.5, 0.0, 0.001) for k in range(100)])

    assert design_effect(once) == 1.0
    assert design_effect(again) == pytest.approx(1.0 + 9 * ASSUMED_ICC)
    implied = [variance(s, 0.005, noninferiority=True, binary=True) for s in (once, again)]
    assert implied[1] == pytest.approx(implied[0] * (1.0 + 9 * ASSUMED_ICC))


numbers = st.floats(-5, 5)
responses = st.lists(
    st.builds(
        Response,
        unit=st.sampled_from("abcdef"),
        canary=st.booleans(),
        share=st.sampled_from([0.01, 0.05, 0.25, 0.5, 0.9]),
        value=numbers,
        centre=numbers,
    ),
    max_size=60,
)


def brute_force(rows):
    """Sum over units of X'CX, X'CC and C'CC with c_kl = min(k, l) - k l."""
    totals = [0.0] * 6
    for unit in {each.unit for each in rows}:
        own = [each for each in rows if each.unit == unit]
        p = sum((r.value - r.centre) * (r.canary - r.share) for r in own)
        q = sum(r.canary * (r.canary - r.share) for r in own)
        for a in own:
            for b in own:
                c = min(a.share, b.share) - a.share * b.share
                totals[3] += c * (a.value - a.centre) * (b.value - b.centre)
                totals[4] += c * (a.value - a.centre) * b.canary
                totals[5] += c * a.canary * b.canary
        totals[0] += p * p
        totals[1] += p * q
        totals[2] += q * q
    return totals


@given(responses)
def test_updates_equal_brute_force_over_units_also_for_falling_shares(rows):
    state = score(rows, binary=False)

    assert [state.pp, state.pq, state.qq, state.xx, state.xc, state.cc] == pytest.approx(
        brute_force(rows), rel=1e-9, abs=1e-9
    )


@given(responses, st.integers(1, 4))
def test_merged_shards_equal_one_stream(rows, shards):
    merged = sum(
        (
            score([r for r in rows if ord(r.unit) % shards == k], binary=False)
            for k in range(shards)
        ),
        ScoreState(),
    )

    assert astuple(merged) == pytest.approx(astuple(score(rows, binary=False)), rel=1e-9, abs=1e-9)


@given(responses, responses, responses)
def test_merging_is_associative_and_commutative(first, second, third):
    a, b, c = (score(rows, binary=False) for rows in (first, second, third))

    assert astuple((a + b) + c) == pytest.approx(astuple(a + (b + c)), rel=1e-9, abs=1e-9)
    assert a + b == b + a


@given(responses, st.floats(-2, 2), st.booleans(), st.booleans())
def test_a_variance_is_finite_and_not_negative(rows, d0, noninferiority, binary):
    v = variance(score(rows, binary=False), d0, noninferiority=noninferiority, binary=binary)

    assert math.isfinite(v)
    assert v >= 0.0


@pytest.mark.parametrize("share", [0.02, 0.05, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("residual", [0.01, -0.7, 1.0, 40.0])
def test_one_step_keeps_the_exponential_process_below_one(share, residual):
    """E exp(lambda w - lambda^2 V / 2) <= 1 with the larger V: units enter once, sharp null."""
    for scaled in [k / 20 for k in range(-200, 201)]:
        strength = scaled / abs(residual)
        total = 0.0
        for canary, probability in ((True, share), (False, 1 - share)):
            state = score([Response("u", canary, share, residual, 0.0)], binary=False)
            v = variance(state, 0.0, noninferiority=False, binary=False)
            total += probability * math.exp(strength * state.s - strength**2 * v / 2)

        assert total <= 1.0 + 1e-12


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param({"share": 0.0}, "0.0", id="share-of-zero"),
        pytest.param({"share": 1.0}, "1.0", id="share-of-one"),
        pytest.param({"share": math.nan}, "nan", id="share-missing"),
        pytest.param({"value": math.nan}, "nan", id="value-missing"),
        pytest.param({"value": math.inf}, "inf", id="value-infinite"),
        pytest.param({"value": 1e200, "binary": False}, r"1e\+200", id="value-too-large-to-square"),
        pytest.param({"value": 0.5}, "0.5", id="rate-that-becomes-a-mean"),
        pytest.param({"centre": -math.inf}, "-inf", id="centre-infinite"),
        pytest.param({"centre": 1.5}, "1.5", id="centre-not-a-rate"),
    ],
)
def test_bad_input_is_refused_with_its_value_and_changes_nothing(change, named):
    state, row = ScoreState(), UnitRow()
    good = {"canary": True, "share": 0.5, "value": 1.0, "centre": 0.2, "binary": True}

    with pytest.raises(DataError, match=named):
        update(state, row, **(good | change))

    assert (state, row) == (ScoreState(), UnitRow())
