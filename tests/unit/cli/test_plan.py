"""`llm-canary plan` as a release owner runs it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from llm_canary.cli import main
from llm_canary.config.starter import starter_files

SOURCE_EXAMPLE = ("--daily", "50000", "--share", "5%", "--needed", "10000")
TWO = """
  bold: {route: assistant, canary: {upstream: openai, model: gpt-5}, plan: standard}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    for path, text in starter_files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "k1")
    monkeypatch.delenv("LLM_CANARY_DATABASE_URL", raising=False)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, ("plan", *arguments))


def test_the_sources_example_takes_four_days_and_both_sizes_are_offered():
    shown = run(*SOURCE_EXAMPLE).stdout

    assert shown.startswith("4.0 days: 10,000 canary responses at 5 % of 50,000 a day")
    assert "two equal arms that show 2 percentage points" in shown
    assert "(9,804; two-sided 5 %, power 80 %)" in shown
    assert "5,156 (3 days) at a rate of 50 % or 2,166 (1 day) at a rate of 10 %" in shown


def test_the_sources_example_as_json():
    found = json.loads(run(*SOURCE_EXAMPLE, "--json").stdout)

    assert (found["days"], found["canary_daily"], found["equal_arm"]) == (4.0, 2_500.0, 9_804)


def test_the_whole_plan_of_the_only_rollout(project):
    shown = run("--daily", "50000", "--cost", "0.004").stdout.splitlines()

    rows = [line.split("\t") for line in shown]
    assert ["plan", "standard, rollout assistant-v2 on route assistant"] in rows
    stages = {row[0]: row for row in rows if len(row) == 10}
    assert stages["initial"][1:3] == ["5 %", "1 to 3"]
    assert stages["broad"][8].startswith("$")
    gates = [row for row in rows if len(row) == 9 and row[0] == "broad"]
    assert {row[1] for row in gates} == {
        "error_rate", "latency_p95", "invalid_output", "cost_per_request",
    }  # fmt: skip
    assert ["requests a day", "50,000", "given"] in rows
    assert ["error_rate: control", "1.0 %", "default"] in rows


def test_what_is_given_replaces_the_default(project):
    found = json.loads(
        run(
            "--rollout", "assistant-v2", "--daily", "50000", "--json",
            "--rate", "error_rate=0.2%", "--mean", "cost_per_request=0.004:0.002",
            "--observed", "invalid_output=40%", "--icc", ".2", "--requests-per-user", "3",
            "--returning", "50%", "--canary-cost", "0.003", "--rated", "2%",
        ).stdout
    )  # fmt: skip

    given = {
        each["what"]: each["text"] for each in found["assumptions"] if each["source"] == "given"
    }
    assert given["error_rate: control"] == "0.20 %"
    cost, _, spread = given["cost_per_request: control"].partition(", ")
    assert (float(cost.removeprefix("$")), spread) == (0.004, "standard deviation 50% of the mean")
    assert given["invalid_output: observed on"] == "40 % of responses"
    assert given["likeness of one user's responses (ICC)"] == "0.2"
    assert given["requests of a user on a day"] == "3"
    assert given["users of one day who come on another"] == "50 %"
    assert found["stages"][0]["canary_usd"] > 0


def test_a_plan_needs_no_rollout(project):
    found = json.loads(
        run("--plan", "standard", "--daily", "50000", "--rated", "3%", "--json").stdout
    )

    assert found["rollout"] is None
    assert "thumbs_up_rate" in {gate["metric"] for gate in found["stages"][0]["gates"]}


def test_of_several_rollouts_one_must_be_named(project):
    config = project / "canary.yaml"
    config.write_text(config.read_text().replace("rollouts:\n", "rollouts:" + TWO, 1))

    refused = run("--daily", "50000")

    assert refused.exit_code == 2
    assert "--rollout (bold, assistant-v2)" in refused.stderr


@pytest.mark.parametrize("route", [(), ("--route", "assistant")])
def test_without_traffic_it_says_to_give_some_and_leaves_no_database(project, route):
    refused = run("--plan", "standard", *route)

    assert refused.exit_code == 5
    assert "give --daily" in refused.stderr
    assert not list(project.glob("*.db*"))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--needed", "5"), "--needed asks for --daily and --share"),
        (("--share", "5%", "--daily", "5"), "--share goes with --needed"),
        (("--daily", "0"), "0.0 is not in the range"),
        (("--daily", "5", "--rated", "lots"), "'lots' is no share"),
        (("--daily", "5", "--icc", "1.5"), "1.5 is not in the range"),
        (("--daily", "5", "--rate", "error_rate"), "such as error_rate=1%"),
        (("--daily", "5", "--rate", "eror_rate=1%"), "there is no gate about 'eror_rate'"),
        (("--daily", "5", "--rate", "latency_p95=1%"), "--mean latency_p95=MEAN:SD"),
        (("--daily", "5", "--mean", "error_rate=1"), "--rate error_rate=1%"),
        (("--daily", "5", "--mean", "latency_p95=nan"), "not METRIC=MEAN or METRIC=MEAN:SD"),
        (("--daily", "5", "--rollout", "x"), "there is no rollout 'x'"),
        (("--daily", "5", "--plan", "x"), "there is no plan 'x'"),
        (("--daily", "5", "--plan", "x", "--rollout", "y"), "exclude each other"),
        (("--plan", "standard", "--route", "x"), "there is no route 'x'"),
    ],
)
def test_a_wrong_use_says_what_is_right(project, arguments, part):
    refused = run(*arguments)

    assert refused.exit_code == 2
    assert part in refused.stderr


def test_a_broken_file_is_refused_with_its_problems(project):
    (project / "canary.yaml").write_text("version: 1\n")

    refused = run("--daily", "50000")

    assert refused.exit_code == 1
    assert "canary.yaml" in refused.stderr


def test_the_page_on_planning_shows_what_the_command_prints():
    page = (Path(__file__).parents[3] / "docs" / "planning.md").read_text()

    assert f"```text\n{run(*SOURCE_EXAMPLE).stdout}```" in page


def test_every_command_of_that_page_that_needs_no_database_runs(project):
    page = (Path(__file__).parents[3] / "docs" / "planning.md").read_text()
    commands = [
        shlex.split(line, comments=True)[2:]
        for line in page.splitlines()
        if line.startswith("llm-canary plan") and "--daily" in line
    ]

    assert len(commands) == 3
    assert [run(*arguments).exit_code for arguments in commands] == [0, 0, 0]
