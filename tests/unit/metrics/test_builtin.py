"""Which number a response contributes to each built-in metric."""

import pytest

from llm_canary.metrics.builtin import BUILT_IN
from llm_canary.metrics.spec import ResponseFacts


def facts(**changes):
    values = {
        "terminal": "completed",
        "latency_ms": 900.0,
        "cost_nanousd": 50,
        "uncached_cost_nanousd": 80,
        "share": 0.05,
    }
    return ResponseFacts(**(values | changes))


@pytest.mark.parametrize(
    ("metric", "known", "expected"),
    [
        pytest.param("error_rate", {}, 0.0, id="an-answer-is-no-error"),
        pytest.param("error_rate", {"terminal": "upstream_error"}, 1.0, id="an-upstream-error-is"),
        pytest.param("error_rate", {"terminal": "truncated"}, 1.0, id="a-cut-stream-is-an-error"),
        pytest.param("error_rate", {"terminal": "timeout"}, 1.0, id="a-timeout-is-an-error"),
        pytest.param("timeout_rate", {"terminal": "timeout"}, 1.0, id="a-timeout-is-a-timeout"),
        pytest.param("error_rate", {"terminal": "client_cancelled"}, None, id="a-client-that-left"),
        pytest.param("latency_p95", {"terminal": "timeout"}, None, id="a-failure-has-no-latency"),
        pytest.param("latency_p95", {"latency_ms": float("nan")}, None, id="nan-is-missing"),
        pytest.param("cost_per_request", {}, 80.0, id="a-small-canary-pays-the-uncached-price"),
        pytest.param("cost_per_request", {"share": 0.5}, 50.0, id="from-half-on-the-real-one"),
        pytest.param("cost_per_request", {"uncached_cost_nanousd": None}, None, id="cost-unknown"),
        pytest.param("invalid_output", {"output_valid": False}, 1.0, id="broken-json"),
        pytest.param("invalid_output", {"output_valid": None}, None, id="json-not-checked"),
        pytest.param("empty_rate", {"empty": None}, None, id="emptiness-unknown"),
        pytest.param("thumbs_up_rate", {"outcomes": {"thumbs": 1.0}}, 0.0, id="thumbs-up-is-good"),
        pytest.param("thumbs_up_rate", {"outcomes": {"thumbs": 0.0}}, 1.0, id="thumbs-down-is-bad"),
        pytest.param("thumbs_up_rate", {}, None, id="no-thumb-is-not-a-thumb-down"),
        pytest.param("thumbs_response_rate", {}, 1.0, id="not-rating-is-counted"),
        pytest.param("escalation", {}, 0.0, id="no-escalation-is-good"),
        pytest.param("task_completion", {}, None, id="an-unknown-task-is-unknown"),
    ],
)
def test_the_value_of_a_response(metric, known, expected):
    assert BUILT_IN[metric].value(facts(**known)) == expected


def test_invalid_output_applies_only_where_json_is_asked_for():
    spec = BUILT_IN["invalid_output"]

    assert spec.applies(facts(schema_expected=True))
    assert not spec.applies(facts(schema_expected=False))
