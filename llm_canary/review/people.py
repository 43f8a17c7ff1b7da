"""How reviewers work: their count, gold accuracy, time and agreement, and who does not count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import combinations
from statistics import median
from typing import NamedTuple

from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.clock import Clock, utc
from llm_canary.errors import Conflict, NotFound
from llm_canary.review.standing import settle
from llm_canary.rubric.prompt import CANNOT_ASSESS
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories import counted
from llm_canary.storage.repositories.counted import Exclusion
from llm_canary.storage.repositories.desk import reviewers_known
from llm_canary.storage.repositories.review_counts import rubrics_asked, work_since
from llm_canary.storage.repositories.reviewed import ReviewedRow, reviewed_rows

AGREEMENT_OF = 100  # latest reviewed answers of a rubric


class Share(NamedTuple):
    """How many of how many; None of nothing is no zero."""

    part: int = 0
    total: int = 0

    @property
    def value(self) -> float | None:
        """Return the share."""
        return self.part / self.total if self.total else None


class Person(NamedTuple):
    """One reviewer's work since a day."""

    reviewer: str
    reviews: int
    skips: int
    retracted: int
    gold: Share  # labels of gold items that were right
    agreement: Share  # labels that another reviewer gave too, of those both gave
    median_s: float | None
    exclusion: Exclusion | None


class People:
    """Reports reviewers, and lets their labels count no more, or again."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def report(self, days: int) -> list[Person]:
        """Return everybody who has worked in the last days, and everybody who is excluded."""
        since = utc(self._clock.now_s()) - timedelta(days=days)
        with read_session(self._engine) as session:
            work = {each.reviewer: each for each in work_since(session, since)}
            gold = gold_shares(session, None, since)
            excluded = {each.reviewer: each for each in counted.exclusions(session)}
            agreed: dict[str, Share] = {}
            for rubric in rubrics_asked(session):
                for who, share in agreement_by_person(
                    reviewed_rows(session, rubric, AGREEMENT_OF)
                ).items():
                    agreed[who] = _sum(agreed.get(who, Share()), share)
        people = []
        for name in sorted(work.keys() | excluded.keys()):
            own = work.get(name)
            people.append(
                Person(
                    name,
                    own.reviews if own else 0,
                    own.skips if own else 0,
                    own.retracted if own else 0,
                    gold.get(name, Share()),
                    agreed.get(name, Share()),
                    median(own.seconds) if own and own.seconds else None,
                    excluded.get(name),
                )
            )
        return people

    def exclude(self, reviewer: str, *, by: str, reason: str) -> int:
        """Let a reviewer's labels count no more; return how many samples were settled anew.

        Their seats become free, so that samples which want more reviews are open again.
        """
        now = utc(self._clock.now_s())
        with write_session(self._engine) as session:
            if reviewer not in reviewers_known(session):
                raise NotFound(f"nobody called {reviewer[:80]!r} has reviewed anything")
            if counted.exclusion_of(session, reviewer) is not None:
                raise Conflict(f"the labels of {reviewer!r} do not count already")
            counted.exclude(session, reviewer, by=by, reason=reason, at=now)
            return self._settle(session, reviewer)

    def include(self, reviewer: str) -> int:
        """Let a reviewer's labels count again; return how many samples were settled anew."""
        with write_session(self._engine) as session:
            if not counted.include(session, reviewer):
                raise Conflict(f"the labels of {reviewer[:80]!r} count already")
            return self._settle(session, reviewer)

    def _settle(self, session: Session, reviewer: str) -> int:
        is_out = counted.exclusion_of(session, reviewer) is not None
        samples = counted.graded_by(session, reviewer)
        for sample in samples:
            if is_out:
                counted.free_seats(session, sample.id, reviewer)
            settle(session, sample)
        return len(samples)


def gold_shares(session: Session, reviewer: str | None, since: datetime) -> dict[str, Share]:
    """Return by reviewer how many labels of gold items were right; None: of everybody."""
    found: dict[str, Share] = defaultdict(Share)
    for who, given, right in counted.gold_reviews(session, reviewer, since):
        hits = sum(str(given.get(name)) == str(label) for name, label in right.items())
        found[who] = _sum(found[who], Share(hits, len(right)))
    return dict(found)


def agreement_by_person(rows: Iterable[ReviewedRow]) -> dict[str, Share]:
    """Return by reviewer how many of their labels each other reviewer of the answer gave too."""
    found: dict[str, Share] = defaultdict(Share)
    for row in rows:
        for (one, first), (other, second) in combinations(row.reviews.items(), 2):
            both = [
                str(first[name]) == str(second[name])
                for name in first.keys() & second.keys()
                if CANNOT_ASSESS not in {first[name], second[name]}
            ]
            for who in (one, other):
                found[who] = _sum(found[who], Share(sum(both), len(both)))
    return dict(found)


def agreement(rows: Iterable[ReviewedRow]) -> Share:
    """Return how many labels agree, of those that two people gave of the same."""
    by_person = agreement_by_person(rows).values()
    # Each comparison is counted for both of its people.
    return Share(sum(each.part for each in by_person) // 2, sum(e.total for e in by_person) // 2)


def _sum(one: Share, other: Share) -> Share:
    return Share(one.part + other.part, one.total + other.total)
