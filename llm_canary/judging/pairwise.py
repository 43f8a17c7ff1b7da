"""Pairs are always compared in both orders; judges that change their mind have seen a tie."""

from __future__ import annotations

from typing import NamedTuple

from llm_canary.judging.judgement import Judge, Pair, Preference, Preferred, Status


class Compared(NamedTuple):
    """The verdict about a pair after both orders."""

    pair_id: str
    verdict: Preferred | None  # None: at least one order has no verdict
    is_consistent: bool | None  # the same verdict in both orders
    both: tuple[Preference, Preference]  # AB, BA

    @property
    def best_known(self) -> Preferred | None:
        """The verdict, or that of the first order where the second was never recorded."""
        is_one_order = self.both[1].status is Status.MISSING
        return self.both[0].verdict if is_one_order else self.verdict


async def compare(judge: Judge, pair: Pair) -> Compared:
    """Return the reconciled verdict of one judge."""
    ab = await judge.compare(pair, "AB")
    ba = await judge.compare(pair, "BA")
    return reconcile(ab, ba)


def reconcile(ab: Preference, ba: Preference) -> Compared:
    """Return the verdict that both orders agree on, else a tie."""
    if ab.status is not Status.OK or ba.status is not Status.OK:
        return Compared(ab.pair_id, None, None, (ab, ba))
    same = ab.verdict == ba.verdict
    return Compared(ab.pair_id, ab.verdict if same else "tie", same, (ab, ba))


def first_shown_won(preference: Preference) -> bool | None:
    """Return whether the answer shown first won; None for a tie or no verdict."""
    if preference.verdict not in ("A", "B"):
        return None
    return preference.verdict == preference.order[0]
