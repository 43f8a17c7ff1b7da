"""What both orders of a pair come to."""

from __future__ import annotations

import pytest

from llm_canary.judging.judgement import Preference, Status
from llm_canary.judging.pairwise import reconcile


def said(order, verdict, status=Status.OK):
    return Preference("1", "j", order, status, verdict)


@pytest.mark.parametrize(
    ("second", "verdict", "best"),
    [
        pytest.param(said("BA", "A"), "A", "A", id="both-say-so"),
        pytest.param(said("BA", "B"), "tie", "tie", id="it-follows-the-place"),
        pytest.param(said("BA", None, Status.MISSING), None, "A", id="recorded-in-one-order-only"),
        pytest.param(said("BA", None, Status.TIMEOUT), None, None, id="failed-is-not-unrecorded"),
    ],
)
def test_the_verdict_after_both_orders(second, verdict, best):
    found = reconcile(said("AB", "A"), second)

    assert (found.verdict, found.best_known) == (verdict, best)
