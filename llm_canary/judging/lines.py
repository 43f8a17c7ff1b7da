"""The queue of one rubric, as one worker has met it: how much it takes at once, and when it waits.

Each rubric waits for itself: a judge that is down, or money that is spent, stops nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from llm_canary.judging.judgement import Status
from llm_canary.storage.repositories.samples import Claimed

BATCHES = (8, 512)  # smallest and largest number that is claimed at once
_QUICK_S, _SLOW_S = 1.0, 10.0
_FIRST_WAIT_S, LONGEST_WAIT_S, _LONGEST_ALONE_S = 1.0, 300.0, 3_600.0


class _Alone(NamedTuple):
    """When an answer failed last: how many others had been graded, and how long it stands back."""

    graded: int
    wait_s: float


class GivenBack(NamedTuple):
    """What is to become of answers that nobody could be asked about."""

    blamed: Sequence[Claimed] = ()  # it counts as one of their attempts
    again: Sequence[Claimed] = ()  # it does not
    after_s: float = 0.0


@dataclass(slots=True)
class Line:
    """What one worker remembers of one rubric's queue."""

    size: int = BATCHES[0]
    new_first: bool = True
    wait_until_s: float = 0.0
    _wait_s: float = 0.0
    _graded: int = 0
    _alone: dict[str, _Alone] = field(default_factory=dict)

    def wait(self, now_s: float, wait_s: float) -> None:
        """Claim nothing for a while."""
        self.wait_until_s = now_s + wait_s

    def wait_longer(self, now_s: float) -> float:
        """Claim nothing for twice as long as last time, 1 s to 5 min; return how long."""
        self._wait_s = min(max(2.0 * self._wait_s, _FIRST_WAIT_S), LONGEST_WAIT_S)
        self.wait(now_s, self._wait_s)
        return self._wait_s

    def resize(self, took_s: float) -> None:
        """Claim more at once where that was quick, fewer where it was slow."""
        low, high = BATCHES
        if took_s < _QUICK_S:
            self.size = min(2 * self.size, high)
        elif took_s > _SLOW_S:
            self.size = max(self.size // 2, low)

    def after(
        self, graded: int, unasked: Sequence[tuple[Claimed, Status]], now_s: float
    ) -> list[GivenBack]:
        """Return what is to become of those that nobody could be asked about.

        Where others were graded meanwhile it is to blame, and has so many attempts; so has one that
        fails alone, if any were graded since it last did; else it stands back, longer each time.
        Where all fail the judge is down, and everything waits.
        """
        self._graded += graded
        if not unasked:
            self._wait_s = self.wait_until_s = 0.0
            return []
        for_money = [each for each, status in unasked if status is Status.BUDGET]
        down = [each for each, status in unasked if status is not Status.BUDGET]
        waited_s = self.wait_longer(now_s)
        if graded or not down:
            self.wait_until_s = now_s
        money = GivenBack(again=for_money, after_s=_FIRST_WAIT_S)
        if down and graded:
            return [money, self._blame(down, waited_s)]
        if len(down) == 1 and down[0].attempts > 1:
            self.wait_until_s = now_s
            return [money, self._failed_alone(down[0])]
        return [money, GivenBack(again=down)]

    def forget(self, given_up: Sequence[Claimed]) -> None:
        """Let go of those that are not tried again."""
        for each in given_up:
            self._alone.pop(each.id, None)

    def _blame(self, failed: Sequence[Claimed], after_s: float) -> GivenBack:
        self._alone |= {each.id: _Alone(self._graded, LONGEST_WAIT_S) for each in failed}
        return GivenBack(blamed=failed, after_s=after_s)

    def _failed_alone(self, failed: Claimed) -> GivenBack:
        before = self._alone.get(failed.id, _Alone(self._graded, LONGEST_WAIT_S))
        if self._graded > before.graded:
            return self._blame([failed], LONGEST_WAIT_S)
        wait_s = min(2.0 * before.wait_s, _LONGEST_ALONE_S)
        self._alone[failed.id] = _Alone(self._graded, wait_s)
        return GivenBack(again=[failed], after_s=before.wait_s)
