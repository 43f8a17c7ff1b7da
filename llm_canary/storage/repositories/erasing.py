"""Takes texts and persons out of what is stored; sums, decisions and history stay.

Three depths: `clear_texts` leaves the facts of a request, `forget_persons` leaves facts that are
nobody's, `delete_rows` leaves nothing of it. Each does the same again without harm.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, delete, func, or_, select, text, update
from sqlmodel import Session, col

from llm_canary.storage.models.grading import GoldItem, Judgement, Review, ReviewSeat, Sample
from llm_canary.storage.models.inferences import HAS_TEXT, Inference, Outcome, ScoreTask
from llm_canary.storage.models.reviewing import (
    Adjudication,
    DatasetRow,
    PairPreference,
    PairSeat,
    ReviewDraft,
    ReviewFlag,
    ReviewPair,
    ReviewReveal,
)
from llm_canary.storage.models.scoring import UnitStat
from llm_canary.storage.repositories.pairs import DROPPED
from llm_canary.storage.repositories.reviews import ADJUDICATE, DONE, OPEN
from llm_canary.telemetry.events import TargetKind

_OF_SAMPLE = (
    *(ReviewSeat, ReviewDraft, ReviewFlag, ReviewReveal, Review, Adjudication),
    *(GoldItem, Judgement),
)
_NO_TEXT_POLICIES = ("none", "hash")


class ErasingRepository:
    """Reads and writes on one session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def with_text(self, route: str | None, before: datetime, limit: int) -> list[str]:
        """Return inferences of a route, or of any, that are older and still have a text."""
        query = select(col(Inference.id)).where(text(f"({HAS_TEXT})"), col(Inference.at) < before)
        if route is not None:
            query = query.where(col(Inference.route) == route)
        return list(self.session.execute(query.limit(limit)).scalars())

    def of_unit(self, unit_hash: str, after: str, limit: int) -> list[str]:
        """Return the next inferences of a unit or session, in the order of their ids."""
        query = (
            select(col(Inference.id))
            .where(_is_of(unit_hash), col(Inference.id) > after)
            .order_by(col(Inference.id))
            .limit(limit)
        )
        return list(self.session.execute(query).scalars())

    def rows_before(
        self, route: str, span: tuple[str, str], keep: Collection[str], limit: int
    ) -> list[str]:
        """Return the next inferences of a route between two ids, but not of the rollouts `keep`."""
        query = (
            select(col(Inference.id))
            .where(
                col(Inference.id) > span[0],
                col(Inference.id) < span[1],
                col(Inference.route) == route,
                or_(col(Inference.rollout_id).is_(None), col(Inference.rollout_id).not_in(keep)),
            )
            .order_by(col(Inference.id))
            .limit(limit)
        )
        return list(self.session.execute(query).scalars())

    def count_unit(self, unit_hash: str) -> tuple[int, int, int]:
        """Return how many inferences, texts and comments belong to a unit or session."""
        return self._count(_is_of(unit_hash))

    def count_request(self, request_id: str) -> tuple[int, int, int]:
        """Return the same of one request."""
        return self._count(col(Inference.id) == request_id)

    def count_before(self, before: datetime) -> tuple[int, int, int]:
        """Return the same of what is older and still has a text."""
        return self._count(and_(text(f"({HAS_TEXT})"), col(Inference.at) < before))

    def clear_texts(self, ids: Sequence[str]) -> int:
        """Remove every text about these inferences; return how many comments went."""
        self._run(
            update(Inference)
            .where(col(Inference.id).in_(ids))
            .values(request_text=None, response_text=None)
        )
        samples = self._samples(ids)
        self._clear_grades(samples)
        self._clear_reviews(samples)
        # Rows of datasets are called by the request whose prompt and better answer they are.
        self._run(delete(DatasetRow).where(col(DatasetRow.name).in_(ids)))
        self._clear_preferences(_pairs_of(ids))
        # Nobody can review what is not there any more.
        self._run(
            delete(ReviewSeat).where(
                col(ReviewSeat.sample_id).in_(samples), col(ReviewSeat.leased_until).is_not(None)
            )
        )
        self._run(
            update(Sample)
            .where(col(Sample.id).in_(samples), col(Sample.review_state).in_((OPEN, ADJUDICATE)))
            .values(review_state=DONE)
        )
        about = and_(self._about(ids), col(Outcome.comment).is_not(None))
        return self._run(update(Outcome).where(about).values(comment=None))

    def forget_persons(self, ids: Sequence[str]) -> int:
        """Remove texts and whatever tells whose these inferences were; return as above.

        What has not entered the sums by now never does.
        """
        comments = self.clear_texts(ids)
        self._run(
            update(Outcome).where(self._about(ids)).values(idempotency_key=None, value_text=None)
        )
        self._run(delete(ScoreTask).where(col(ScoreTask.inference_id).in_(ids)))
        self._run(update(Sample).where(col(Sample.inference_id).in_(ids)).values(stratum=""))
        self._run(
            update(Inference)
            .where(col(Inference.id).in_(ids))
            .values(
                unit_hash=None,
                session_hash=None,
                body_hash=None,
                content_hash=None,
                response_id=None,
                upstream_request_id=None,
                segments={},
            )
        )
        return comments

    def forget_unit(self, unit_hash: str) -> int:
        """Remove what is remembered of a unit and said about a session; return the comments."""
        about = and_(
            col(Outcome.target_kind) == TargetKind.SESSION.value,
            col(Outcome.target_id) == unit_hash,
        )
        query = select(func.count()).where(about, col(Outcome.comment).is_not(None))
        comments = int(self.session.execute(query).scalar_one())
        self._run(delete(Outcome).where(about))
        self._run(delete(UnitStat).where(col(UnitStat.unit_hash) == unit_hash))
        return comments

    def delete_rows(self, ids: Sequence[str]) -> None:
        """Delete inferences with everything that was said about them."""
        samples = self._samples(ids)
        for table in _OF_SAMPLE:
            self._run(delete(table).where(table.sample_id.in_(samples)))  # type: ignore[attr-defined]
        pairs = _pairs_of(ids)
        self._run(delete(PairPreference).where(col(PairPreference.pair_id).in_(pairs)))
        self._run(delete(PairSeat).where(col(PairSeat.pair_id).in_(pairs)))
        self._run(delete(ReviewPair).where(col(ReviewPair.id).in_(pairs)))
        self._run(delete(DatasetRow).where(col(DatasetRow.name).in_(ids)))
        self._run(delete(Sample).where(col(Sample.id).in_(samples)))
        self._run(delete(Outcome).where(self._about(ids)))
        self._run(delete(ScoreTask).where(col(ScoreTask.inference_id).in_(ids)))
        self._run(delete(Inference).where(col(Inference.id).in_(ids)))

    def clear_comments(self, before: datetime, since_unwanted: datetime) -> int:
        """Remove comments that are older, and newer ones where no text may be kept."""
        has_comment = col(Outcome.comment).is_not(None)
        unwanted = select(col(Inference.id)).where(
            col(Inference.id) == col(Outcome.target_id),
            col(Inference.content_store).in_(_NO_TEXT_POLICIES),
        )
        is_unwanted = and_(
            col(Outcome.at) >= since_unwanted,
            col(Outcome.target_kind) == TargetKind.REQUEST.value,
            unwanted.exists(),
        )
        return self._run(
            update(Outcome)
            .where(has_comment, or_(col(Outcome.at) < before, is_unwanted))
            .values(comment=None)
        )

    def clear_imported(self, before: datetime) -> None:
        """Remove the texts of pairs that were imported from a file and are older."""
        pairs = select(col(ReviewPair.id)).where(
            col(ReviewPair.made_at) < before, col(ReviewPair.inference_a).is_(None)
        )
        self._clear_preferences(pairs)
        self._run(
            update(ReviewPair)
            .where(col(ReviewPair.id).in_(pairs), col(ReviewPair.messages).is_not(None))
            .values(messages=None, response_a=None, response_b=None)
        )
        self._run(
            update(ReviewPair)
            .where(col(ReviewPair.id).in_(pairs), col(ReviewPair.state) == OPEN)
            .values(state=DROPPED)
        )

    def _samples(self, ids: Sequence[str]) -> list[str]:
        query = select(col(Sample.id)).where(col(Sample.inference_id).in_(ids))
        return list(self.session.execute(query).scalars())

    def _clear_reviews(self, samples: Sequence[str]) -> None:
        """Leave of what people entered their labels; what is not submitted goes."""
        self._run(
            update(Review)
            .where(col(Review.sample_id).in_(samples))
            .values(comment=None, corrected_response=None)
        )
        self._run(delete(ReviewDraft).where(col(ReviewDraft.sample_id).in_(samples)))
        self._run(update(GoldItem).where(col(GoldItem.sample_id).in_(samples)).values(rationale=""))
        about = col(Adjudication.sample_id).in_(samples)
        self._run(update(Adjudication).where(about).values(reason=""))

    def _clear_preferences(self, pairs: Any) -> None:  # noqa: ANN401 - a query
        about = col(PairPreference.pair_id).in_(pairs)
        self._run(update(PairPreference).where(about).values(comment=None))

    def _clear_grades(self, samples: Sequence[str]) -> None:
        """Leave of each judgement its labels and points: reasons and quotes are texts."""
        query = select(Judgement).where(col(Judgement.sample_id).in_(samples))
        for row in self.session.execute(query).scalars():
            row.grades = {name: _without_texts(grade) for name, grade in row.grades.items()}
            row.detail = ""
            self.session.add(row)
        self.session.flush()

    def _about(self, ids: Sequence[str]) -> Any:  # noqa: ANN401 - a condition
        """Return the condition that an outcome is about one of the inferences."""
        query = select(col(Inference.response_id)).where(
            col(Inference.id).in_(ids), col(Inference.response_id).is_not(None)
        )
        answers = list(self.session.execute(query).scalars())
        return or_(
            and_(
                col(Outcome.target_kind) == TargetKind.REQUEST.value,
                col(Outcome.target_id).in_(ids),
            ),
            and_(
                col(Outcome.target_kind) == TargetKind.RESPONSE.value,
                col(Outcome.target_id).in_(answers),
            ),
        )

    def _count(self, condition: Any) -> tuple[int, int, int]:  # noqa: ANN401 - a condition
        with_text = func.sum(case((text(f"({HAS_TEXT})"), 1), else_=0))
        inferences, texts = self.session.execute(
            select(func.count(), with_text).select_from(Inference).where(condition)
        ).one()
        ids = select(col(Inference.id)).where(condition)
        comments = select(func.count()).where(
            col(Outcome.comment).is_not(None),
            col(Outcome.target_kind) == TargetKind.REQUEST.value,
            col(Outcome.target_id).in_(ids),
        )
        return int(inferences), int(texts or 0), int(self.session.execute(comments).scalar_one())

    def _run(self, statement: Any) -> int:  # noqa: ANN401 - any statement
        quiet = statement.execution_options(synchronize_session=False)
        return int(self.session.execute(quiet).rowcount)  # type: ignore[attr-defined]


def _pairs_of(ids: Sequence[str]) -> Any:  # noqa: ANN401 - a query
    is_of = or_(col(ReviewPair.inference_a).in_(ids), col(ReviewPair.inference_b).in_(ids))
    return select(col(ReviewPair.id)).where(is_of)


def _is_of(unit_hash: str) -> Any:  # noqa: ANN401 - a condition
    return or_(col(Inference.unit_hash) == unit_hash, col(Inference.session_hash) == unit_hash)


def _without_texts(grade: Any) -> Any:  # noqa: ANN401 - JSON
    if not isinstance(grade, dict):
        return grade
    emptied: dict[str, Any] = {"reasoning": "", "evidence": [], "detail": ""}
    return {name: emptied.get(name, value) for name, value in grade.items()}
