"""Sums over time as tables and facts in words: gaps stay gaps, missing is not zero."""

import dataclasses
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.pages.chart import anchor_of, number, spread
from llm_canary.pages.quantity import ABSENT
from llm_canary.pages.series_charts import Series, charts
from llm_canary.resources import resource_dir
from llm_canary.routing.table import Role
from llm_canary.stats.histogram import LogHistogram
from llm_canary.storage.repositories.series import (
    MOST_SCORED,
    Point,
    Scores,
    Window,
    whole_bins,
)
from llm_canary.storage.rollups import COUNTS, STEPS_S

START = 1_800_000_000


def sums(*latencies, ttft=(), tokens=(), **counts):
    histograms = [LogHistogram() for _ in range(3)]
    for histogram, values in zip(histograms, (latencies, ttft, tokens), strict=True):
        histogram.extend(values)
    zeros = dict.fromkeys(COUNTS, 0)
    return Point(zeros | counts, tuple(histogram.packed() for histogram in histograms))


def series(control=None, canary=None, scores=None, *, step=60, minutes=10):
    window = Window(START, START + 60 * minutes, step)
    points = {Role.CONTROL: control or {}, Role.CANARY: canary or {}}
    return Series(window, points, scores or {})


def chart(of, title):
    return next((each for each in charts(of, "in the last hour") if each.title == title), None)


def cells(of, title):
    return {row.at: row.cells for row in chart(of, title).rows}


def test_the_fact_names_both_arms_and_the_range():
    of = series({START: sums(980.0)}, {START: sums(1210.0)})

    fact = chart(of, "Latency").fact

    assert fact.startswith("Latency, p95: canary 1,2")
    assert "against control 9" in fact
    assert fact.endswith("in the last hour.")


def test_an_arm_without_values_is_said_to_have_none():
    of = series({START: sums(980.0)})

    assert "the other arm has no data" in chart(of, "Latency").fact
    assert cells(of, "Latency")[START][2:] == (ABSENT, ABSENT)


def test_a_minute_in_which_nothing_happened_is_left_out():
    of = series({START: sums(requests=60), START + 300: sums(requests=30)})

    assert cells(of, "Requests") == {START: ("60", ABSENT), START + 300: ("30", ABSENT)}


def test_a_bin_that_is_not_over_counts_by_what_has_passed_of_it():
    of = series({START: sums(requests=10)}, step=600, minutes=2)

    assert cells(of, "Requests")[START][0] == "5"


@given(
    step=st.sampled_from(STEPS_S),
    offset=st.integers(0, 30 * 86_400),
    ran_s=st.integers(1, 30 * 86_400),
    span_s=st.sampled_from([3_600, 86_400, 604_800, 30 * 86_400]),
)
def test_a_constant_rate_is_a_constant_line_wherever_the_window_cuts(step, offset, ran_s, span_s):
    began, until = START + offset, START + offset + ran_s
    window = whole_bins(max(began, until - span_s), until, step, began)
    first = int(window.since_s) // step * step
    last = min(until, first + 50 * step)
    window = dataclasses.replace(window, until_s=last)
    points = {
        at: sums(requests=10 * (min(at + step, last) - max(at, began)))
        for at in range(first, last, step)
    }

    shown = chart(Series(window, {Role.CONTROL: points, Role.CANARY: {}}), "Requests")

    assert {row.cells[0] for row in shown.rows} == {"600"}
    assert len(shown.rows) >= len(points) - 2


def test_a_bin_that_has_hardly_begun_is_left_out_unless_it_is_all_there_is():
    one = sums(requests=1)
    at = START + 600
    points = {Role.CONTROL: {START: one, at: one}, Role.CANARY: {}}
    alone = {Role.CONTROL: {at: one}, Role.CANARY: {}}
    window = Window(START, at + 2, 600)

    assert list(cells(Series(window, points), "Requests")) == [START]
    assert cells(Series(window, alone), "Requests") == {at: ("30", ABSENT)}


def test_errors_leave_out_what_nobody_saw():
    of = series(
        {START: sums(requests=10, completed=4, upstream_error=1, client_cancelled=4, rejected=1)}
    )

    assert cells(of, "Error rate")[START][0] == "20"


def test_an_unknown_cost_is_no_cost_of_zero():
    of = series(
        {START: sums(requests=3)}, {START: sums(requests=3, cost_nanousd=4e9, cost_known=2)}
    )

    assert cells(of, "Cost per request")[START] == (ABSENT, "2")
    assert cells(of, "Cost, added up")[START] == (ABSENT, "4")


def test_costs_are_added_up_over_the_range():
    each = sums(requests=1, cost_nanousd=2_000_000_000, cost_known=1)
    of = series({START: each, START + 60: each, START + 300: each})

    assert [row[0] for row in cells(of, "Cost, added up").values()] == ["2", "4", "6"]


def test_what_nobody_measured_has_no_chart():
    titles = {each.title for each in charts(series({START: sums(50.0, requests=1)}), "")}

    assert "Latency" in titles
    assert titles.isdisjoint({"Thumbs up", "Time to first token", "Cost per request"})


def test_nothing_at_all_makes_no_chart():
    assert charts(series(), "") == ()


def test_rubrics_have_points_and_a_distribution():
    scores = {
        "helpful": {
            Role.CONTROL: {START: Scores(2, 1.0, [1, 0, 0, 0, 0, 0, 0, 0, 0, 1])},
            Role.CANARY: {},
        }
    }
    of = series({START: sums(requests=1)}, scores=scores)

    assert cells(of, "Rubric helpful") == {START: ("50", ABSENT)}
    rows = cells(of, "Distribution of points by helpful")
    assert (rows[0], rows[9], rows[5]) == (("50", ABSENT), ("50", ABSENT), ("0", ABSENT))


def test_only_the_newest_answers_being_read_is_said():
    many = {Role.CONTROL: {START: Scores(MOST_SCORED, 1.0, [0] * 10)}, Role.CANARY: {}}
    of = series({START: sums(requests=1)}, scores={"helpful": many})

    assert "among the newest 8,000 scored answers" in chart(of, "Rubric helpful").fact


def test_a_distribution_holds_every_answer():
    histograms = {Role.CONTROL: LogHistogram(), Role.CANARY: LogHistogram()}
    histograms[Role.CONTROL].extend([0.0, 1.0, 10.0, 100.0, 5_000.0])
    histograms[Role.CANARY].extend([7.0])

    rows = spread("Latency", "ms", "", histograms).rows

    for place in (0, 1):
        assert sum(float(row.cells[place]) for row in rows) == pytest.approx(100, abs=0.1)
    assert len(rows) <= 24


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ABSENT),
        (0.0, "0"),
        (1234.5, "1234"),
        (0.000012345, "0.000012345"),
        (12.3456, "12.35"),
    ],
)
def test_a_number_can_be_read_by_a_program(value, text):
    assert number(value) == text
    assert value is None or float(text) == pytest.approx(value, rel=1e-3)


def test_an_anchor_is_an_id_of_its_own_whatever_the_rubric_is_called():
    anchors = {anchor_of(f"Rubric {name}") for name in ("a b", "a-b", '<b "x">')}

    assert len(anchors) == 3
    assert all(anchor.replace("-", "").isalnum() for anchor in anchors)


@pytest.mark.parametrize("file", ["uplot.min.js", "uplot.css"])
def test_uplot_is_the_file_that_the_readme_names(file):
    web = resource_dir("web")
    named = re.search(rf"{file} sha256 ([0-9a-f]{{64}})", (web / "README.md").read_text())

    assert named is not None
    assert hashlib.sha256((web / "static" / file).read_bytes()).hexdigest() == named[1]
