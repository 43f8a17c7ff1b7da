"""Quantiles without keeping values: counts in bins 2 % wide, the same everywhere, so they add."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import exp, floor, inf, isfinite, log

import numpy as np

from llm_canary.errors import DataError

_LOG_WIDTH = log(1.02)
_LOWEST, _HIGHEST = floor(log(1e-9) / _LOG_WIDTH), floor(log(1e15) / _LOG_WIDTH)
_ZERO, _MOST = -(2**15), 2**32 - 1


@dataclass(slots=True)
class LogHistogram:
    """Counts of values >= 0 in bins [1.02^b, 1.02^(b+1)).

    Memory is bounded by the range 1e-9 to 1e15 (2,800 bins), not by the traffic.
    """

    bins: Counter[int] = field(default_factory=Counter)
    zeros: int = 0

    def add(self, value: float, count: int = 1) -> None:
        """Count `value`, in the metric's unit; values beyond the range count in the last bin."""
        if not (isfinite(value) and value >= 0.0):
            raise DataError(f"value is {value!r}; a histogram takes finite values from 0 on")
        if count < 0:
            raise DataError(f"count is {count!r}; it cannot be negative")
        if value == 0.0:
            self.zeros += count
        else:
            self.bins[bin_of(value)] += count

    def extend(self, values: Iterable[float]) -> None:
        """Count each of `values`."""
        found = list(values)
        for value in found:
            if not 0.0 <= value < inf:
                self.add(value)  # which says what is wrong
        self.bins.update(map(bin_of, filter(None, found)))
        self.zeros += found.count(0.0)

    def __add__(self, other: LogHistogram) -> LogHistogram:
        return LogHistogram(self.bins + other.bins, self.zeros + other.zeros)

    def merge(self, other: LogHistogram) -> None:
        """Add the counts of `other` to this histogram."""
        self.bins.update(other.bins)
        self.zeros += other.zeros

    @property
    def count(self) -> int:
        """Return how many values were counted."""
        return self.zeros + self.bins.total()

    def quantile(self, q: float) -> float | None:
        """Return the q-quantile within 1 % of its value; None when nothing was counted."""
        if not 0.0 <= q <= 1.0:
            raise DataError(f"quantile {q!r} is not between 0 and 1")
        total = self.count
        if total == 0:
            return None
        rank = q * (total - 1)
        if rank < self.zeros:
            return 0.0
        bins = sorted(self.bins)
        upto = list(accumulate(map(self.bins.__getitem__, bins), initial=self.zeros))
        return _middle(bins[bisect_right(upto, rank) - 1])

    def cells(self) -> list[tuple[float, int]]:
        """Return (middle of the bin, count) in ascending order; zeros come first."""
        head = [(0.0, self.zeros)] if self.zeros else []
        return head + [
            (_middle(bin_), self.bins[bin_]) for bin_ in sorted(self.bins) if self.bins[bin_]
        ]

    def packed(self) -> bytes:
        """Return the form to store: all bins, then their counts; zeros are a bin below all others.

        Numbers of one width, so that many of them are added up without making objects of them.
        """
        bins = [bin_ for bin_ in sorted(self.bins) if self.bins[bin_]]
        counts = [self.bins[bin_] for bin_ in bins]
        if self.zeros:
            bins, counts = [_ZERO, *bins], [self.zeros, *counts]
        most = (min(count, _MOST) for count in counts)
        return struct.pack(f"<{len(bins)}h{len(bins)}I", *bins, *most)

    @classmethod
    def unpacked(cls, data: bytes) -> LogHistogram:
        """Return the histogram that `packed` made `data` of."""
        bins, counts = _arrays(data)
        return cls._of(bins.tolist(), counts.tolist())

    @classmethod
    def sum_of(cls, packed: Iterable[bytes]) -> LogHistogram:
        """Return the sum of packed histograms, whose bins may be thousands."""
        bins, counts = _arrays(_joined(list(packed)))
        if not len(bins):
            return cls()
        places = bins.astype(np.int64) - _ZERO
        sums = np.bincount(places, weights=counts)  # floats: exact to 2^53
        found = np.flatnonzero(sums)
        return cls._of((found + _ZERO).tolist(), sums[found].astype(np.int64).tolist())

    @classmethod
    def _of(cls, bins: list[int], counts: list[int]) -> LogHistogram:
        made = cls(Counter(dict(zip(bins, counts, strict=True))))
        made.zeros = made.bins.pop(_ZERO, 0)
        return made


def packed_quantile(data: bytes, q: float) -> float | None:
    """Return what `quantile` returns of the unpacked histogram, in a tenth of the time."""
    bins, counts = _arrays(data)
    if not len(bins):
        return None
    upto = counts.cumsum(dtype=np.int64)
    bin_ = int(bins[upto.searchsorted(q * (upto[-1] - 1), side="right")])
    return 0.0 if bin_ == _ZERO else _middle(bin_)


def packed_quantiles(packed: Sequence[bytes], qs: Sequence[float]) -> list[list[float | None]]:
    """Return for each of `qs` what `packed_quantile` returns of each; all are read in one go."""
    places = [place for place, data in enumerate(packed) if data]
    found: list[list[float | None]] = [[None] * len(packed) for _ in qs]
    if not places:
        return found
    bins, counts = _arrays(_joined(packed))
    upto = counts.cumsum(dtype=np.int64)
    last = upto[np.array([len(packed[place]) // 6 for place in places]).cumsum() - 1]
    before = np.concatenate(([0], last[:-1]))
    for q, own in zip(qs, found, strict=True):
        # The first bin up to which there are more values than the rank; ranks begin with 0.
        least = np.floor(q * (last - before - 1)).astype(np.int64) + 1 + before
        for place, bin_ in zip(places, bins[upto.searchsorted(least)].tolist(), strict=True):
            own[place] = 0.0 if bin_ == _ZERO else _middle(bin_)
    return found


def _joined(packed: Sequence[bytes]) -> bytes:
    """Return the bins of all, then the counts of all."""
    bins = [data[: len(data) // 3] for data in packed]
    return b"".join(bins + [data[len(data) // 3 :] for data in packed])


def _arrays(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    size = len(data) // 6
    return np.frombuffer(data, "<i2", size), np.frombuffer(data, "<u4", size, 2 * size)


def bin_of(value: float) -> int:
    """Return the bin of a positive value."""
    bin_ = floor(log(value) / _LOG_WIDTH)
    return bin_ if _LOWEST <= bin_ <= _HIGHEST else min(max(bin_, _LOWEST), _HIGHEST)


def _middle(bin_: int) -> float:
    return exp((bin_ + 0.5) * _LOG_WIDTH)
