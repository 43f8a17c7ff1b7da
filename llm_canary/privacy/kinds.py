"""What a redaction looks for, and what a find is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What private things are looked for."""

    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"
    IBAN = "iban"
    IP = "ip"
    KEY = "key"
    NATIONAL_ID = "national_id"


class Find(NamedTuple):
    """A private thing in a text; `normal` is the same for all ways of writing it."""

    start: int
    end: int
    label: str  # of the placeholder: a kind, or the name of a pattern of the file
    normal: str


def disjoint(finds: Iterable[Find]) -> Iterator[Find]:
    """Yield finds in the order of the text; of two that overlap the one that begins first."""
    end = 0
    for find in sorted(finds, key=lambda find: (find.start, -find.end)):
        if find.start >= end:
            end = find.end
            yield find
