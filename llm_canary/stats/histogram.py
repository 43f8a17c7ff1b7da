"""Quantiles without keeping values: counts in bins 2 % wide, the same everywhere, so they add."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from math import exp, floor, inf, isfinite, log

import msgspec

from llm_canary.errors import DataError

_LOG_WIDTH = log(1.02)
_decoder = msgspec.msgpack.Decoder(list[int])
_LOWEST, _HIGHEST = floor(log(1e-9) / _LOG_WIDTH), floor(log(1e15) / _LOG_WIDTH)


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
        """Return the form to store: zeros, then bin and count in turn, as msgpack."""
        flat = [self.zeros]
        for bin_ in sorted(self.bins):
            flat += (bin_, self.bins[bin_])
        return msgspec.msgpack.encode(flat)

    @classmethod
    def unpacked(cls, data: bytes) -> LogHistogram:
        """Return the histogram that `packed` made `data` of."""
        flat = _decoder.decode(data)
        return cls(Counter(dict(zip(flat[1::2], flat[2::2], strict=True))), flat[0])


def bin_of(value: float) -> int:
    """Return the bin of a positive value."""
    bin_ = floor(log(value) / _LOG_WIDTH)
    return bin_ if _LOWEST <= bin_ <= _HIGHEST else min(max(bin_, _LOWEST), _HIGHEST)


def _middle(bin_: int) -> float:
    return exp((bin_ + 0.5) * _LOG_WIDTH)
