"""How alike the responses of one unit are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import fsum


def intraclass_correlation(responses: Iterable[tuple[str, float]]) -> float | None:
    """Return the correlation of two responses of one unit, 0-1, from (unit, value) pairs.

    One-way analysis of variance with groups of unequal size (Donner 1986, Int. Stat. Rev. 54). None
    when no unit responds twice, there is one unit only, or nothing varies.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for unit, value in responses:
        groups[unit].append(value)
    sizes = [len(group) for group in groups.values()]
    total, units = sum(sizes), len(sizes)
    if units < 2 or total <= units:
        return None
    centre = fsum(value for group in groups.values() for value in group) / total
    means = [fsum(group) / len(group) for group in groups.values()]
    between = fsum(size * (mean - centre) ** 2 for size, mean in zip(sizes, means, strict=True)) / (
        units - 1
    )
    within = fsum(
        (value - mean) ** 2
        for group, mean in zip(groups.values(), means, strict=True)
        for value in group
    ) / (total - units)
    typical = (total - sum(size * size for size in sizes) / total) / (units - 1)
    spread = between + (typical - 1.0) * within
    if spread <= 0.0:
        return None
    return min(max((between - within) / spread, 0.0), 1.0)
