"""Limits that end asking: the cost cap, and a provider that is down."""

from __future__ import annotations

FAILURES_IN_A_ROW = 10


class CostCap:
    """Reserves the dearest cost seen so far before each call, so that the cap is not passed."""

    def __init__(self, limit_nanousd: int | None) -> None:
        self._limit = limit_nanousd
        self._reserved = 0
        self._dearest = 0
        self.spent_nanousd = 0
        self.calls_of_unknown_cost = 0

    def reserve(self) -> int | None:
        """Return what is set aside for one call, None when the cap does not allow it."""
        if self._limit is not None:
            if self.spent_nanousd + self._reserved + self._dearest > self._limit:
                return None
            if self.spent_nanousd >= self._limit:
                return None
        self._reserved += self._dearest
        return self._dearest

    def settle(self, reserved: int, cost_nanousd: int | None) -> None:
        """Replace what was set aside by what the call has cost; None: nobody knows."""
        self._reserved -= reserved
        if cost_nanousd is None:
            self.calls_of_unknown_cost += 1
            return
        self.spent_nanousd += cost_nanousd
        self._dearest = max(self._dearest, cost_nanousd)


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
