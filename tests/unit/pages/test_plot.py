import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.pages.plot import REACH_IN_MARGINS, WIDTH, interval_plot

MARGINS = st.floats(-1e6, 1e6)


def plot(estimate, low, high, margin=0.01):
    return interval_plot(estimate, low, high, margin, "words")


def test_zero_is_in_the_middle_and_the_margin_at_the_same_place_for_every_unit():
    small, large = plot(0.0, -0.001, 0.001), plot(0.0, -50.0, 50.0, margin=200.0)

    assert small.zero_x == large.zero_x == WIDTH / 2
    assert small.margin_x == large.margin_x > WIDTH / 2


def test_worse_is_to_the_right():
    shown = plot(0.002, -0.004, 0.008)

    assert 0 < shown.low_x < shown.zero_x < shown.estimate_x < shown.high_x < shown.margin_x


@pytest.mark.parametrize(
    ("low", "high", "cut"),
    [
        pytest.param(-0.01, None, (False, True), id="no-upper-end"),
        pytest.param(None, 0.01, (True, False), id="no-lower-end"),
        pytest.param(-9.0, 9.0, (True, True), id="beyond-the-picture"),
    ],
)
def test_an_end_outside_of_the_picture_becomes_an_arrow_within_it(low, high, cut):
    shown = plot(0.0, low, high)

    assert (shown.is_low_cut, shown.is_high_cut) == cut
    assert 0 <= shown.low_x < shown.high_x <= WIDTH


def test_an_estimate_outside_of_the_picture_has_no_dot():
    assert plot(1.0, 0.52, None).estimate_x is None


@pytest.mark.parametrize(
    ("low", "high", "margin"),
    [(None, None, 0.01), (-1.0, 1.0, None), (-1.0, 1.0, 0.0)],
    ids=["no-interval", "no-margin", "margin-of-zero"],
)
def test_without_an_interval_or_a_margin_there_is_nothing_to_draw(low, high, margin):
    assert plot(0.0, low, high, margin) is None


@pytest.mark.parametrize(
    ("low", "high", "beyond", "cut"),
    [
        pytest.param(0.04, 0.06, "worse", (False, True), id="all-of-it-worse"),
        pytest.param(0.04, None, "worse", (False, True), id="worse-without-an-upper-end"),
        pytest.param(-0.06, -0.04, "better", (True, False), id="all-of-it-better"),
        pytest.param(None, -0.04, "better", (True, False), id="better-without-a-lower-end"),
    ],
)
def test_an_interval_wholly_outside_stands_at_the_edge_that_it_is_beyond(low, high, beyond, cut):
    shown = plot(0.05, low, high)

    assert (shown.beyond, shown.is_low_cut, shown.is_high_cut) == (beyond, *cut)
    assert shown.low_x == shown.high_x != shown.zero_x
    assert (shown.high_x > shown.margin_x) is (beyond == "worse")
    assert shown.text == f"words; {beyond} than can be drawn"


@given(ends=st.tuples(MARGINS, MARGINS, MARGINS).map(sorted), open_ends=st.sampled_from(range(3)))
def test_the_picture_keeps_the_order_and_the_sides_whatever_the_size(ends, open_ends):
    low, estimate, high = ends
    shown = interval_plot(
        estimate, None if open_ends == 1 else low, None if open_ends == 2 else high, 1.0, "words"
    )

    assert 0 <= shown.low_x <= shown.high_x <= WIDTH
    assert shown.is_low_cut is (open_ends == 1 or low < -REACH_IN_MARGINS)
    assert shown.is_high_cut is (open_ends == 2 or high > REACH_IN_MARGINS)
    assert (shown.estimate_x is None) is (abs(estimate) > REACH_IN_MARGINS)
    if shown.estimate_x is not None:
        assert shown.low_x <= shown.estimate_x <= shown.high_x
        for line_x, at in ((shown.zero_x, 0.0), (shown.margin_x, 1.0)):
            assert shown.estimate_x >= line_x if estimate >= at else shown.estimate_x <= line_x
