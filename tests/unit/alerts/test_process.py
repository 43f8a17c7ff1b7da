"""What is wrong with the process itself."""

import pytest

from llm_canary.alerts.alert import Severity, rollout_link
from llm_canary.alerts.process import LOOPS, ago, process_alerts

NOW_S = 1_790_000_000.0


def loop(name, *, last_ok_s=NOW_S - 1.0, last_error=None):
    return {
        "name": name,
        "runs": 1,
        "failures": 0,
        "last_ok_s": last_ok_s,
        "last_error": last_error,
    }


def test_what_works_is_no_alert():
    status = {"loops": [loop(name) for name in LOOPS], "config_problem": None, "telemetry": None}

    assert process_alerts(status, NOW_S) == []


@pytest.mark.parametrize(
    ("given", "severity", "title"),
    [
        (loop("decide", last_error="Boom"), Severity.WARNING, "The controller fails"),
        (loop("decide", last_ok_s=NOW_S - 31.0), Severity.CRITICAL, "The controller stands still"),
        (
            loop("decide", last_ok_s=None, last_error="Boom"),
            Severity.CRITICAL,
            "The controller fails",
        ),
        (loop("judge", last_error="Boom"), Severity.WARNING, "Judging fails"),
        (loop("retain", last_error="Boom"), Severity.WARNING, "Retention and erasing fails"),
    ],
)
def test_a_loop_that_fails_or_stands_still_needs_a_person(given, severity, title):
    [alert] = process_alerts({"loops": [given]}, NOW_S)

    assert (alert.severity, alert.title, alert.needs_person) == (severity, title, True)


def test_a_loop_that_runs_seldom_is_given_time():
    assert process_alerts({"loops": [loop("forget", last_ok_s=NOW_S - 120.0)]}, NOW_S) == []


def test_lost_facts_and_a_refused_file_are_alerts():
    status = {
        "telemetry": {"dropped_full": 1_200, "dropped_error": 34, "last_error": None},
        "config_problem": "canary.yaml:3: what is this",
    }

    lost, refused = process_alerts(status, NOW_S)

    assert lost.text.startswith("1,234 facts")
    assert "canary.yaml:3" in refused.text


def test_a_link_leads_to_the_metric_whatever_the_names_are():
    assert (
        rollout_link("a/b?c", "rubric:x y", 2)
        == "/rollouts/a%2Fb%3Fc?attempt=2#metric-rubric:x%20y"
    )


def test_ago_is_coarse():
    assert (ago(3), ago(59)) == ("less than a minute ago",) * 2
    assert ago(7_300) == "2 h ago"
