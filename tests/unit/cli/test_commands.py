"""The commands that talk to a server, against a server that is only a function."""

import json

import httpx
import msgspec
import pytest
from click.testing import CliRunner

from llm_canary.cli import COMMANDS, client, main
from tests.rollout_views import NOW_S, every_state, rollout


@pytest.fixture
def serve(monkeypatch):
    """Answer every request of the command with `answer(request)`; collect the requests."""

    def start(answer):
        seen = []

        def handle(request):
            seen.append(request)
            status, body = answer(request)
            return httpx.Response(status, json=msgspec.to_builtins(body))

        connect = client.ControlClient
        monkeypatch.setattr(
            client,
            "ControlClient",
            lambda url, key: connect(url, key, httpx.MockTransport(handle)),
        )
        return seen

    return start


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def test_help_names_the_commands_without_importing_any_of_them(monkeypatch):
    monkeypatch.setattr("llm_canary.cli.import_module", pytest.fail)

    shown = run("--help")

    assert shown.exit_code == 0
    assert "Start, watch and steer rollouts." in shown.output
    assert "Exit codes:" in shown.output


def test_a_command_whose_module_is_missing_is_neither_listed_nor_run(monkeypatch):
    lost = COMMANDS["rollout"]._replace(module="llm_canary.cli.nowhere")
    monkeypatch.setitem(COMMANDS, "rollout", lost)

    assert "rollout " not in run("--help").output
    assert run("rollout", "status").exit_code == 2


def test_status_in_a_pipe_prints_one_tab_separated_line_for_each_rollout(serve):
    serve(lambda _: (200, every_state()))

    lines = run("rollout", "status").output.splitlines()

    assert lines[0].split("\t")[:4] == ["rollout", "route", "state", "stage"]
    assert lines[1].split("\t")[:6] == [
        "support-v13", "support-bot", "running", "expanded", "25 %", "12,410 / 4,120",
    ]  # fmt: skip
    assert len(lines) == 1 + len(every_state())


def test_status_of_one_rollout_shows_each_metric_with_its_interval_and_gate(serve):
    serve(lambda _: (200, rollout()))

    shown = run("rollout", "status", "support-v13").output

    row = next(line for line in shown.splitlines() if line.startswith("error_rate"))
    assert row.split("\t") == [
        "error_rate", "0.42 %", "0.47 %", "+0.05 pp", "-0.21 pp", "+0.37 pp", "1.0 pp",
        "38,220 / 12,801", "pass",
    ]  # fmt: skip
    assert "last decision: wait" in shown


def test_json_is_the_answer_of_the_server_unchanged(serve):
    serve(lambda _: (200, rollout()))

    shown = json.loads(run("rollout", "status", "support-v13", "--json").output)

    assert shown == json.loads(msgspec.json.encode(rollout()))


@pytest.mark.parametrize("act", ["create", "start", "hold", "resume", "promote", "rollback"])
def test_an_act_sends_its_reason_and_the_name_of_the_person(serve, act):
    seen = serve(lambda _: (200, rollout()))

    done = run("rollout", act, "support-v13", "--reason", "looks odd", "--actor", "mara")

    assert done.output == "support-v13: running, stage expanded, share 25 %\n"
    assert seen[0].url.path == f"/api/v1/rollouts/support-v13/{act}"
    assert json.loads(seen[0].content) == {"reason": "looks odd", "actor": "mara"}


def test_a_name_with_a_slash_stays_one_segment_of_the_path(serve):
    seen = serve(lambda _: (200, rollout()))

    run("rollout", "status", "../status")

    assert seen[0].url.raw_path == b"/api/v1/rollouts/..%2Fstatus"


def test_history_can_be_of_one_rollout(serve):
    change = {
        "rollout": "support-v13", "at_s": NOW_S, "action": "start", "from_state": "draft",
        "from_stage": None, "to_state": "running", "to_stage": "initial", "share": 0.05,
        "actor": "mara", "reason": "begin", "outcome": None,
    }  # fmt: skip
    serve(lambda _: (200, [change, change | {"rollout": "other"}]))

    lines = run("rollout", "history", "support-v13").output.splitlines()

    assert [line.split("\t")[1:5] for line in lines[1:]] == [
        ["support-v13", "start", "draft", "running/initial"]
    ]


@pytest.mark.parametrize("outcome", ["promoted", "rolled_back", "extended", "aborted"])
def test_history_says_the_outcome_of_a_change(serve, outcome):
    change = {
        "rollout": "support-v13", "at_s": NOW_S, "action": "any", "from_state": "running",
        "from_stage": "broad", "to_state": "running", "to_stage": "broad", "share": 0.5,
        "actor": "mara", "reason": "more traffic on Monday", "outcome": outcome,
    }  # fmt: skip
    serve(lambda _: (200, [change]))

    head, line = (each.split("\t") for each in run("rollout", "history").output.splitlines())

    assert dict(zip(head, line, strict=True))["outcome"] == outcome


def test_a_refusal_ends_with_one_and_says_why(serve):
    error = {"error": {"message": "rollout 'x' is already held", "code": "conflict"}}
    serve(lambda _: (409, error))

    refused = run("rollout", "hold", "x")

    assert refused.exit_code == 1
    assert refused.stderr == "error: rollout 'x' is already held\n"


def test_a_wrong_key_says_which_variable_to_set(serve, monkeypatch):
    monkeypatch.setenv("LLM_CANARY_API_KEY", "k1")
    seen = serve(lambda _: (401, {"error": {"message": "this API key is unknown"}}))

    refused = run("rollout", "status")

    assert (refused.exit_code, "LLM_CANARY_API_KEY" in refused.stderr) == (1, True)
    assert seen[0].headers["authorization"] == "Bearer k1"
    assert "k1" not in refused.output


def test_a_server_that_is_not_ready_is_operational(serve):
    serve(lambda _: (503, {"error": {"message": "the database is locked"}}))

    assert run("rollout", "status").exit_code == 5


def test_no_server_ends_with_five_and_the_way_out():
    failed = run("rollout", "status", "--url", "http://127.0.0.1:1")

    assert failed.exit_code == 5
    assert "http://127.0.0.1:1" in failed.stderr
    assert "llm-canary serve" in failed.stderr
    assert "LLM_CANARY_URL" in failed.stderr


def test_an_answer_that_is_no_json_asks_whether_the_url_is_right(monkeypatch):
    connect = client.ControlClient
    page = httpx.MockTransport(lambda _: httpx.Response(200, html="<h1>It works!</h1>"))
    monkeypatch.setattr(client, "ControlClient", lambda url, key: connect(url, key, page))

    failed = run("rollout", "status")

    assert (failed.exit_code, "is LLM_CANARY_URL" in failed.stderr) == (5, True)


def test_a_url_that_is_none_is_wrong_usage():
    assert run("rollout", "status", "--url", "localhost:8484").exit_code == 2


def test_a_reason_cannot_steer_the_terminal(serve):
    serve(lambda _: (409, {"error": {"message": "held: \x1b[2Jgone"}}))

    assert "\x1b[2J" not in run("rollout", "hold", "x").stderr


def decision(**changes):
    facts = {
        "id": "d1", "verdict": "wait", "at_s": NOW_S, "stage": "initial", "reasons": ["too young"],
        "applied": False, "evidence_hash": "abc", "plan": {}, "evidence": {}, "result": {},
    }  # fmt: skip
    return facts | changes


def test_decision_show_prints_what_was_known(serve):
    compared = [gate.comparison for gate in rollout().gates]
    result = {"comparisons": compared, "gates": rollout().gates, "problems": [{"text": "srm!"}]}
    evidence = {"rollout": "support-v13", "route": "support-bot", "share": 0.05}
    serve(lambda _: (200, decision(result=result, evidence=evidence)))

    shown = run("decision", "show", "d1").output

    assert "verdict\twait" in shown
    assert "- too young" in shown
    assert "latency_p95\t930 ms\t968 ms" in shown
    assert "- srm!" in shown


@pytest.mark.parametrize(("is_same", "code"), [(True, 0), (False, 1)])
def test_decision_replay_fails_when_something_else_comes_out(serve, is_same, code):
    again = {
        "id": "d1",
        "stored_verdict": "wait",
        "verdict": "wait",
        "reasons": [],
        "is_same": is_same,
    }
    serve(lambda _: (200, again))

    assert run("decision", "replay", "d1").exit_code == code
