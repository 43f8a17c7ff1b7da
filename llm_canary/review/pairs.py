"""Pairwise review: which of two answers to the same prompt is better.

A user is served by one arm, so live traffic has pairs only where the same request came to both
arms. Those are found, one pair a prompt; others are imported from files. Which answer is shown
first is drawn by a hash of pair and reviewer and stored, so that a leaning to the first is seen.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from llm_canary.clock import Clock, utc
from llm_canary.errors import Conflict, InvalidRequest, NotFound
from llm_canary.review.queue import LEASE_S
from llm_canary.review.standing import material, refuse_excluded, stored_rubric
from llm_canary.rubric.keep import keep
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.sample import Sample
from llm_canary.sampling import place
from llm_canary.stats.corrected import Interval, proportion_interval
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories import pairs as rows
from llm_canary.storage.repositories.counted import exclusions
from llm_canary.storage.repositories.rubrics import keep_rubric

LOOK_BACK = 5_000  # drawn answers that are searched for pairs
CHOICES = ("a", "b", rows.TIE, rows.BOTH_BAD)
_RACES = 5
_OTHER = {"a": "b", "b": "a"}
_ARMS = ("control", "canary")
_Key = TypeVar("_Key", bound=Hashable)


class PairEntry(NamedTuple):
    """A pair of a file; the arms are hidden from reviewers, and may be unknown."""

    id: str
    messages: list[dict[str, str]]  # the last one is the prompt
    a: str
    b: str
    arm_a: str | None = None
    arm_b: str | None = None


class OpenedPair(NamedTuple):
    """A pair on a reviewer's desk: `first` and `second` are A and B of the page."""

    id: str
    rubric: LoadedRubric
    prompt: Sample  # its response is the first answer
    first: str
    second: str
    token: str | None
    left_s: float | None
    lease_s: float
    preferred: str | None  # of the page: a, b, tie, both_bad


class Choice(NamedTuple):
    """What a reviewer says of a pair, in the sides of the page."""

    preferred: str
    criteria: Mapping[str, str] = {}
    comment: str | None = None
    seconds_active: float | None = None


class PairReport(NamedTuple):
    """What people prefer; one majority a pair, so that every pair counts once."""

    pairs: int
    preferences: int
    canary: int
    control: int
    tie: int
    both_bad: int
    divided: int
    unknown_arm: int  # pairs of files that do not say which arm is which
    win_rate: Interval | None  # of the canary, where one of the two was preferred
    first_rate: Interval | None  # how often the one shown first was preferred
    left_out: int  # preferences of excluded reviewers


class Pairs:
    """Every act on pairs; each is one transaction."""

    def __init__(self, engine: Engine, clock: Clock, *, lease_s: float = LEASE_S) -> None:
        self._engine = engine
        self._clock = clock
        self._lease_s = lease_s

    def claim(self, rubric_id: str, reviewer: str) -> str | None:
        """Return the next pair for the reviewer; looks for live pairs when none is left."""
        found = self._claim(rubric_id, reviewer)
        if found is None and self.find_live(rubric_id):
            found = self._claim(rubric_id, reviewer)
        return found

    def find_live(self, rubric_id: str) -> int:
        """Make pairs of drawn answers of both arms to the same request; return how many."""
        with read_session(self._engine) as session:
            made = _live_pairs(session, rubric_id)
        if not made:
            return 0
        with write_session(self._engine) as session:
            return rows.add_pairs(session, made, utc(self._clock.now_s()))

    def add(
        self, entries: Iterable[PairEntry], rubric: LoadedRubric, *, source: str, wanted: int = 1
    ) -> int:
        """Store the pairs of a file; those that are there already stay. Return how many came."""
        now, text = utc(self._clock.now_s()), keep(rubric)
        new = [
            rows.NewPair(
                rubric.rubric.id,
                text.id,
                source,
                _digest(each.id, str(each.messages), each.a, each.b),
                each.messages,
                each.a,
                each.b,
                arm_a=each.arm_a,
                arm_b=each.arm_b,
                wanted=wanted,
            )
            for each in entries
        ]
        with write_session(self._engine) as session:
            keep_rubric(
                session,
                text_id=text.id,
                rubric_id=rubric.rubric.id,
                version=rubric.rubric.version,
                content_hash=rubric.content_hash,
                text=text.text,
                at=now,
            )
            return rows.add_pairs(session, new, now)

    def open(self, pair_id: str, reviewer: str) -> OpenedPair:
        """Return the pair; raise NotFound where it is none of the reviewer's."""
        now = utc(self._clock.now_s())
        with read_session(self._engine) as session:
            pair = rows.pair_of(session, pair_id)
            seat = rows.pair_seat_of(session, pair_id, reviewer)
            said = rows.preference_of(session, pair_id, reviewer)
            if pair is None or (seat is None and said is None):
                raise NotFound(f"pair {pair_id[:80]!r} is none of yours; take the next one")
            prompt, a, b = _texts(session, pair)
            is_a_first = _first(pair_id, reviewer) == "a"
            until = seat[1] if seat else None
            return OpenedPair(
                pair_id,
                stored_rubric(session, pair.rubric_text_id or ""),
                prompt,
                a if is_a_first else b,
                b if is_a_first else a,
                seat[0] if seat else None,
                (until - now).total_seconds() if until is not None and until > now else None,
                self._lease_s,
                said if said is None or is_a_first else _OTHER.get(said, said),
            )

    def hold(self, pair_id: str, reviewer: str) -> float:
        """Hold the pair for another lease; return its seconds. Conflict: it is lost."""
        until = utc(self._clock.now_s()) + timedelta(seconds=self._lease_s)
        with write_session(self._engine) as session:
            if not rows.extend_pair(session, pair_id, reviewer, until):
                raise _lost(pair_id)
        return self._lease_s

    def prefer(self, pair_id: str, reviewer: str, token: str, choice: Choice) -> str:
        """Store a preference and return the pair's rubric; the same one twice is stored once."""
        if choice.preferred not in (*CHOICES, rows.CANNOT_ASSESS):
            raise InvalidRequest(
                f"{choice.preferred[:40]!r} is no preference; expected {', '.join(CHOICES)}",
                param="preferred",
            )
        first, now = _first(pair_id, reviewer), utc(self._clock.now_s())
        with write_session(self._engine) as session:
            pair = rows.pair_of(session, pair_id, lock=True)
            if pair is None:
                raise NotFound(f"there is no pair {pair_id[:80]!r}")
            refuse_excluded(session, reviewer)
            preferred = _stored(choice.preferred, first)
            said = rows.preference_of(session, pair_id, reviewer)
            if said is not None:
                if said == preferred:
                    return pair.rubric_id
                raise Conflict("you have said which of the two you prefer already")
            seat = rows.pair_seat_of(session, pair_id, reviewer)
            if seat is None or seat[0] != token:
                raise _lost(pair_id)
            rubric = stored_rubric(session, pair.rubric_text_id or "").rubric
            known = {each.id for each in rubric.asked}
            rows.give_preference(
                session,
                {
                    "pair_id": pair_id,
                    "reviewer": reviewer,
                    "at": now,
                    "shown_first": first,
                    "preferred": preferred,
                    "criteria": {
                        name: _stored(side, first)
                        for name, side in choice.criteria.items()
                        if name in known and side in {"a", "b", rows.TIE}
                    },
                    "comment": choice.comment,
                    "seconds_active": choice.seconds_active,
                },
            )
            return pair.rubric_id

    def report(self, rubric_id: str) -> PairReport:
        """Return what people prefer."""
        with read_session(self._engine) as session:
            given = list(rows.preferences(session, rubric_id))
            out = {each.reviewer for each in exclusions(session)}
        return pair_report([each for each in given if each.reviewer not in out], len(given))

    def export_rows(self, rubric_id: str) -> list[dict[str, Any]]:
        """Return every preference as a row of a file."""
        with read_session(self._engine) as session:
            return [
                each._asdict() | {"at": each.at.isoformat(), "criteria": dict(each.criteria)}
                for each in rows.preferences(session, rubric_id)
            ]

    def _claim(self, rubric_id: str, reviewer: str) -> str | None:
        for _ in range(_RACES):
            now = utc(self._clock.now_s())
            try:
                with write_session(self._engine) as session:
                    refuse_excluded(session, reviewer)
                    name = self._readable(session, rubric_id, reviewer, now)
            except IntegrityError:
                continue  # another took the seat a moment before
            return name
        raise Conflict("too many reviewers claim at once; try again", code="queue_busy")

    def _readable(
        self, session: Session, rubric_id: str, reviewer: str, now: datetime
    ) -> str | None:
        """Claim the next pair whose texts are kept still; the others are dropped."""
        while True:
            name = rows.claim_pair(session, rubric_id, reviewer, now, lease_s=self._lease_s)
            pair = None if name is None else rows.pair_of(session, name)
            if pair is None:
                return None
            try:
                _texts(session, pair)
            except NotFound:
                rows.drop_pair(session, pair.id)
                continue
            return name


def pair_report(given: list[rows.Preferred], total: int) -> PairReport:
    """Return the report of preferences that count."""
    by_pair: dict[str, list[rows.Preferred]] = defaultdict(list)
    for each in given:
        if each.preferred != rows.CANNOT_ASSESS:
            by_pair[each.pair_id].append(each)
    results: Counter[str] = Counter()
    for own in by_pair.values():
        results[_result(own)] += 1
    chosen = [each for own in by_pair.values() for each in own if each.preferred in _OTHER]
    first = sum(each.preferred == each.shown_first for each in chosen)
    decided = results["canary"] + results["control"]
    return PairReport(
        pairs=len(by_pair),
        preferences=sum(map(len, by_pair.values())),
        canary=results["canary"],
        control=results["control"],
        tie=results[rows.TIE],
        both_bad=results[rows.BOTH_BAD],
        divided=results["divided"],
        unknown_arm=results["unknown"],
        win_rate=proportion_interval(results["canary"], decided) if decided else None,
        first_rate=proportion_interval(first, len(chosen)) if chosen else None,
        left_out=total - len(given),
    )


def _result(own: list[rows.Preferred]) -> str:
    """Return the arm that most prefer, or tie, both_bad, divided, unknown."""
    [(most, n), *more] = Counter(each.preferred for each in own).most_common(2)
    if more and more[0][1] == n:
        return "divided"
    if most not in _OTHER:
        return most
    return {"a": own[0].arm_a, "b": own[0].arm_b}[most] or "unknown"


def _live_pairs(session: Session, rubric_id: str) -> list[rows.NewPair]:
    """Return one new pair for each request that both arms of a rollout have answered differently.

    Thousands of long texts would fill the memory: requests of equal size are compared by their
    digests, and the answers of those that are the same only.
    """
    answers = rows.live_answers(session, rubric_id, LOOK_BACK)
    by_size = _of_both_arms(answers, lambda each: (each.rollout_id, each.route, each.size))
    alike = {each.inference_id: each for own in by_size.values() for each in own}
    keys: dict[str, str] = {}
    for name, request in rows.request_texts(session, list(alike)):
        one = alike[name]
        keys[name] = _digest(one.rollout_id, _digest(str(one.route), request))
    same = _of_both_arms(
        [each for each in alike.values() if each.inference_id in keys],
        lambda each: keys[each.inference_id],
    )
    known = rows.known_keys(session, rubric_id, list(same))
    new = {key: {each.arm: each for each in own} for key, own in same.items() if key not in known}
    asked = [arms[name].inference_id for arms in new.values() for name in _ARMS]
    said = {name: _digest(text) for name, text in rows.response_texts(session, asked)}
    return [
        rows.NewPair(
            rubric_id,
            arms["control"].rubric_text_id,
            rows.LIVE,
            key,
            inference_a=arms["control"].inference_id,
            inference_b=arms["canary"].inference_id,
            arm_a="control",
            arm_b="canary",
        )
        for key, arms in new.items()
        if len({said.get(arms[name].inference_id) for name in _ARMS}) > 1
    ]


def _of_both_arms(
    answers: Iterable[rows.LiveAnswer], key: Callable[[rows.LiveAnswer], _Key]
) -> dict[_Key, list[rows.LiveAnswer]]:
    """Return by `key` the answers of which there are some of each arm."""
    found: dict[_Key, list[rows.LiveAnswer]] = defaultdict(list)
    for each in answers:
        found[key(each)].append(each)
    return {
        name: own for name, own in found.items() if {each.arm for each in own}.issuperset(_ARMS)
    }


def _texts(session: Session, pair: rows.PairRecord) -> tuple[Sample, str, str]:
    """Return the prompt, a and b; raise NotFound when they are not kept any more."""
    if pair.messages is not None:
        prompt = Sample(
            pair.id,
            pair.messages[-1]["content"] if pair.messages else "",
            pair.response_a or "",
            history=pair.messages[:-1],
        )
        return prompt, pair.response_a or "", pair.response_b or ""
    a = material(session, pair.inference_a or "")
    b = material(session, pair.inference_b or "")
    if a is None or b is None:
        raise NotFound(f"the texts of pair {pair.id} are not kept any more")
    return a, a.response, b.response


def _first(pair_id: str, reviewer: str) -> str:
    return "a" if place(f"{pair_id}/{reviewer}", "side") < 0.5 else "b"


def _stored(side: str, first: str) -> str:
    """Return a side of the page as the pair is stored: A of the page is what is shown first."""
    return side if first == "a" else _OTHER.get(side, side)


def _digest(*parts: str) -> str:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()


def _lost(pair_id: str) -> Conflict:
    return Conflict(
        f"you do not hold pair {pair_id[:80]} any more; take the next one", code="lease_lost"
    )
