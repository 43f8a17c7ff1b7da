"""Human labels and calibrations in the database, by the commands that people use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories.grading import (
    StoredLabel,
    add_labels,
    calibrations,
    labels_of,
    latest_probes,
)
from llm_canary.telemetry.events import Terminal
from tests.factories import make_inference
from tests.support.graded_project import GradedProject


def run(folder: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llm_canary", *words],
        cwd=folder,
        env=os.environ | {"LLM_CANARY_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def label(item="1", rater="ann", criterion="right", value="met") -> StoredLabel:
    return StoredLabel(item, "p", "r", None, "c", {"arm": "canary"}, rater, criterion, value, None)


def test_a_later_label_of_a_person_replaces_the_earlier_one(engine: Engine) -> None:
    with write_session(engine) as session:
        add_labels(session, "r", "hash", [label(), label(rater="bob", value=2), label(item="2")])
    with write_session(engine) as session:
        add_labels(session, "r", "hash", [label(value="unmet")])
    with read_session(engine) as session:
        found = list(labels_of(session, "r", "hash"))

    assert {(each.item_id, each.rater, each.label) for each in found} == {
        ("1", "ann", "unmet"),
        ("1", "bob", 2),
        ("2", "ann", "met"),
    }
    assert found[0].tags == {"arm": "canary"}


def test_labels_belong_to_a_text_of_the_rubric(engine: Engine) -> None:
    with write_session(engine) as session:
        add_labels(session, "r", "one", [label()])
    with read_session(engine) as session:
        assert list(labels_of(session, "r", "other")) == []


def test_labels_go_in_and_out_and_calibrate(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    project = GradedProject(tmp_path, "helpfulness", items=10)
    project.labels(120, seed=1)
    words = ("--rubric", "helpfulness")
    imported = run(tmp_path, database_url, "review", "import", "labels.jsonl", *words)
    again = run(tmp_path, database_url, "review", "import", "labels.jsonl", *words)
    exported = run(tmp_path, database_url, "review", "export", "out.csv", *words)
    judge = ("--judge", "replay:verdicts.jsonl")
    stored = run(
        tmp_path, database_url, "judge", "calibrate", *words, *judge, "--labels", "db", "--store", "--json",
    )  # fmt: skip
    file = run(
        tmp_path,
        database_url,
        "judge",
        "calibrate",
        *words,
        *judge,
        "--labels",
        "out.csv",
        "--json",
    )

    assert imported.returncode == again.returncode == exported.returncode == 0, imported.stderr
    assert imported.stdout == again.stdout == "stored 720 labels of 120 answers\n"
    assert stored.returncode == file.returncode == 0, stored.stderr
    of_db, of_file = json.loads(stored.stdout), json.loads(file.stdout)
    assert of_db["subjects"] == of_file["subjects"]
    assert of_db["standing"] == "trusted"
    with read_session(engine) as session:
        [kept] = calibrations(session, "helpfulness")
    assert kept["standing"] == "trusted"
    assert kept["report"]["subjects"] == of_db["subjects"]

    plain = run(
        tmp_path, database_url, "judge", "probe", *words, *judge, "--labels", "db", "--json"
    )
    with read_session(engine) as session:
        assert latest_probes(session, "helpfulness") == []
    probed = run(
        tmp_path, database_url, "judge", "probe", *words, *judge, "--labels", "db", "--json", "--store",
    )  # fmt: skip
    assert plain.returncode == probed.returncode == 0, probed.stderr
    with read_session(engine) as session:
        [found] = latest_probes(session, "helpfulness")
    assert found.judge_id == kept["judge_id"]
    assert found.probes == json.loads(probed.stdout)
    assert {each["name"] for each in found.probes} == {"length", "injection", "retest"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"id": "1", "label": 1}\n', "labels.jsonl:1: the row has no human labels"),
        ('{"id": "1"}\n', "holds no labels"),
        ("", "holds no labels"),
    ],
)
def test_a_wrong_file_is_refused_as_a_whole(
    engine: Engine, database_url: str, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "labels.jsonl").write_text(text)
    done = run(
        tmp_path, database_url, "review", "import", "labels.jsonl", "--rubric", "helpfulness"
    )

    assert done.returncode == 1
    assert words in done.stderr


def test_a_dataset_is_drawn_from_what_the_policy_kept(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "mail [EMAIL]"}]
    kept = {"content_store": "redacted", "response_text": "yes", "segments": {"geo": "at"}}
    rows = [
        make_inference(request_text=json.dumps(messages), **kept),
        make_inference(request_text=json.dumps(messages)[:20], **kept),  # cut at the limit
        make_inference(request_text=None, response_text=None),
        make_inference(
            request_text=json.dumps(messages), **(kept | {"terminal": Terminal.TIMEOUT})
        ),
    ]
    SqlBatchSink(engine).write(rows)
    done = run(
        tmp_path, database_url, "dataset", "sample", "drawn.jsonl", "--days", "3650", "--json"
    )
    [row] = [json.loads(line) for line in (tmp_path / "drawn.jsonl").read_text().splitlines()]

    assert json.loads(done.stdout)["rows"] == 1
    assert row["messages"] == messages
    assert (row["response"], row["tags"]) == ("yes", {"geo": "at"})
    frozen = run(tmp_path, database_url, "dataset", "freeze", "drawn.jsonl")
    assert "version 1, 1 rows" in frozen.stdout
