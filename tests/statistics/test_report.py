"""docs/statistics.md says what was measured."""

from __future__ import annotations

from pathlib import Path

from statistics_report import FIGURES, PAGE, PICTURES, TABLES, pictures, read, render, write


def test_the_page_holds_what_the_renderer_makes_of_the_stored_figures(tmp_path: Path):
    found, page = read(FIGURES), PAGE.read_text(encoding="utf-8")

    assert render(page, found) == page
    for name, svg in pictures(found).items():
        assert (PICTURES / name).read_text(encoding="utf-8") == svg
        assert f"images/statistics/{name}" in page
    write(found, tmp_path / "figures.jsonl")
    assert (tmp_path / "figures.jsonl").read_bytes() == FIGURES.read_bytes()
    for name in (*TABLES, "policy"):
        assert f"<!-- figures: {name} -->" in page
