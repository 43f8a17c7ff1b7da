"""Rows of files, and what a broken one is called."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_canary.checks.dataset import Dataset
from llm_canary.documents.cells import guarded, unguarded
from llm_canary.documents.rows import RowProblems, read_rows, write_rows
from llm_canary.errors import ConfigError
from llm_canary.rubric.item import item_row

ROWS = [
    {"id": "a", "prompt": "Hi\nthere", "tag:language": "en", "reference": "x, y"},
    {"id": "b", "prompt": "Grüße \u2028", "context": "c", "conversation": "1"},
    {"id": "c", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
     "tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
]  # fmt: skip


FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(1)",
    "\tx",
    "\rx",
    "\n=1",
    "'=1",
    "''=1",
    '=HYPERLINK("http://x")',
]


@given(st.text(alphabet="'=+-@\t\r\nx", max_size=6))
@example("")
def test_what_is_guarded_is_no_formula_and_nothing_is_lost(text):
    cell = guarded(text)

    assert not cell.startswith(tuple("=+-@\t\r\n"))
    assert unguarded(cell) == text


def test_no_cell_of_a_csv_is_a_formula_and_reading_gives_what_was_written(tmp_path):
    path = tmp_path / "sheet.csv"
    rows = [{"id": text, "prompt": text, "n": -1} for text in [*FORMULAS, "plain", "it's"]]
    write_rows(path, rows)
    with path.open(newline="") as file:
        cells = [cell for row in list(csv.reader(file))[1:] for cell in row[:2]]
    found = [row.values for row in read_rows(path, RowProblems(path))]

    assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r\n"))]
    assert [row | {"n": "-1"} for row in rows] == found


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_dataset_means_the_same_in_every_form(tmp_path, suffix):
    first = tmp_path / "data.jsonl"
    first.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    other = tmp_path / f"other.{suffix}"
    write_rows(other, (item_row(item) for item in Dataset(first)))

    assert Dataset(other).hash == Dataset(first).hash
    assert list(Dataset(other)) == list(Dataset(first))


def test_broken_rows_are_all_named_by_line(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text(
        '{"id": "a", "prompt": "x"}\n'
        "{broken\n"
        "\n"
        '{"prompt": "no id"}\n'
        '{"id": "a", "prompt": "twice"}\n'
        "[1]\n"
        '{"id": "d", "prompt": 7, "reference": []}\n'
        '{"id": "e", "promt": "x"}\n'
        '{"id": "f", "messages": [{"role": "assistant", "content": "x"}]}\n'
        '{"id": "g", "prompt": "x", "tags": "{broken"}\n'
    )
    with pytest.raises(ConfigError) as refused:
        Dataset(path)

    lines = [each.split(": ", 1) for each in refused.value.problems]
    assert [place for place, _ in lines] == [f"data.jsonl:{n}" for n in (2, 4, 5, 6, 7, 8, 9, 10)]
    assert "stands also on line 1" in lines[2][1]
    assert "'promt'" in lines[5][1]
    assert "user's" in lines[6][1]


def test_a_csv_with_a_torn_row_is_named(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('id,prompt\na,"two\nlines"\nb\nc,d,e\n')

    problems = RowProblems(path)
    assert [row.values["id"] for row in read_rows(path, problems)] == ["a"]
    with pytest.raises(ConfigError, match=r"data.csv:4: .*\ndata.csv:5: "):
        problems.raise_any()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.txt", b"", "ends on none"),
        ("x.jsonl", b"", "holds no rows"),
        ("x.jsonl", b"\xff\xfe", "x.jsonl:1: the line is no JSON"),
        ("x.csv", b"id,prompt\n\xff,a\n", "not UTF-8"),
        ("x.parquet", b"nothing", "no Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_not_a_traceback(tmp_path, name, data, words):
    path = tmp_path / name
    path.write_bytes(data)

    with pytest.raises(ConfigError, match=words):
        Dataset(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        Dataset(tmp_path / "none.jsonl")


def test_thousands_of_problems_are_a_short_message(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("{\n" * 5000)

    with pytest.raises(ConfigError) as refused:
        Dataset(path)
    assert len(refused.value.problems) == 51
    assert "4950 more" in refused.value.problems[-1]


def test_a_frozen_dataset_that_changed_is_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": "a", "prompt": "x"}\n')
    facts = {"version": 3, "hash": Dataset(path).hash}
    path.with_name("x.jsonl.frozen.json").write_text(json.dumps(facts))

    assert len(Dataset(path)) == 1
    path.write_text('{"prompt": "x", "id": "a"}\n')  # another writing, one meaning
    assert len(Dataset(path)) == 1
    path.write_text('{"id": "a", "prompt": "y"}\n')
    with pytest.raises(ConfigError, match="frozen version 3"):
        Dataset(path)


def test_what_a_rubric_requires_is_missed_by_line(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": "a", "prompt": "x", "context": "c"}\n{"id": "b", "prompt": "x"}\n')

    with pytest.raises(ConfigError, match=r"^x.jsonl:2: `context` is missing, and the rubric"):
        Dataset(path, required=["context"])
    assert len(Dataset(path)) == 2
