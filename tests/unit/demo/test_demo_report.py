"""What the demonstration says, from the control API's answers."""

import io
import json

from llm_canary.demo.report import Ending, decided, document, ending
from llm_canary.demo.screen import Screen, progress
from llm_canary.demo.script import acts
from llm_canary.metrics.builtin import BUILT_IN

ORDERS_ACT = acts(swap=False, identical=False)[0]


def change(**changes):
    facts = {
        "id": "c1",
        "actor": "robot",
        "rollout": "orders-v2",
        "at_s": 1_030.0,
        "from_stage": "initial",
        "to_stage": "initial",
        "to_state": "rolled_back",
        "share": 0.0,
        "decision_id": "d1",
    }
    return facts | changes


def comparison(metric="invalid_output", **changes):
    facts = {
        "metric": metric,
        "unit": BUILT_IN[metric].unit,
        "n_control": 61,
        "n_canary": 7,
        "control": 0.0,
        "canary": 1.0,
    }
    return facts | changes


def decision(**changes):
    facts = {
        "id": "d1",
        "verdict": "rollback",
        "reasons": ["global_harm: invalid_output is worse"],
        "result": {
            "comparisons": [comparison(), comparison("error_rate", canary=0.0)],
            "culprits": [{"metric": "invalid_output", "slice": "all"}],
            "gates": [],
        },
    }
    return facts | changes


def promotion():
    gates = [
        {"metric": "cost_per_request", "status": "pass"},
        {"metric": "invalid_output", "status": "not_applicable"},
    ]
    cost = comparison("cost_per_request", control=400_000.0, canary=270_000.0)
    result = {"comparisons": [cost, comparison()], "culprits": [], "gates": gates}
    return decided(
        change(to_stage="expanded", share=0.25, to_state="running"),
        decision(verdict="promote", result=result),
        1_000.0,
    )


def view(**changes):
    facts = {
        "name": "orders-v2",
        "state": "running",
        "stage": "initial",
        "share": 0.1,
        "units": [50, 6],
        "gates": [
            {"metric": "error_rate", "status": "pass"},
            {"metric": "invalid_output", "status": "not_applicable"},
            {"metric": "latency_mean", "status": "inconclusive"},
        ],
    }
    return facts | changes


def printed(write):
    file = io.StringIO()
    with Screen(file) as screen:
        write(screen)
    return file.getvalue()


def test_a_rollback_names_the_culprit_with_both_values_and_nothing_else():
    found = decided(change(), decision(), 1_000.0)

    assert found.at_s == 30.0
    assert found.evidence == ("invalid_output 0.00 % -> 100.0 %",)
    assert (found.n_control, found.n_canary, found.decision_id) == (61, 7, "d1")
    assert found.headline == "orders-v2 rolled back in initial: invalid_output 0.00 % -> 100.0 %"


def test_a_promotion_shows_every_gate_that_passed_and_where_it_went():
    found = promotion()

    assert found.evidence == ("cost_per_request $0.0004 -> $0.00027",)
    assert found.to == "expanded 25%"


def test_what_a_person_did_is_no_verdict_of_the_robot():
    assert decided(change(actor="demo"), decision(), 1_000.0) is None


def test_a_stage_without_gates_is_left_without_harm():
    gateless = decision(verdict="promote", result={"comparisons": [comparison()], "gates": []})

    found = decided(change(to_state="finished"), gateless, 1_000.0)

    assert (found.evidence, found.to) == (("no harm in the time of the stage",), "finished")


def test_an_end_is_right_only_when_it_is_the_expected_one():
    assert ending(ORDERS_ACT, view(state="rolled_back")).ok
    assert not ending(ORDERS_ACT, view(state="finished")).ok
    assert not ending(ORDERS_ACT, view()).ok


def test_one_wrong_end_makes_the_whole_document_wrong():
    good, bad = (Ending("r", "t", "finished", ("finished",), ok) for ok in (True, False))

    assert document([good, good], [], {"seed": 1})["ok"] is True
    assert document([good, bad], [], {})["ok"] is False
    assert json.loads(json.dumps(document([good], [promotion()], {})))["decisions"][0]["stage"]


def test_a_pipe_gets_plain_lines_without_control_characters():
    text = printed(lambda screen: screen.show([progress(view())], "12 s, 56 users, 4.7/s"))

    assert "orders-v2: initial 10%, users 50 control, 6 canary" in text
    assert "gates passed 2 of 3; open: latency_mean" in text
    assert "\x1b" not in text


def test_a_pipe_is_not_flooded():
    def write(screen):
        for _ in range(20):
            screen.show([progress(view())], "summary")

    assert printed(write).count("summary") == 1


def test_an_ended_rollout_shows_no_open_gates():
    assert progress(view(state="rolled_back")).passed == ""
    assert progress(view(state="rolled_back")).where == "rolled back"


def test_the_table_in_a_pipe_has_one_line_for_each_decision_with_its_id():
    history = [decided(change(), decision(), 1_000.0), promotion()]
    ends = [ending(ORDERS_ACT, view(state="rolled_back")), ending(ORDERS_ACT, view(state="held"))]

    text = printed(lambda screen: screen.conclude(history, ends))

    rows = [line.split("\t") for line in text.splitlines() if "\t" in line]
    assert [row[0] for row in rows] == ["at", "30 s", "30 s"]
    assert {len(row) for row in rows} == {7}
    assert rows[1][-1] == "d1"
    assert "rolled back, as it should" in text
    assert "held, EXPECTED rolled_back" in text
