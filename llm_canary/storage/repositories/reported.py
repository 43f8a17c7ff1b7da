"""The models that the judges of one answer were, as their providers report them: one column."""

from __future__ import annotations


def joined(first: str | None, second: str | None) -> str | None:
    """Return the text of a column that holds what both judges report; None: neither does.

    One name is the text as it is, so rows from before a second judge was kept read alike.
    """
    names = _plain(first), _plain(second)
    return "\n".join(names) if names[1] else names[0] or None


def parted(stored: str | None) -> tuple[str | None, str | None]:
    """Return what the first and the second judge reported."""
    first, _, second = (stored or "").partition("\n")
    return first or None, second or None


def _plain(name: str | None) -> str:
    return " ".join((name or "").split())
