"""`llm-canary check` as CI runs it: the shipped rubrics, recorded verdicts, every exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from junitparser import JUnitXml

from llm_canary.resources import resource_dir
from tests.support.graded_project import GradedProject

pytestmark = pytest.mark.xdist_group("check_command")  # else each worker makes every project
SHIPPED = sorted(path.stem for path in resource_dir("rubrics").glob("*.yaml"))
POINTWISE = [name for name in SHIPPED if name != "pairwise_preference"]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llm_canary", *words],
        cwd=folder,
        env=os.environ | {"GITHUB_STEP_SUMMARY": str(folder / "summary.md"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def check(folder: Path, rubric: str, *words: str) -> subprocess.CompletedProcess[str]:
    judge = ("--judge", "replay:verdicts.jsonl", "--labels", "labels.jsonl")
    if rubric == "json_extraction":
        judge = ()
    return run(folder, "check", "--rubric", rubric, "--dataset", "data.jsonl", *judge, *words)


@pytest.fixture(scope="module", params=POINTWISE)
def project(request, tmp_path_factory):
    project = GradedProject(tmp_path_factory.mktemp(request.param), request.param, noise=0.02)
    project.build("main", 0.92, seed=1)
    project.build("same", 0.92, seed=1, like="main")
    project.build("worse", 0.92, seed=1, broken=0.11)  # ten points
    project.labels(300, seed=3)
    made = check(
        project.folder, request.param, "--responses", "main.jsonl",
        "--baseline", "run:main", "--update-baseline",
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    return project


def test_an_identical_build_passes(project):
    done = check(
        project.folder, project.rubric.rubric.id, "--responses", "same.jsonl", "--baseline", "run:main",
        "--max-drop", "0.03", "--min-pass", "0.8",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict\tpass" in done.stdout


def test_a_planted_drop_of_ten_points_fails_in_every_form(project):
    rubric = project.rubric.rubric.id
    done = check(
        project.folder, rubric, "--responses", "worse.jsonl", "--baseline", "run:main",
        "--max-drop", "0.03", "--segments", "language", "--per-criterion",
        "--junit", "r.xml", "--json", "r.json", "--md", "r.md", "--github",
    )  # fmt: skip
    report = json.loads((project.folder / "r.json").read_text())
    suites = {suite.name: suite for suite in JUnitXml.fromfile(str(project.folder / "r.xml"))}

    assert done.returncode == 1, done.stdout + done.stderr
    assert (report["verdict"], report["exit_code"], report["for_a_rollout"]) == (
        "fail",
        1,
        "rollback",
    )
    assert "verdict\tfail" in done.stdout
    assert f"::error file=rubrics/{rubric}.yaml" in done.stdout
    markdown = (project.folder / "r.md").read_text()
    assert f"check: FAIL ({rubric}, worse.jsonl)" in markdown
    assert (project.folder / "summary.md").read_text().endswith(markdown)
    whole = suites.pop(f"{rubric}.all")
    passed = sum(bool(each["passed"]) for each in report["outcomes"])
    assert whole.tests == project.items
    assert whole.failures == project.items - passed
    assert len(suites) == len(project.rubric.rubric.criteria)
    assert [each.value for each in whole.properties() if each.name == "verdict"] == ["fail"]


@pytest.fixture
def helpful(tmp_path):
    project = GradedProject(tmp_path, "helpfulness", items=120)
    project.build("main", 0.9, seed=1)
    return project


def test_without_labels_a_judge_is_not_trusted(helpful):
    done = run(
        helpful.folder, "check", "--rubric", "helpfulness", "--dataset", "data.jsonl", "--responses",
        "main.jsonl", "--judge", "replay:verdicts.jsonl",
    )  # fmt: skip

    assert done.returncode == 4
    assert "no human labels say whether the judge is right" in done.stdout


@pytest.mark.parametrize(
    ("noise", "count", "at", "words"),
    [
        (0.5, 200, "2026-11-23", "its lower end has to reach"),
        (0.02, 60, "2026-11-23", "60 labels; 100 are needed"),
        (0.02, 200, "2020-01-01", "days old"),
    ],
)
def test_a_weak_unknown_or_stale_judge_exits_with_4(tmp_path, noise, count, at, words):
    project = GradedProject(tmp_path, "helpfulness", items=60, noise=noise)
    project.build("main", 0.9, seed=1)
    project.labels(count, seed=2, at=at)
    done = check(tmp_path, "helpfulness", "--responses", "main.jsonl")

    assert done.returncode == 4, done.stdout
    assert words in done.stdout


def test_too_few_items_are_held_and_how_many_would_do_is_said(helpful):
    helpful.labels(200, seed=2)
    rows = (helpful.folder / "data.jsonl").read_text().splitlines()[:40]
    (helpful.folder / "data.jsonl").write_text("\n".join(rows) + "\n")
    words = ("--responses", "main.jsonl", "--min-pass", "0.88")
    held = check(helpful.folder, "helpfulness", *words)
    passed = check(helpful.folder, "helpfulness", *words, "--on-hold", "pass")

    assert held.returncode == 3, held.stdout
    assert "would settle it\tabout " in held.stdout
    assert passed.returncode == 0
    assert "verdict\thold" in passed.stdout


def test_answers_that_are_missing_are_operational(helpful):
    helpful.labels(200, seed=2)
    rows = (helpful.folder / "main.jsonl").read_text().splitlines()[:110]
    (helpful.folder / "main.jsonl").write_text("\n".join(rows) + "\n")
    done = check(helpful.folder, "helpfulness", "--responses", "main.jsonl")

    assert done.returncode == 5
    assert "10 of 120 items got no answer; at most 2% may" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check",), "name the rubric"),
        (("check", "--rubric", "helpfulness"), "name the dataset"),
        (("check", "--rubric", "nope", "--dataset", "data.jsonl"), "there is no rubric 'nope'"),
        (("check", "--rubric", "helpfulness", "--dataset", "none.jsonl"), "No such file"),
        (("check", "--rubric", "helpfulness", "--dataset", "data.jsonl"), "names no judge"),
        (("check", "--rubric", "pairwise_preference", "--dataset", "data.jsonl"), "compares pairs"),
        (("check", "--rubric", "json_extraction", "--dataset", "data.jsonl", "--baseline", "no.json"), "no.json"),
        (("check", "--rubric", "json_extraction", "--dataset", "data.jsonl", "--endpoint", "http://x"), "--model"),
        (("check", "--rubric", "json_extraction", "--dataset", "data.jsonl", "--update-baseline"), "name it"),
    ],
)  # fmt: skip
def test_wrong_usage_exits_with_2(helpful, words, message):
    done = run(helpful.folder, *words)

    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_baseline_of_another_text_of_the_rubric_is_refused(helpful):
    folder = helpful.folder
    (folder / "rubrics").mkdir()
    text = (resource_dir("rubrics") / "json_extraction.yaml").read_text()
    (folder / "rubrics" / "json_extraction.yaml").write_text(text)
    words = ("--responses", "main.jsonl", "--baseline", "b.json")
    check(folder, "json_extraction", *words, "--update-baseline")
    (folder / "rubrics" / "json_extraction.yaml").write_text(text.replace("min: 0.9", "min: 0.8"))
    done = check(folder, "json_extraction", *words)

    assert done.returncode == 5
    assert "another text of the rubric" in done.stderr
    assert check(folder, "json_extraction", *words, "--update-baseline").returncode == 0
    assert check(folder, "json_extraction", *words).returncode == 0


def test_json_alone_goes_to_standard_output(helpful):
    done = check(helpful.folder, "json_extraction", "--responses", "main.jsonl", "--json")

    assert json.loads(done.stdout)["verdict"] == "pass"


def test_an_entry_of_the_configuration_is_checked_by_name(helpful):
    (helpful.folder / "canary.yaml").write_text("""\
version: 1
upstreams: {local: {kind: openai, base_url: "http://127.0.0.1:9/v1"}}
routes: {bot: {control: {upstream: local, model: m}}}
checks:
  extraction: {rubric: json_extraction, dataset: data.jsonl, responses: main.jsonl, min_pass: 0.99}
""")
    done = run(helpful.folder, "check", "extraction")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "99.0% are asked for" in done.stdout
    assert run(helpful.folder, "check", "nope").returncode == 2


def test_naughty_strings_break_no_report(tmp_path):
    corpus = Path(__file__).resolve().parents[1] / "data" / "corpora" / "blns.json"
    texts = json.loads(corpus.read_text())
    rows = [
        {
            "id": f"{n}:{text}",
            "prompt": text,
            "response": text,
            "reference": text,
            "tags": {"t": text},
        }
        for n, text in enumerate(texts)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = check(
        tmp_path, "json_extraction", "--segments", "t", "--junit", "r.xml", "--md", "r.md", "--github",
        "--json", "r.json", "--min-pass", "0.5",
    )  # fmt: skip

    assert done.returncode == 1, done.stderr
    assert sum(suite.tests for suite in JUnitXml.fromfile(str(tmp_path / "r.xml"))) == 4 * len(rows)
    assert len(json.loads((tmp_path / "r.json").read_text())["outcomes"]) == len(rows)
    assert all(mark.isprintable() or mark in "\n\t" for mark in done.stdout)
    assert sum(line.startswith("::") for line in done.stdout.splitlines()) == 1
