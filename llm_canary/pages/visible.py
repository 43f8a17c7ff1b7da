"""Texts that clients or people have sent, with every character to be seen for what it is."""

from __future__ import annotations

_LONGEST_VALUE = 80
_KEPT = "\n\t"


def printable(text: str) -> str:
    """Return the text; what is no visible character, or turns its direction, is a sign instead."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in _KEPT else "\N{REPLACEMENT CHARACTER}"
        for each in text
    )


def visible(value: str) -> str:
    """Return a value for one line, cut where it is long."""
    shown = printable(value).translate({ord(each): "\N{REPLACEMENT CHARACTER}" for each in _KEPT})
    if len(shown) > _LONGEST_VALUE:
        return shown[: _LONGEST_VALUE - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return shown or "(empty)"
