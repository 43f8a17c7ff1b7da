"""Which answers are graded, and with what probability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.errors import DataError
from llm_canary.ids import uuid7
from llm_canary.sampling import (
    MIN_ANSWERED,
    MIN_ASKED,
    PACE_MIN_SEEN,
    Pace,
    Replies,
    Stream,
    draw,
    periods,
    place,
    rates,
)

IDS = [f"{n:032x}" for n in range(20_000)]


def test_an_answer_has_one_place_whoever_looks():
    assert place("a", "s") == place("a", "s") == pytest.approx(place("a", "s"))
    assert place("a", "s") != place("b", "s") != place("b", "t")


def test_a_higher_rate_only_adds_answers():
    low = {name for name in IDS if draw(name, "s", 0.1)}
    high = {name for name in IDS if draw(name, "s", 0.3)}

    assert low < high


@pytest.mark.parametrize("rate", [0.005, 0.1, 0.5])
def test_so_many_are_drawn_as_the_rate_says(rate):
    share = sum(draw(name, "s", rate) is not None for name in IDS) / len(IDS)

    assert share == pytest.approx(rate, abs=4 * (rate * (1 - rate) / len(IDS)) ** 0.5)


def test_each_stream_says_its_own_probability():
    drawn = [draw(name, "s", 0.2, targeted_rate=0.5) for name in IDS]
    share = {
        stream: sum(each is not None and each.stream is stream for each in drawn) / len(IDS)
        for stream in Stream
    }

    assert share[Stream.PROBABILITY] == pytest.approx(0.2, abs=0.01)
    assert share[Stream.TARGETED] == pytest.approx(0.4, abs=0.015)
    assert {(each.rate, round(each.inclusion, 9)) for each in drawn if each} == {(0.2, 0.6)}


def test_a_weighted_mean_is_right_though_bad_answers_are_sought():
    """Answers that are worth a look are worse; the inverse probabilities undo the seeking."""
    rng = np.random.default_rng(1)
    means = []
    for run in range(60):
        poor = rng.random(4000) < 0.2
        total = 0.0
        for name, is_poor in zip(IDS, poor, strict=False):
            found = draw(name, f"s{run}", 0.1, targeted_rate=0.5 if is_poor else 0.0)
            if found is not None:
                total += is_poor / found.inclusion
        means.append(total / len(poor))

    assert np.mean(means) == pytest.approx(0.2, abs=0.005)


@given(st.floats(0.0, 1.0), st.floats(0.001, 0.999))
def test_the_same_number_is_expected_of_both_arms(chance, share):
    control, canary = rates(chance, share)

    assert 0.0 <= control <= 1.0
    assert 0.0 <= canary <= 1.0
    assert control * (1.0 - share) == pytest.approx(canary * share)
    assert max(control, canary) == pytest.approx(chance)


@pytest.mark.parametrize("per_s", [0.02, 1.0, 300.0])
def test_about_as_many_are_drawn_as_are_wanted(per_s):
    """A day of steady traffic at 5 %, 250 samples an arm wanted; the first minutes may be dense."""
    pace, drawn, wanted_per_s, share = Pace(), 0.0, 250 / 86_400, 0.05
    steps = int(min(86_400 * per_s, 40_000))
    for n in range(steps):
        at_s = n / per_s
        pace.note(at_s)
        drawn += pace.chance(wanted_per_s, share, at_s) * share
    seconds = steps / per_s

    assert drawn <= wanted_per_s * seconds * 1.2 + PACE_MIN_SEEN
    assert drawn >= min(wanted_per_s * seconds * 0.8, steps * share * 0.99)


def test_a_burst_lowers_the_chance_before_its_window_is_over():
    pace = Pace()
    for n in range(1_000):
        pace.note(n / 1_000)

    assert pace.chance(250 / 86_400, 0.05, 1.0) < 0.01


@pytest.mark.parametrize(
    "act",
    [
        lambda: draw(uuid7(), "s", 1.5),
        lambda: draw(uuid7(), "s", 0.5, targeted_rate=-0.1),
        lambda: rates(0.5, 0.0),
        lambda: rates(1.5, 0.5),
    ],
)
def test_what_is_no_rate_is_refused(act):
    with pytest.raises(DataError):
        act()


def test_a_period_ends_by_how_many_were_asked_and_at_a_step():
    closed = [(float(k), k % 5 < 2, k % 3 == 0) for k in range(100)]
    found = periods(closed, 25.0)

    assert found == [
        Replies(0.0, 50.0, (30, 20), (10, 7)),
        Replies(50.0, 100.0, (30, 20), (10, 7)),
    ]
    assert periods(closed[: MIN_ASKED - 1], 25.0) == []


def test_a_period_may_begin_after_silence_and_says_whether_its_answers_are_enough():
    closed = [(1_000.0 + k / 10.0, k >= 10, k < 12) for k in range(40)]
    [found] = periods(closed, 25.0)

    assert found == Replies(1_000.0, 1_025.0, (10, 30), (10, MIN_ANSWERED - 1))
    assert found.rates is None  # of one arm alone there is no difference
    assert found.fewest == (30, MIN_ANSWERED - 1)

    enough = found._replace(answered=(10, MIN_ANSWERED))

    assert enough.rates == (1.0, MIN_ANSWERED / 30)


@given(st.lists(st.booleans(), max_size=200), st.lists(st.booleans(), max_size=200))
def test_who_answers_does_not_move_a_period(one, other):
    n = min(len(one), len(other))
    places = [(each.from_s, each.until_s, each.asked) for each in periods(_at(one[:n]), 7.5)]

    assert places == [(p.from_s, p.until_s, p.asked) for p in periods(_at(other[:n]), 7.5)]


def _at(answered):
    return [(float(k), k % 2 == 1, each) for k, each in enumerate(answered)]
