"""The queue that reviewers take answers from: claim, hold, submit, skip.

Blind: neither arm, model, cost nor any other grade is shown. The server enforces how many people
review an answer; a page can only ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from llm_canary.clock import Clock, utc
from llm_canary.errors import Conflict, DataError, NotFound
from llm_canary.review.standing import (
    checked_labels,
    excluded,
    known_sample,
    material,
    refuse_excluded,
    settle,
    stored_rubric,
)
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.sample import Sample
from llm_canary.sampling import Stream, place
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories import review_seats as seats
from llm_canary.storage.repositories import reviews as queue
from llm_canary.storage.repositories.counted import SUBMITTED, same_review

LEASE_S = 900.0
GOLD_RATE = 0.05
_RACES = 5  # lost in a row, after which the queue is called busy


class Submission(NamedTuple):
    """What a reviewer says of one answer."""

    labels: Mapping[str, Any]  # criterion -> label, as rubrics and files write them
    comment: str | None = None
    corrected_response: str | None = None
    seconds_active: float | None = None


class Item(NamedTuple):
    """An answer to review, as the reviewer sees it."""

    sample_id: str
    token: str
    leased_until: datetime
    lease_s: float
    rubric: LoadedRubric
    sample: Sample


class Outcome(NamedTuple):
    """What a submission came to."""

    revision: int
    state: str  # of the item: open, done or adjudicate


class ReviewQueue:
    """Every act of a reviewer; each is one transaction."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        lease_s: float = LEASE_S,
        gold_rate: float = GOLD_RATE,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._lease_s = lease_s
        self._gold_rate = gold_rate

    def queues(self) -> list[queue.QueueCounts]:
        """Return what there is to review, by rubric."""
        with read_session(self._engine) as session:
            return queue.queues(session, self._now())

    def claim(self, rubric_id: str, reviewer: str) -> Item | None:
        """Return the next answer for the reviewer, None when there is none.

        Who comes back while they hold one gets the same again. Some are gold: their right labels
        are known, and they look like any other.
        """
        races = 0
        while races < _RACES:
            try:
                with write_session(self._engine) as session:
                    lease = self._claimed(session, rubric_id, reviewer)
                    if lease is None:
                        return None
                    item = self._item(session, lease)
                    if item is not None:
                        return item
                    # Whoever came next would be given it again, and could not grade it either.
                    seats.free_seat(session, lease.sample_id, reviewer, lease.token)
                    queue.close_unreadable(session, lease.sample_id, self._now())
            except IntegrityError:
                races += 1  # another took the seat a moment before
        raise Conflict("too many reviewers claim at once; try again", code="queue_busy")

    def hold(self, sample_id: str, token: str) -> datetime:
        """Hold the item for another lease; raise Conflict when it is another's by now."""
        now = self._now()
        until = now + timedelta(seconds=self._lease_s)
        with write_session(self._engine) as session:
            sample = known_sample(session, sample_id, lock=True)
            if not seats.extend(session, sample, token, now, until):
                raise _lost(sample_id)
        return until

    def submit(self, sample_id: str, reviewer: str, token: str, given: Submission) -> Outcome:
        """Store the review; raise Conflict when the lease is lost and no seat is free.

        A lease of gold is good for one review, because a second would be made in its knowledge.
        """
        with write_session(self._engine) as session:
            sample = known_sample(session, sample_id, lock=True)
            standing = queue.standing_of(session, sample_id, reviewer)
            if standing.is_excluded:
                raise excluded(reviewer)
            given = _checked(session, sample, given)
            if (same := same_review(session, sample_id, reviewer, given)) is not None:
                return Outcome(same, sample.review_state or queue.DONE)  # it was sent twice
            if standing.is_gold:
                may = seats.free_seat(session, sample_id, reviewer, token)
            else:
                may = seats.keep_seat(session, sample, reviewer, token, self._now())
            if not may:
                raise _lost(sample_id)
            return self._store(session, sample, reviewer, given, is_gold=standing.is_gold)

    def record(self, given: Sequence[tuple[str, str, Submission]]) -> int:
        """Store reviews (sample, reviewer, what) made elsewhere, such as in a file; all or none.

        No lease is needed, and one more than was wanted is kept too. Raise NotFound that names each
        id of no sample.
        """
        with write_session(self._engine) as session:
            unknown = [each for each, _, _ in given if queue.sample_of(session, each) is None]
            if unknown:
                more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
                raise NotFound(
                    f"there is no sample {', '.join(unknown[:5])}{more}, so nothing was stored; "
                    "`review export --open` lists the samples"
                )
            for sample_id, reviewer, what in given:
                sample = known_sample(session, sample_id, lock=True)
                try:
                    checked = _checked(session, sample, what)
                except DataError as error:
                    raise DataError(f"sample {sample_id} by {reviewer}: {error.message}") from None
                seats.give_seat(session, sample, reviewer)
                self._store(session, sample, reviewer, checked, is_gold=False)
        return len(given)

    def open_items(self, rubric_id: str, limit: int) -> list[tuple[str, Sample]]:
        """Return samples that want reviews, what counts first, with what is to be graded."""
        now = self._now()
        with read_session(self._engine) as session:
            samples = queue.open_samples(session, rubric_id, limit, now, lease_s=self._lease_s)
            found = [(each.id, material(session, each.inference_id)) for each in samples]
        return [(name, sample) for name, sample in found if sample is not None]

    def corrections(self, rubric_id: str) -> list[tuple[Sample, str]]:
        """Return the answers that reviewers have written better, with what they wrote."""
        with read_session(self._engine) as session:
            found = [
                (material(session, inference_id), corrected)
                for inference_id, corrected in queue.corrected(session, rubric_id)
            ]
        return [(sample, corrected) for sample, corrected in found if sample is not None]

    def skip(self, sample_id: str, reviewer: str, token: str, reason: str) -> None:
        """Give the item back to others; after three skips somebody has to look at it."""
        now = self._now()
        with write_session(self._engine) as session:
            sample = known_sample(session, sample_id, lock=True)
            if not seats.free_seat(session, sample_id, reviewer, token):
                raise _lost(sample_id)
            queue.add_review(
                session,
                sample_id=sample_id,
                reviewer=reviewer,
                at=now,
                status=queue.SKIPPED,
                labels={},
                comment=reason,
            )
            given = queue.given_reviews(session, sample_id).values()
            skips = sum(each.status == queue.SKIPPED for each in given)
            if skips >= queue.MAX_SKIPS and sample.review_state == queue.OPEN:
                sample.review_state = queue.ADJUDICATE
                session.add(sample)

    def make_gold(
        self, sample_id: str, labels: Mapping[str, Any], *, by: str, rationale: str
    ) -> None:
        """Let the sample measure reviewers: its right labels are these.

        Raise Conflict for one that people were asked about by chance and have not graded: what they
        say of gold is a test of them, and the gate would count it as unanswered.
        """
        with write_session(self._engine) as session:
            sample = known_sample(session, sample_id, lock=True)
            by_chance = sample.review_stream == Stream.PROBABILITY
            if by_chance and sample.review_state in (queue.OPEN, queue.ADJUDICATE):
                raise Conflict(
                    f"sample {sample_id} was drawn by chance and still wants reviews; make it gold "
                    "when they are given",
                    code="review_open",
                )
            right = checked_labels(stored_rubric(session, sample.rubric_text_id), labels)
            queue.put_gold(
                session, sample_id, labels=right, rationale=rationale, by=by, at=self._now()
            )

    def retire_gold(self, sample_id: str) -> bool:
        """Let the sample measure reviewers no more; False where it did not."""
        with write_session(self._engine) as session:
            return queue.retire_gold(session, sample_id, self._now())

    def _claimed(self, session: Session, rubric_id: str, reviewer: str) -> seats.Lease | None:
        now = self._now()
        refuse_excluded(session, reviewer)
        held = seats.held_by(session, rubric_id, reviewer, now)
        if held is not None:
            return held
        is_gold = place(f"{reviewer}/{now.isoformat()}", "gold") < self._gold_rate
        if is_gold:
            found = seats.claim_gold(session, rubric_id, reviewer, now, lease_s=self._lease_s)
            if found is not None:
                return found
        return seats.claim_review(session, rubric_id, reviewer, now, lease_s=self._lease_s)

    def _item(self, session: Session, lease: seats.Lease) -> Item | None:
        """Return what is to be graded; None where its text cannot be read (any more)."""
        rubric = stored_rubric(session, lease.rubric_text_id)
        sample = material(session, lease.inference_id)
        if sample is None:
            return None
        return Item(lease.sample_id, lease.token, lease.leased_until, self._lease_s, rubric, sample)

    def _store(
        self,
        session: Session,
        sample: Any,  # noqa: ANN401 - a row of `sample`, whose class is the storage's own
        reviewer: str,
        given: Submission,
        *,
        is_gold: bool,
    ) -> Outcome:
        now = self._now()
        revision = queue.add_review(
            session,
            sample_id=sample.id,
            reviewer=reviewer,
            at=now,
            status=SUBMITTED,
            labels=given.labels,
            comment=given.comment,
            corrected_response=given.corrected_response,
            seconds_active=given.seconds_active,
            is_gold=is_gold,
        )
        if is_gold:
            return Outcome(revision, sample.review_state or queue.DONE)
        return Outcome(revision, settle(session, sample))

    def _now(self) -> datetime:
        return utc(self._clock.now_s())


def _checked(session: Session, sample: Any, given: Submission) -> Submission:  # noqa: ANN401
    rubric = stored_rubric(session, sample.rubric_text_id)
    return given._replace(labels=checked_labels(rubric, given.labels))


def _lost(sample_id: str) -> Conflict:
    return Conflict(
        f"sample {sample_id} is another reviewer's by now, or has all its reviews; this review is "
        "not stored: claim the next one",
        code="lease_lost",
    )
