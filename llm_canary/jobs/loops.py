"""A named loop in a thread of its own, which survives the errors of its step."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from llm_canary.clock import Clock

_log = logging.getLogger(__name__)
_LONGEST_BACK_OFF_S = 30.0


@dataclass(frozen=True)
class LoopStatus:
    """How a loop is doing."""

    name: str
    runs: int
    failures: int
    last_ok_s: float | None
    last_error: str | None  # None once a later run went well


class Loop:
    """Calls `step` every `interval_s`; again at once while it returns True (more to do)."""

    def __init__(
        self, name: str, step: Callable[[], bool | None], *, interval_s: float, clock: Clock
    ) -> None:
        self.name = name
        self._step = step
        self._interval_s = interval_s
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"llm-canary-{name}", daemon=True)
        self._runs = 0
        self._failures = 0
        self._last_ok_s: float | None = None
        self._last_error: str | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ask the loop to end after its present step and wait for it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def status(self) -> LoopStatus:
        """Return counts and the last error."""
        return LoopStatus(self.name, self._runs, self._failures, self._last_ok_s, self._last_error)

    def _run(self) -> None:
        back_off_s = self._interval_s
        while not self._stop.is_set():
            try:
                more = self._step()
            except Exception as error:  # noqa: BLE001 - the supervisor: a broken step must not end the loop
                self._failures += 1
                # The type names the kind of failure; messages of drivers may quote rows.
                self._last_error = (
                    f"{type(error).__name__}: {getattr(error, 'message', '')}".rstrip(": ")
                )
                _log.warning("loop %s failed: %s", self.name, self._last_error)
                _log.debug("loop %s", self.name, exc_info=True)
                back_off_s = min(max(back_off_s, 0.1) * 2, _LONGEST_BACK_OFF_S)
                self._stop.wait(back_off_s)
                continue
            self._runs += 1
            self._last_ok_s = self._clock.now_s()
            self._last_error = None
            back_off_s = self._interval_s
            if not more:
                self._stop.wait(self._interval_s)
