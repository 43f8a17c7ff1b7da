"""Which answers are graded: drawn by a hash, with the probability that each had. Pure.

Two streams. `probability`: every answer has a known chance, the expected number is the same for
both arms, and gates read nothing else unweighted. `targeted`: answers that are worth a look
(thumbs down, escalated, judge uncertain, outliers); they find failures, and enter an estimate only
by the inverse of their chance (Horvitz and Thompson 1952). Whether an answer is drawn depends on
its id and a salt alone, so every process that looks draws the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

import msgspec

from llm_canary.errors import DataError

PACE_WINDOW_S = 600.0
PACE_MIN_SEEN = 50
MIN_ASKED = 30  # answers about which people were asked make a period, answered or not
MIN_ANSWERED = 3  # of these, of each arm, without which nothing of the period is scored
_STEPS = 4.0  # a window has so many; a period ends with one
EVEN = 0.5  # chance that a drawn answer is of the canary, by `rates`
_SCALE = 1 << 64


class Stream(StrEnum):
    """Why an answer was drawn."""

    PROBABILITY = "probability"
    TARGETED = "targeted"


class Drawn(NamedTuple):
    """An answer that is graded, with its chances, both in (0, 1]."""

    stream: Stream
    rate: float  # of the probability stream; what gates weight its answers by
    inclusion: float  # of being drawn by either stream; what estimates over both weight by


def place(inference_id: str, salt: str) -> float:
    """Return where an answer lies in [0, 1): it is drawn by every rate above."""
    digest = hashlib.blake2b(f"{salt}\0{inference_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _SCALE


def draw(inference_id: str, salt: str, rate: float, *, targeted_rate: float = 0.0) -> Drawn | None:
    """Return the stream that draws an answer, None for neither; the probability stream goes first.

    `targeted_rate` is above 0 where the answer is worth a look. The streams use different salts,
    so that what one draws says nothing about what the other would.
    """
    for name, value in (("rate", rate), ("targeted_rate", targeted_rate)):
        if not 0.0 <= value <= 1.0:
            raise DataError(f"{name} is {value!r}; it must lie in [0, 1]")
    inclusion = rate + (1.0 - rate) * targeted_rate
    if place(inference_id, salt) < rate:
        return Drawn(Stream.PROBABILITY, rate, inclusion)
    if place(inference_id, f"{salt}/targeted") < targeted_rate:
        return Drawn(Stream.TARGETED, rate, inclusion)
    return None


class Rates(NamedTuple):
    """The chances of an answer in the probability stream, by the arm that gave it."""

    control: float
    canary: float


def rates(chance: float, share: float) -> Rates:
    """Return the rates of both arms, so that the same number is expected of each.

    `chance` is that of the arm with fewer answers, `share` the canary's part of the traffic, above
    0 and below 1. Whatever the share, a drawn answer is then of the canary with probability `EVEN`.
    """
    if not (0.0 <= chance <= 1.0 and 0.0 < share < 1.0):
        raise DataError(f"chance {chance!r} of share {share!r}: both are probabilities")
    fewer = min(share, 1.0 - share)
    return Rates(control=chance * fewer / (1.0 - share), canary=chance * fewer / share)


class Pace(msgspec.Struct, kw_only=True):
    """How fast answers come, by their own times; what is known before an answer, never of it."""

    since_s: float | None = None  # when the open window began
    seen: int = 0
    earlier_per_s: float | None = None  # of the last window that is over

    def note(self, at_s: float) -> None:
        """Count one answer; the windows are ten minutes long."""
        if self.since_s is None:
            self.since_s = at_s
        elif at_s >= self.since_s + PACE_WINDOW_S:
            self.earlier_per_s = self.seen / (at_s - self.since_s)
            self.since_s, self.seen = at_s, 0
        self.seen += 1

    def chance(self, wanted_per_s: float, share: float, now_s: float) -> float:
        """Return the chance that gives `wanted_per_s` samples of each arm; 1 until it is known.

        A burst within the open window lowers it at once, so that no quota is spent in a minute.
        """
        known = [] if self.earlier_per_s is None else [self.earlier_per_s]
        if self.since_s is not None and self.seen >= PACE_MIN_SEEN:
            known.append(self.seen / max(now_s - self.since_s, PACE_WINDOW_S / 10.0, 1.0))
        if not known:
            return 1.0
        fewer = max(known) * min(share, 1.0 - share)
        return min(1.0, wanted_per_s / fewer) if fewer > 0.0 else 1.0


class Replies(NamedTuple):
    """How many of the answers whose windows closed in one period people had graded in time.

    Of those of one arm that were asked about in one period, the answered ones are taken to be any:
    their reply rate is this period's and this arm's own, because people who never see the arm still
    skip what is long or dull, and one arm may give more of it. A period ends by how many were
    asked, never by how many answered. Pairs are [control, canary].
    """

    from_s: float
    until_s: float  # not in it
    asked: tuple[int, int]
    answered: tuple[int, int]

    @property
    def rates(self) -> tuple[float, float] | None:
        """The part of each arm's that was answered; None: of one too few to correct a judge by."""
        if min(self.answered) < MIN_ANSWERED:
            return None
        return self.answered[0] / self.asked[0], self.answered[1] / self.asked[1]

    @property
    def fewest(self) -> tuple[int, int]:
        """How many were asked and answered, of the arm with too few answers or the lower rate."""
        by = self.rates or self.answered
        canary = by[1] < by[0]
        return self.asked[canary], self.answered[canary]


def step_s(window_s: float) -> float:
    """Return the shortest period of replies to answers whose windows are so long."""
    return window_s / _STEPS


def step_end_s(at_s: float, length_s: float) -> float:
    """Return when the step ends that `at_s` lies in."""
    return (at_s // length_s + 1.0) * length_s


def periods(closed: Iterable[tuple[float, bool, bool]], length_s: float) -> list[Replies]:
    """Return the periods that are complete.

    `closed` says of each answer that people were asked about when its window closed, ascending,
    whether it is the canary's, and whether they had graded it by then; all of its steps are over.
    """
    found: list[Replies] = []
    from_s = until_s = 0.0
    asked, answered = [0, 0], [0, 0]
    for closes_s, is_canary, is_answered in closed:
        if closes_s >= until_s and sum(asked) >= MIN_ASKED:
            found.append(Replies(from_s, until_s, _pair(asked), _pair(answered)))
            asked, answered = [0, 0], [0, 0]
        if not any(asked):
            from_s = step_end_s(closes_s, length_s) - length_s
        until_s = max(until_s, step_end_s(closes_s, length_s))
        asked[is_canary] += 1
        answered[is_canary] += is_answered
    if sum(asked) >= MIN_ASKED:
        found.append(Replies(from_s, until_s, _pair(asked), _pair(answered)))
    return found


def _pair(counts: list[int]) -> tuple[int, int]:
    return counts[0], counts[1]
