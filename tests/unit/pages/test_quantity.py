import pytest

from llm_canary.pages.quantity import (
    RATE,
    ago_text,
    count_text,
    difference_text,
    duration_text,
    interval_text,
    places_for,
    share_text,
    unit_of,
    value_text,
)


def plain(text):
    return text.replace("\N{NARROW NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.0042, "rate", "0.420 %"),
        (1.0, "rate", "100 %"),
        (0.0, "rate", "0.00 %"),
        (1210.0, "ms", "1,210 ms"),
        (420_000.0, "nanousd", "$0.000420"),
        (None, "rate", "\N{EN DASH}"),
    ],
)
def test_a_value_is_written_in_its_unit(value, unit, shown):
    assert plain(value_text(value, unit_of(unit))) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0005, "+0.05 pp"), (-0.0021, "\N{MINUS SIGN}0.21 pp"), (0.00001, "0.00 pp")],
)
def test_a_difference_has_a_sign_unless_it_is_written_as_zero(value, shown):
    assert plain(difference_text(value, RATE, 2)) == shown


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (-0.0021, 0.0037, "\N{MINUS SIGN}0.21 to +0.37 pp"),
        (0.52, None, "+52.00 pp to +\N{INFINITY}"),
        (None, None, "\N{EN DASH}"),
    ],
)
def test_an_end_that_is_not_known_is_infinite(low, high, shown):
    assert plain(interval_text(low, high, RATE, 2)) == shown


@pytest.mark.parametrize(
    ("margin", "places"), [(0.01, 2), (0.10, 1), (0.005, 2), (None, None), (0.0, None)]
)
def test_a_row_is_written_with_the_digits_its_margin_needs(margin, places):
    assert places_for(margin, RATE) == places


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (125, "2 min 5 s"),
        (660, "11 min"),
        (22_320, "6 h 12 min"),
        (86_400, "1 d"),
        (20 * 86_400 + 3_600 + 60, "20 d 1 h"),
    ],
)
def test_a_duration_is_written_by_its_largest_units(seconds, shown):
    assert plain(duration_text(seconds)) == shown


def test_the_past_is_written_coarsely_so_that_an_unchanged_page_stays_unchanged():
    assert ago_text(3) == ago_text(59)
    assert plain(ago_text(185)) == plain(ago_text(239)) == "3 min ago"
    assert plain(ago_text(8_000)) == "2 h ago"


def test_shares_and_counts():
    assert [plain(share_text(share)) for share in (0.05, 0.005, 0.99, 1.0)] == [
        "5 %", "0.5 %", "99 %", "100 %",
    ]  # fmt: skip
    assert [count_text(count) for count in (0, 12_410, None)] == ["0", "12,410", "\N{EN DASH}"]
