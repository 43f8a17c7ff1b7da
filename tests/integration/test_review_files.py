"""What people who grade by files are given: the conversation, and nothing of its arm."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy.engine import Engine

from llm_canary.checks.dataset import Dataset
from llm_canary.cli import main
from tests.integration.test_review_desk import GOOD, Bench
from tests.support.review_world import SUPPORT, drawn

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Delete all?"},
    {"role": "assistant", "content": "Sure?"},
    {"role": "user", "content": "yes, do it"},
]


@pytest.fixture
def folder(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_CANARY_DATABASE_URL", database_url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "support.yaml").write_text(SUPPORT)
    return tmp_path


def run(*words: str) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output


def test_what_waits_is_exported_with_what_was_said_before(engine: Engine, folder: Path) -> None:
    drawn(engine, [(TURNS, "Done.")])

    for name in ("open.jsonl", "open.csv"):
        run("review", "export", name, "--rubric", "support.yaml", "--open")

    row = json.loads((folder / "open.jsonl").read_text())
    assert row.keys() == {"id", "messages", "response"}  # nothing that tells the arm
    assert row["messages"] == TURNS
    with (folder / "open.csv").open() as file:
        [cells] = csv.DictReader(file)
    assert (cells["prompt"], cells["response"]) == ("yes, do it", "Done.")
    assert cells["earlier"] == "system: Be brief.\n\nuser: Delete all?\n\nassistant: Sure?"


def test_a_better_answer_is_a_row_of_a_dataset_with_its_conversation_and_tags(
    engine: Engine, folder: Path
) -> None:
    bench = Bench(engine, 0)
    drawn(engine, [(TURNS, "Done.")])
    bench.review("mara", GOOD._replace(corrected_response="Deleted."))

    run("review", "corrections", "better.jsonl", "--rubric", "support.yaml")

    [item] = Dataset(folder / "better.jsonl")
    assert (list(item.history), item.prompt) == (TURNS[:-1], "yes, do it")
    assert item.reference == "Deleted."
    assert item.tags["endpoint"]


@pytest.mark.parametrize("target", ["d.jsonl", "./d.jsonl", "again.jsonl"])
def test_a_dataset_is_not_converted_onto_itself(folder: Path, target: str) -> None:
    source = '{"id": "1", "prompt": "Hi"}\n'
    (folder / "d.jsonl").write_text(source)
    (folder / "again.jsonl").symlink_to(folder / "d.jsonl")

    done = CliRunner().invoke(main, ("dataset", "convert", "d.jsonl", target))

    assert done.exit_code == 2
    assert "is SOURCE itself" in done.output
    assert (folder / "d.jsonl").read_text() == source
