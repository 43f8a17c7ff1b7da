"""Limits that end asking: the cost cap, and a provider that is down."""

from __future__ import annotations

FAILURES_IN_A_ROW = 10


class CostCap:
    """Reserves the dearest cost seen so far for each call under way, so that the cap holds.

    Only calls that are made together before any cost is known can pass it.
    """

    def __init__(self, limit_nanousd: int | None, dearest_nanousd: int = 0) -> None:
        self._limit = limit_nanousd
        self._under_way = 0
        self.dearest_nanousd = dearest_nanousd  # of one call, where it was seen before too
        self.spent_nanousd = 0
        self.calls = 0
        self.calls_of_unknown_cost = 0

    def reserve(self) -> bool:
        """Return whether the cap allows one more call; if so, `settle` has to follow."""
        if self._limit is not None:
            reserved = (self._under_way + 1) * self.dearest_nanousd
            if self.spent_nanousd >= self._limit or self.spent_nanousd + reserved > self._limit:
                return False
        self._under_way += 1
        return True

    def settle(self, cost_nanousd: int | None) -> None:
        """Count what a call has cost; None: nobody knows."""
        self._under_way -= 1
        self.calls += 1
        if cost_nanousd is None:
            self.calls_of_unknown_cost += 1
            return
        self.spent_nanousd += cost_nanousd
        self.dearest_nanousd = max(self.dearest_nanousd, cost_nanousd)


class Breaker:
    """Stops asking after ten failures in a row, so that an outage ends a check in seconds."""

    def __init__(self) -> None:
        self._in_a_row = 0

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked any more."""
        return self._in_a_row >= FAILURES_IN_A_ROW

    def note(self, *, failed: bool) -> None:
        """Count one answer."""
        self._in_a_row = self._in_a_row + 1 if failed else 0
