"""A run of digits: groups that stand close together, with what is written between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from llm_canary.privacy.kinds import Find

# As they stand in a class of a pattern, which RE2 reads, too.
DASHES = "\\-\u2010-\u2015\u2212"
SPACES = " \u00a0\u2009\u202f"
JOINED = frozenset({" ", "\u00a0", "\u2009", "\u202f", "-", "\u2010", "\u2011", "\u2013"})
_GROUP = re.compile(r"\d+")
_LEAST_GROUP = 4  # of a card's number; shorter ones would have to be tried in every combination


class Group(NamedTuple):
    """Digits without a sign between them."""

    start: int
    end: int
    digits: str


class Run:
    """Groups of digits that stand close together; `taken` are those that have been found."""

    __slots__ = ("groups", "lengths", "taken", "text")

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text = text
        self.groups = [
            Group(*match.span(), _ascii(match[0])) for match in _GROUP.finditer(text, start, end)
        ]
        self.lengths = [len(group.digits) for group in self.groups]
        self.taken = [False] * len(self.groups)

    def between(self, index: int) -> str:
        """Return what stands between a group and the one before it, "" before the first."""
        return (
            "" if index == 0 else self.text[self.groups[index - 1].end : self.groups[index].start]
        )

    def before(self, index: int) -> str:
        """Return the character before a group, "" at the start of the text."""
        start = self.groups[index].start
        return self.text[start - 1 : start]

    def after(self, index: int) -> str:
        """Return the character behind a group, "" at the end of the text."""
        end = self.groups[index].end
        return self.text[end : end + 1]

    def stands_alone(self, first: int, last: int) -> bool:
        """Say whether the groups from `first` to `last` are no part of a word or a decimal."""
        before, after = self.before(first), self.after(last)
        if before == "_" or before.isalpha() or after == "_" or after.isalpha():
            return False
        is_fraction = before == "." and first > 0 and self.between(first) == "."
        continues = last + 1 < len(self.groups) and self.between(last + 1) == "."
        return not is_fraction and not continues

    def windows(self, first: int, longest: int) -> Iterator[tuple[int, str]]:
        """Yield the last group and the digits of each row of joined groups from `first` on."""
        digits = ""
        for last in range(first, len(self.groups)):
            if self.taken[last] or (last > first and not self._joins(last)):
                return
            digits += self.groups[last].digits
            if len(digits) > longest:
                return
            yield last, digits

    def _joins(self, index: int) -> bool:
        """Say whether a group goes on with the one before it; only the last may be short."""
        return self.lengths[index - 1] >= _LEAST_GROUP and self.between(index) in JOINED

    def take(self, first: int, last: int, label: str, normal: str) -> Find:
        """Take groups; return the find that they are."""
        self.taken[first : last + 1] = [True] * (last + 1 - first)
        return Find(self.groups[first].start, self.groups[last].end, label, normal)


def _ascii(digits: str) -> str:
    """Return the digits as ASCII: those of other scripts are digits, too."""
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)
