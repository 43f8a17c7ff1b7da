"""The figures of docs/judges.md are those that the program finds, and meet their bars."""

from __future__ import annotations

import pytest

from tests.statistics import judge_report


def test_the_page_has_the_figures_of_now():
    page = judge_report.PAGE.read_text()

    assert judge_report.renewed(page) == page


@pytest.mark.parametrize("judge", ["gpt-3.5-turbo", "pandalm-7b"])
@pytest.mark.parametrize("count", [50, 100, 200])
def test_corrected_win_margins_cover(judge, count):
    found = judge_report.covered(judge, count)

    assert found["corrected"] >= 0.93
    assert found["width_corrected"] <= found["width_people"] * 1.02


@pytest.mark.parametrize("flaky", [0.0, 0.05, 0.2, 0.5])
def test_the_same_build_fails_at_most_one_time_in_twenty(flaky):
    assert judge_report.false_fails(flaky, 300)[0] <= 0.05
