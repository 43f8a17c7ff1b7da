"""Attempts of the past in words."""

import csv
import io
from datetime import timedelta

import pytest

from llm_canary.clock import utc
from llm_canary.pages.history import history_csv, history_row
from llm_canary.rollout.history import Past
from llm_canary.storage.repositories.past_rollouts import Decided, PastRow, Step
from tests.rollout_views import NOW_S

NOW = utc(NOW_S)


def row(**changes):
    facts = {
        "id": "r1",
        "name": "support-v13",
        "attempt": 1,
        "route": "support-bot",
        "plan": "standard",
        "stages": ("initial", "broad", "full"),
        "state": "rolled_back",
        "outcome": "rolled_back",
        "is_held": False,
        "created_at": NOW - timedelta(hours=30),
        "started_at": NOW - timedelta(hours=26),
        "ended_at": NOW,
        "last_decision_id": "d1",
    }
    return PastRow(**(facts | changes))


def step(**changes):
    facts = {
        "rollout_id": "r1",
        "at": NOW,
        "action": "rollback",
        "actor": "robot",
        "reason": "error_rate is worse",
        "to_state": "rolled_back",
        "from_stage": "initial",
        "to_stage": "initial",
        "share": 0.0,
        "decision_id": "d1",
    }
    return Step(**(facts | changes))


def past(*, of=None, steps=None, **changes):
    facts = {
        "reached": ("initial",),
        "extensions": 0,
        "decision": Decided("d1", "rollback", ("error_rate is worse by 3 pp",), b"{}"),
        "failed": ("error_rate", "rubric:helpful"),
    }
    return Past(of or row(), steps or (step(),), **(facts | changes))


def test_a_rollback_says_what_was_wrong_and_leads_to_the_metric():
    shown = history_row(past(of=row(attempt=2)), NOW_S)

    assert (shown.outcome, shown.tone, shown.by) == ("Rolled back", "bad", "the controller")
    assert shown.url == "/rollouts/support-v13?attempt=2"
    assert shown.wrong[1] == (
        "rubric:helpful",
        "/rollouts/support-v13?attempt=2#metric-rubric:helpful",
    )
    assert shown.stages == "initial, 1 of 3"
    assert shown.reasons == ("error_rate is worse by 3 pp",)


def test_where_a_person_stopped_it_their_reason_counts():
    by_mara = step(actor="mara", reason="wrong prompt", decision_id=None)

    shown = history_row(past(steps=(by_mara,)), NOW_S)

    assert (shown.by, shown.reasons) == ("mara", ("wrong prompt",))


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"outcome": "promoted", "state": "finished"}, "Promoted"),
        ({"outcome": "aborted", "state": "aborted"}, "Dropped"),
        ({"outcome": None, "state": "running", "ended_at": None}, "Running"),
        ({"outcome": None, "state": "running", "ended_at": None, "is_held": True}, "Held"),
        ({"outcome": None, "state": "draft", "ended_at": None, "started_at": None}, "Not started"),
    ],
)
def test_every_end_has_its_word(changes, outcome):
    assert history_row(past(of=row(**changes)), NOW_S).outcome == outcome


def test_how_long_it_lasted_counts_from_its_start_and_is_absent_without_one():
    assert history_row(past(), NOW_S).lasted == "1\u202fd 2\u202fh"
    assert history_row(past(of=row(started_at=None)), NOW_S).lasted == "\N{EN DASH}"


def test_extensions_are_counted():
    assert history_row(past(extensions=1), NOW_S).extended == "extended once"
    assert history_row(past(extensions=3), NOW_S).extended == "extended 3 times"


def test_a_file_of_it_has_a_row_for_each_and_no_formula():
    by_mallory = step(actor="=cmd|' /C calc'!A0", reason="@SUM(1)", decision_id=None)

    rows = list(csv.DictReader(io.StringIO(history_csv([past(), past(steps=(by_mallory,))]))))

    assert rows[0]["failed_metrics"] == "error_rate rubric:helpful"
    assert rows[0]["duration_s"] == str(26 * 3600)
    assert rows[1]["decided_by"].startswith("'=")
    assert rows[1]["reasons"].startswith("'@")
