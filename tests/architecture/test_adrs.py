"""Each decision record is one page in one form and names files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDS = sorted((ROOT / "docs" / "adr").glob("*.md"))
SECTIONS = ["Context", "Decision", "Consequences", "Alternatives considered", "Obeyed by"]


def test_the_records_are_numbered_without_gaps():
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_the_form(path):
    text = path.read_text()

    assert text.startswith(f"# {path.name[:4]} ")
    assert re.search(r"^- \*\*Status:\*\* (accepted|superseded by \d{4})$", text, re.MULTILINE)
    assert re.search(r"^- \*\*Date:\*\* 20\d\d-\d\d-\d\d$", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert len(text.splitlines()) <= 60


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_the_files_that_obey_it_exist(path):
    _, _, obeyed = path.read_text().partition("## Obeyed by")
    files = re.findall(r"`([^`]+)`", obeyed)

    assert files
    assert [name for name in files if not (ROOT / name).is_file()] == []
