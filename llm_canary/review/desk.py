"""What one reviewer does at the page of an item: draft, lease, submit, undo, revise, reveal.

Who reviews is always the caller's own name, and the item is found by it: a token that was seen
elsewhere opens nothing. A draft is stored before anything is tried with it, so nothing that a
reviewer has entered is lost by what then happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.clock import Clock, utc
from llm_canary.errors import Conflict, NotFound
from llm_canary.review.queue import LEASE_S, Outcome, ReviewQueue, Submission
from llm_canary.review.standing import (
    checked_labels,
    known_sample,
    material,
    refuse_excluded,
    settle,
    stored_rubric,
)
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.sample import Sample
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories import desk as rows
from llm_canary.storage.repositories import reviews as queue
from llm_canary.storage.repositories.counted import RETRACTED, SUBMITTED, last_review
from llm_canary.storage.repositories.desk import Draft, Given

UNDO_S = 900.0
MAX_COMMENT, MAX_CORRECTION = 10_000, 100_000


class Entered(NamedTuple):
    """What stands in the form of an item."""

    labels: Mapping[str, Any]
    comment: str = ""
    corrected_response: str = ""
    is_flagged: bool = False
    seconds_active: float = 0.0

    @classmethod
    def of(cls, given: Given) -> Entered:
        """Return what a review says, with the time it took: work on it goes on from there."""
        return cls(
            given.labels,
            given.comment or "",
            given.corrected_response or "",
            seconds_active=given.seconds_active or 0.0,
        )

    def submission(self) -> Submission:
        """Return it as a review."""
        return Submission(
            self.labels,
            self.comment or None,
            self.corrected_response or None,
            self.seconds_active or None,
        )


class Opened(NamedTuple):
    """An item on a reviewer's desk."""

    sample_id: str
    rubric: LoadedRubric
    sample: Sample
    token: str | None  # None: never held, or given back
    left_s: float | None  # of the lease; None: it is over
    lease_s: float
    draft: Draft | None
    given: Given | None  # the reviewer's review, where it is submitted
    revealed_at: datetime | None


class Revealed(NamedTuple):
    """What was said of an item; `judge` None: no judge has graded it."""

    own: Given
    others: tuple[Given, ...]
    judge: Mapping[str, Any] | None


class Desk:
    """Every act of a reviewer at an item; each is one transaction, after the draft's own."""

    def __init__(
        self, engine: Engine, clock: Clock, reviews: ReviewQueue, *, lease_s: float = LEASE_S
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._reviews = reviews
        self._lease_s = lease_s

    def next(self, rubric_id: str, reviewer: str) -> str | None:
        """Claim the next item; return its sample, None when nothing is left."""
        item = self._reviews.claim(rubric_id, reviewer)
        if item is None:
            return None
        with write_session(self._engine) as session:
            rows.begin_draft(session, item.sample_id, reviewer, self._now())
        return item.sample_id

    def open(self, sample_id: str, reviewer: str) -> Opened:
        """Return the item; raise NotFound where it is none of the reviewer's."""
        now = self._now()
        with read_session(self._engine) as session:
            sample = self._own(session, sample_id, reviewer)
            seat = rows.seat_of(session, sample_id, reviewer)
            found = material(session, sample.inference_id)
            if found is None:
                raise NotFound(f"the text of sample {sample_id} is not kept any more")
            last = self._last(session, sample_id, reviewer)
            left_s = None
            if seat is not None and seat.leased_until is not None and seat.leased_until > now:
                left_s = (seat.leased_until - now).total_seconds()
            return Opened(
                sample_id,
                stored_rubric(session, sample.rubric_text_id),
                found,
                None if seat is None else seat.token,
                left_s,
                self._lease_s,
                rows.draft_of(session, sample_id, reviewer),
                last if last is not None and last.status == SUBMITTED else None,
                rows.revealed_at(session, sample_id, reviewer),
            )

    def autosave(
        self, sample_id: str, reviewer: str, entered: Entered, *, known: int | None
    ) -> int:
        """Store a draft while its author works; Conflict where they have submitted or skipped.

        What arrives after that would else be left as a draft of nothing.
        """
        with write_session(self._engine) as session:
            self._own(session, sample_id, reviewer, lock=True)
            last = last_review(session, sample_id, reviewer)
            if last is not None and last.status == SUBMITTED:
                raise Conflict("this review is submitted already", code="submitted")
            is_skipped = last is not None and last.status == queue.SKIPPED
            if is_skipped and rows.seat_of(session, sample_id, reviewer) is None:
                raise Conflict("you have given this answer to others already", code="skipped")
            return self._put(session, sample_id, reviewer, entered, known)

    def keep(self, sample_id: str, reviewer: str, entered: Entered, *, known: int | None) -> int:
        """Store a draft and return its revision; raise Conflict where another tab has a newer one.

        No lease is needed. `known` is the revision that the form began with, None to overwrite.
        """
        with write_session(self._engine) as session:
            self._own(session, sample_id, reviewer)
            return self._put(session, sample_id, reviewer, entered, known)

    def hold(self, sample_id: str, reviewer: str) -> float:
        """Hold the item for another lease; return its seconds. Conflict: it is lost."""
        with read_session(self._engine) as session:
            seat = rows.seat_of(session, sample_id, reviewer)
        if seat is None or seat.leased_until is None:
            raise _lost(sample_id)
        until = self._reviews.hold(sample_id, seat.token)
        return (until - self._now()).total_seconds()

    def claim_again(self, sample_id: str, reviewer: str) -> None:
        """Lease this very item again after the lease was lost; Conflict: it has all its reviews."""
        now = self._now()
        with write_session(self._engine) as session:
            sample = known_sample(session, sample_id, lock=True)
            self._own(session, sample_id, reviewer)
            refuse_excluded(session, reviewer)
            last = self._last(session, sample_id, reviewer)
            if last is not None and last.status == SUBMITTED:
                raise Conflict("you have reviewed this answer already; revise that review")
            if not rows.lease_again(session, sample, reviewer, now, self._until(now)):
                raise Conflict(
                    "this answer has got all its reviews from others; your draft stays with you, "
                    "and the next answer waits",
                    code="lease_lost",
                )

    def submit(self, sample_id: str, reviewer: str, token: str, entered: Entered) -> Outcome:
        """Store the review; where that fails, the draft is kept."""
        self.keep(sample_id, reviewer, entered, known=None)
        done = self._reviews.submit(sample_id, reviewer, token, entered.submission())
        self._finish(sample_id, reviewer, is_flagged=entered.is_flagged)
        return done

    def skip(
        self, sample_id: str, reviewer: str, token: str, reason: str, entered: Entered
    ) -> None:
        """Give the item back to others; the flag and the comment stay with it, labels do not."""
        self.autosave(sample_id, reviewer, entered, known=None)
        with read_session(self._engine) as session:
            seat = rows.seat_of(session, sample_id, reviewer)
        if seat is None or seat.token != token:
            raise _lost(sample_id)
        said = f"{reason}: {entered.comment}" if entered.comment else reason
        self._reviews.skip(sample_id, reviewer, token, said)
        self._finish(sample_id, reviewer, is_flagged=entered.is_flagged)

    def undoable(self, reviewer: str) -> Given | None:
        """Return the review that `undo` would take back."""
        with read_session(self._engine) as session:
            return self._undoable(session, reviewer)

    def undo(self, reviewer: str) -> Given:
        """Take back the last review, within a quarter of an hour; its item is leased again.

        The review is retracted by a revision of its own, and counts no more; what it said becomes
        the draft. Who was shown what others said cannot undo: a revision tells more.
        """
        now = self._now()
        with write_session(self._engine) as session:
            given = self._undoable(session, reviewer)
            if given is None:
                raise Conflict(
                    "there is no review of yours from the last 15 minutes to undo; revise an "
                    "earlier one in your history",
                    code="nothing_to_undo",
                )
            sample = known_sample(session, given.sample_id, lock=True)
            last = last_review(session, given.sample_id, reviewer)
            if last is None or last.id != given.id:
                raise Conflict("the review was undone or revised a moment ago")
            queue.add_review(
                session,
                sample_id=sample.id,
                reviewer=reviewer,
                at=now,
                status=RETRACTED,
                labels={},
                is_gold=given.is_gold,
            )
            rows.lease_again(session, sample, reviewer, now, self._until(now))
            if not given.is_gold:
                settle(session, sample)
            draft = Draft(1, now, *Entered.of(given))
            rows.put_draft(session, sample.id, reviewer, draft, known=None)
        return given

    def revise(self, sample_id: str, reviewer: str, entered: Entered) -> Outcome:
        """Store a new revision of a submitted review.

        After the reveal it is no longer blind: it is stored, does not count, and asks for a
        decision.
        """
        now = self._now()
        with write_session(self._engine) as session:
            sample = known_sample(session, sample_id, lock=True)
            last = self._last(session, sample_id, reviewer)
            if last is None or last.status != SUBMITTED:
                raise NotFound(f"you have no review of sample {sample_id} to revise")
            refuse_excluded(session, reviewer)
            labels = checked_labels(stored_rubric(session, sample.rubric_text_id), entered.labels)
            is_informed = rows.revealed_at(session, sample_id, reviewer) is not None
            what = entered.submission()
            revision = queue.add_review(
                session,
                sample_id=sample_id,
                reviewer=reviewer,
                at=now,
                status=SUBMITTED,
                labels=labels,
                comment=what.comment,
                corrected_response=what.corrected_response,
                seconds_active=what.seconds_active,
                is_gold=last.is_gold,
            )
            if entered.is_flagged:
                rows.put_flag(session, sample_id, reviewer, now)
            if last.is_gold:
                return Outcome(revision, sample.review_state or queue.DONE)
            asks = is_informed and labels != dict(last.labels)
            return Outcome(revision, settle(session, sample, to_adjudicate=asks))

    def reveal(self, sample_id: str, reviewer: str) -> None:
        """Let the reviewer of a submitted review see what the judge and others said."""
        with write_session(self._engine) as session:
            last = self._last(session, sample_id, reviewer)
            if last is None or last.status != SUBMITTED:
                raise Conflict("review the answer first: until then you are blind to others")
            rows.put_reveal(session, sample_id, reviewer, self._now())

    def revealed(self, sample_id: str, reviewer: str) -> Revealed:
        """Return what was said of the item; raise Conflict before `reveal`."""
        with read_session(self._engine) as session:
            if rows.revealed_at(session, sample_id, reviewer) is None:
                raise Conflict("what others said is shown once you ask for it, after your review")
            sample = known_sample(session, sample_id)
            last = {each.reviewer: each for each in rows.reviews_of(session, sample_id)}
            own = last.pop(reviewer)
            others = tuple(each for each in last.values() if each.status == SUBMITTED)
            return Revealed(own, others, rows.judged(session, sample))

    def _finish(self, sample_id: str, reviewer: str, *, is_flagged: bool) -> None:
        with write_session(self._engine) as session:
            rows.drop_draft(session, sample_id, reviewer)
            if is_flagged:
                rows.put_flag(session, sample_id, reviewer, self._now())

    def _put(
        self, session: Session, sample_id: str, reviewer: str, entered: Entered, known: int | None
    ) -> int:
        stored = rows.draft_of(session, sample_id, reviewer)
        revision = (stored.revision if stored else 0) + 1
        draft = Draft(revision, self._now(), *entered)
        expected = known if stored is not None else None
        if not rows.put_draft(session, sample_id, reviewer, draft, known=expected):
            raise Conflict(
                "another tab has saved a newer draft of this item; reload to go on with it",
                code="draft_newer",
            )
        return revision

    def _own(self, session: Session, sample_id: str, reviewer: str, *, lock: bool = False) -> Any:  # noqa: ANN401
        """Return the sample of an item that the reviewer holds, held or has reviewed."""
        sample = queue.sample_of(session, sample_id, lock=lock)
        is_own = sample is not None and (
            rows.seat_of(session, sample_id, reviewer) is not None
            or rows.draft_of(session, sample_id, reviewer) is not None
            or last_review(session, sample_id, reviewer) is not None
        )
        if not is_own:
            raise NotFound(f"sample {sample_id[:80]!r} is no item of yours; take the next one")
        return sample

    def _last(self, session: Session, sample_id: str, reviewer: str) -> Given | None:
        own = [each for each in rows.reviews_of(session, sample_id) if each.reviewer == reviewer]
        return own[-1] if own else None

    def _undoable(self, session: Session, reviewer: str) -> Given | None:
        last = rows.last_given(session, reviewer)
        if last is None or last.status != SUBMITTED:
            return None
        is_old = (self._now() - last.at).total_seconds() > UNDO_S
        is_informed = rows.revealed_at(session, last.sample_id, reviewer) is not None
        return None if is_old or is_informed else last

    def _until(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self._lease_s)

    def _now(self) -> datetime:
        return utc(self._clock.now_s())


def _lost(sample_id: str) -> Conflict:
    return Conflict(
        f"you do not hold sample {sample_id[:80]} any more; your draft is kept: claim it again",
        code="lease_lost",
    )
