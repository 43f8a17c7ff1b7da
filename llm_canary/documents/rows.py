"""Rows of JSONL, CSV and Parquet files, each with its place, in and out.

No text in a CSV is a formula for a spreadsheet: an apostrophe stands before it, and reading takes
it off again.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from llm_canary.documents.cells import guarded, unguarded
from llm_canary.errors import ConfigError

MAX_ROW_BYTES = 16 * 1024 * 1024
MAX_PROBLEMS = 50
SUFFIXES = (".jsonl", ".ndjson", ".csv", ".parquet")
_NO_PARQUET = "Parquet needs pyarrow: `pip install 'llm-canary-gateway[parquet]'`, or use JSONL"


class Row(NamedTuple):
    """One row and the line on which it begins (Parquet: its number)."""

    line: int
    values: dict[str, Any]


class RowProblems:
    """What is wrong with the rows of a file, all of it up to a limit."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._found: list[str] = []
        self._count = 0

    def add(self, line: int, wrong: str) -> None:
        """Note one problem."""
        self._count += 1
        if len(self._found) < MAX_PROBLEMS:
            self._found.append(f"{self._name}:{line}: {wrong}")

    def raise_any(self) -> None:
        """Raise ConfigError when there is a problem."""
        if not self._found:
            return
        more = self._count - len(self._found)
        found = [*self._found, *([f"{self._name}: and {more} more"] if more else [])]
        raise ConfigError("\n".join(found), problems=tuple(found))


def read_rows(path: Path, problems: RowProblems) -> Iterator[Row]:
    """Yield the rows of a file by the ending of its name; note those that cannot be read."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"{path.name} ends on none of {', '.join(SUFFIXES)}")
    try:
        if suffix == ".parquet":
            yield from _parquet(path)
        elif suffix == ".csv":
            yield from _csv(path, problems)
        else:
            yield from _jsonl(path, problems)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows in the form that the name of the file says; return how many."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"{path.name} ends on none of {', '.join(SUFFIXES)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".parquet":
        return _write_parquet(path, [dict(row) for row in rows])
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == ".csv":
            listed = list(rows)
            names = list(dict.fromkeys(name for row in listed for name in row))
            # A text with either sign is quoted only where both end a line.
            writer = csv.DictWriter(file, names, lineterminator="\r\n")
            writer.writeheader()
            for row in listed:
                writer.writerow({name: _csv_cell(value) for name, value in row.items()})
            return len(listed)
        for count, row in enumerate(rows, 1):  # noqa: B007 - the count is what is returned
            file.write(orjson.dumps(row).decode() + "\n")
    return count


def _jsonl(path: Path, problems: RowProblems) -> Iterator[Row]:
    with path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            if len(raw) > MAX_ROW_BYTES:
                problems.add(line, f"the row is larger than {MAX_ROW_BYTES} bytes")
                continue
            text = raw.removeprefix(b"\xef\xbb\xbf").strip() if line == 1 else raw.strip()
            if not text:
                continue
            try:
                value = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                problems.add(line, f"the line is no JSON ({error.msg})")
                continue
            if isinstance(value, dict):
                yield Row(line, value)
            else:
                problems.add(line, "the line is no JSON object")


def _csv(path: Path, problems: RowProblems) -> Iterator[Row]:
    csv.field_size_limit(MAX_ROW_BYTES)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        line = 1
        try:
            for row in reader:
                begins, line = line + 1, reader.line_num
                if None in row or None in row.values():
                    problems.add(
                        begins, f"the row has not the {len(reader.fieldnames or ())} fields"
                    )
                    continue
                cells = {name: unguarded(value) for name, value in row.items() if value != ""}
                yield Row(begins, cells)
        except csv.Error as error:
            problems.add(line + 1, f"the row is no CSV ({error})")
        except UnicodeDecodeError:
            problems.add(line + 1, "the text is not UTF-8; save the file as UTF-8")


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(_NO_PARQUET) from None
    try:
        file = parquet.ParquetFile(path)
    except ArrowInvalid:
        raise ConfigError(f"{path.name} is no Parquet file") from None
    number = 0
    for batch in file.iter_batches(batch_size=1024):
        for values in batch.to_pylist():
            number += 1
            yield Row(number, {key: value for key, value in values.items() if value is not None})


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> int:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise ConfigError(_NO_PARQUET) from None
    names = dict.fromkeys(name for row in rows for name in row)  # pyarrow would take the first's
    flat = [{name: _cell(row.get(name)) for name in names} for row in rows]
    parquet.write_table(pa.Table.from_pylist(flat), path)
    return len(rows)


def _csv_cell(value: object) -> object:
    cell = _cell(value)
    return guarded(cell) if isinstance(cell, str) else cell


def _cell(value: object) -> object:
    """Return `value` as one cell: what has parts as JSON."""
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    return value
