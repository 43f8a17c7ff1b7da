"""Which answers of two arms stand side by side: to the same prompt, to similar ones, else any.

Pure. Two prompts are similar by the share of words that they have in common (Jaccard).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

SIMILAR = 0.5
_WORD = re.compile(r"\w+")
_MOST_CHARS = 4_000  # of a prompt, for its words


class Pairing(NamedTuple):
    """Positions of an answer of the control and one of the canary; `likeness` of their prompts."""

    control: int
    canary: int
    likeness: float


def pair_up(control: Sequence[str], canary: Sequence[str], limit: int) -> list[Pairing]:
    """Return pairs of prompts, the most alike first, each prompt once, the newest first given."""
    ours = [_words(each) for each in control]
    theirs = [_words(each) for each in canary]
    alike = [
        Pairing(i, j, likeness)
        for i, mine in enumerate(ours)
        for j, other in enumerate(theirs)
        if (likeness := _likeness(mine, other)) >= SIMILAR
    ]
    alike.sort(key=lambda each: (-each.likeness, each.control + each.canary))
    pairs: list[Pairing] = []
    used: tuple[set[int], set[int]] = (set(), set())
    for each in alike:
        if each.control not in used[0] and each.canary not in used[1]:
            pairs.append(each)
            used[0].add(each.control)
            used[1].add(each.canary)
    rest = zip(
        (i for i in range(len(ours)) if i not in used[0]),
        (j for j in range(len(theirs)) if j not in used[1]),
        strict=False,
    )
    pairs += [Pairing(i, j, _likeness(ours[i], theirs[j])) for i, j in rest]
    return pairs[:limit]


def _words(prompt: str) -> frozenset[str]:
    return frozenset(_WORD.findall(prompt[:_MOST_CHARS].lower()))


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    both = len(one | other)
    return len(one & other) / both if both else 0.0
