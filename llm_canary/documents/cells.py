"""Cells of a CSV that no spreadsheet takes for formulas, and back."""

from __future__ import annotations

import re

# What a spreadsheet would run when it opens the file. Apostrophes before it are counted in, so that
# taking off one always gives what was there.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_GUARDED = re.compile(r"'+[=+\-@\t\r\n]")


def guarded(text: str) -> str:
    """Return the text as a cell that is no formula: with an apostrophe where it would be one."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """Return the text of a cell that `guarded` made."""
    return cell[1:] if _GUARDED.match(cell) else cell
