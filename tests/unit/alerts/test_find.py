"""Since when a problem has been there."""

from datetime import UTC, datetime, timedelta

import pytest

from llm_canary.alerts.find import _since

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("newest_first", "hours"),
    [
        pytest.param([{"srm"}], 0, id="the only decision has it"),
        pytest.param([{"srm"}, {"srm", "idle"}, {"srm"}], 2, id="every decision has it"),
        pytest.param([{"srm"}, {"srm"}, set(), {"srm"}], 1, id="it went and came again"),
    ],
)
def test_a_problem_is_there_since_the_first_of_the_decisions_in_a_row_that_have_it(
    newest_first, hours
):
    earlier = [(NOON - timedelta(hours=n), codes) for n, codes in enumerate(newest_first)]

    assert _since("srm", earlier) == NOON - timedelta(hours=hours)
