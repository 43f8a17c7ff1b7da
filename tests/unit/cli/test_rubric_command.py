"""`llm-canary rubric`."""

from __future__ import annotations

import json
import subprocess

import pytest
from click.testing import CliRunner

from llm_canary.cli import main
from llm_canary.resources import resource_dir

GOOD = (resource_dir("rubrics") / "json_extraction.yaml").read_text()


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rubrics").mkdir()
    (tmp_path / "rubrics" / "json_extraction.yaml").write_text(GOOD)

    def run(*words):
        return CliRunner().invoke(main, ["rubric", *words])

    return run


def test_lint_finds_nothing_in_a_good_rubric(run):
    done = run("lint")

    assert (done.exit_code, done.stdout) == (0, "1 rubric: 0 findings\n")


def test_lint_names_the_line_in_each_form(run, tmp_path):
    text = GOOD.replace("kind: check", "kind: chek", 1)
    (tmp_path / "rubrics" / "json_extraction.yaml").write_text(text)
    plain, as_json, github = run("lint"), run("lint", "--json"), run("lint", "--github")

    assert plain.exit_code == as_json.exit_code == github.exit_code == 1
    assert "json_extraction.yaml:11: criteria[0].kind: unknown `kind`" in plain.stdout
    [finding, *_] = json.loads(as_json.stdout)["findings"]
    assert finding["line"] == 11
    assert "::error file=rubrics/json_extraction.yaml,line=11::" in github.stdout


def test_lint_without_rubrics_is_wrong_usage(run, tmp_path):
    (tmp_path / "rubrics" / "json_extraction.yaml").unlink()

    assert run("lint").exit_code == 2


def test_diff_asks_for_a_new_version(run, tmp_path):
    old = tmp_path / "json_extraction.yaml"
    old.write_text(GOOD)
    new = tmp_path / "rubrics" / "json_extraction.yaml"
    new.write_text(GOOD.replace("min: 0.9", "min: 0.8"))
    changed = run("diff", str(old), str(new))
    new.write_text(GOOD.replace("min: 0.9", "min: 0.8").replace("version: 1", "version: 2"))
    raised = run("diff", str(old), str(new), "--json")

    assert changed.exit_code == 1
    assert "criteria.same_values.check.min: 0.9 -> 0.8" in changed.stdout
    assert "raise `version:` above 1" in changed.stdout
    assert raised.exit_code == 0
    assert json.loads(raised.stdout)["stale"] == ["same_values"]
    assert run("diff", str(old)).exit_code == 2


def test_diff_with_a_commit(run, tmp_path):
    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *words],
            cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    path = tmp_path / "rubrics" / "json_extraction.yaml"
    path.write_text(GOOD.replace("min: 0.9", "min: 0.8"))

    assert run("diff", str(path), "--since", "HEAD").exit_code == 1
    missing = run("diff", str(path), "--since", "nowhere")
    assert missing.exit_code == 2
    assert "git has no" in missing.stderr


def test_the_examples_are_tests(run, tmp_path):
    path = tmp_path / "rubrics" / "json_extraction.yaml"
    right = run("test", "json_extraction", "--no-cache")
    path.write_text(GOOD.replace("labels: {valid_json: unmet", "labels: {valid_json: met"))
    wrong = run("test", "json_extraction", "--no-cache", "--json")

    assert right.exit_code == 0
    assert "6 labels: 0 wrong, 0 untested" in right.stdout
    assert wrong.exit_code == 1
    assert json.loads(wrong.stdout)["wrong"] == 1


def test_what_needs_a_judge_is_said_to_be_untested(run):
    done = run("test", "helpfulness", "--no-cache")

    assert done.exit_code == 0
    assert "6 labels: 0 wrong, 6 untested" in done.stdout


def test_a_judge_grades_the_examples(run, tmp_path):
    rows = [
        {"id": "1", "labels": {"answers_question": "met", "correct": "met", "usefulness": 3}},
        {"id": "2", "labels": {"answers_question": "met", "correct": "met", "usefulness": 0}},
    ]
    (tmp_path / "v.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("test", "helpfulness", "--no-cache", "--judge", "replay:v.jsonl", "--json")

    assert done.exit_code == 1
    assert json.loads(done.stdout)["wrong"] == 1
