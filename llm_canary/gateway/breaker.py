"""Leaves an upstream alone that fails again and again, so that its clients fail fast.

A breaker belongs to one model of one upstream: a canary model that fails must not stop the control
model beside it.
"""

from __future__ import annotations

from llm_canary.routing.table import Upstream

_MAX_BREAKERS = 1_000  # the models that clients of a default upstream name are not ours to choose


class Breaker:
    """Closed while attempts succeed; open for a while after so many failures in a row.

    After the pause one attempt at a time may try whether the upstream is back. Times are seconds of
    any one monotonic clock.
    """

    __slots__ = ("_failures", "_limits", "_opened_at", "_probes")

    def __init__(self, limits: Upstream) -> None:
        self._limits = limits
        self._failures = 0
        self._opened_at: float | None = None
        self._probes = False

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to remember."""
        return self._failures == 0 and self._opened_at is None

    def limit_by(self, limits: Upstream) -> None:
        """Take the limits of the table in force."""
        self._limits = limits

    def allows(self, now: float) -> bool:
        """Say whether an attempt may be made; whoever makes it must tell how it ended."""
        if self._opened_at is None:
            return True
        if self._limits.breaker_failures == 0:
            self.note_success()
            return True
        if self._probes or now < self._opened_at + self._limits.breaker_pause_s:
            return False
        self._probes = True
        return True

    def retry_after_s(self, now: float) -> float:
        """Return how long the breaker stays open."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._limits.breaker_pause_s - now)

    def note_success(self) -> None:
        """Close."""
        self._failures, self._opened_at, self._probes = 0, None, False

    def note_failure(self, now: float) -> None:
        """Count a failure; open when it is one too many, or when it was the one that tried."""
        self._failures += 1
        limit = self._limits.breaker_failures
        if limit and (self._probes or (self._opened_at is None and self._failures >= limit)):
            self._opened_at = now
        self._probes = False

    def release(self) -> None:
        """Let another attempt try: this one ended without telling anything of the upstream."""
        self._probes = False


class Breakers:
    """The breakers of one process."""

    def __init__(self) -> None:
        self._breakers: dict[tuple[str, str | None], Breaker] = {}

    def of(self, limits: Upstream, model: str | None) -> Breaker:
        """Return the breaker of `model` at the upstream."""
        key = (limits.name, model)
        breaker = self._breakers.get(key)
        if breaker is None:
            if len(self._breakers) >= _MAX_BREAKERS:
                self._forget()
            breaker = self._breakers[key] = Breaker(limits)
        breaker.limit_by(limits)
        return breaker

    def _forget(self) -> None:
        """Make room: drop those with nothing to remember, else the oldest."""
        for key in [key for key, breaker in self._breakers.items() if breaker.is_quiet]:
            del self._breakers[key]
        if len(self._breakers) >= _MAX_BREAKERS:
            del self._breakers[next(iter(self._breakers))]
