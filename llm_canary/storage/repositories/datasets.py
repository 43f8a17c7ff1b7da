"""Named datasets made of what reviewers have written better."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import exists, func, select
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col

from llm_canary.ids import uuid7
from llm_canary.storage.models.grading import Review, Sample
from llm_canary.storage.models.reviewing import DatasetRow, DatasetVersion
from llm_canary.storage.repositories.counted import SUBMITTED


class DatasetFacts(NamedTuple):
    """One version of a dataset."""

    id: str
    name: str
    version: int
    rows: int
    made_by: str
    frozen_at: datetime | None
    frozen_hash: str | None


class CorrectedReview(NamedTuple):
    """A person's last review of a sample that has a better answer."""

    review_id: str
    sample_id: str
    inference_id: str
    rubric_id: str
    reviewer: str
    at: datetime
    corrected_response: str


class NewRow(NamedTuple):
    """An item for a dataset, and the review that it comes from."""

    name: str
    item: Mapping[str, Any]
    review_id: str | None


def all_datasets(session: Session) -> list[DatasetFacts]:
    """Return every version of every dataset, the newest of each first."""
    count = (
        select(func.count())
        .where(col(DatasetRow.dataset_id) == col(DatasetVersion.id))
        .correlate(DatasetVersion)
        .scalar_subquery()
    )
    query = select(DatasetVersion, count).order_by(
        col(DatasetVersion.name), col(DatasetVersion.version).desc()
    )
    return [
        DatasetFacts(
            row.id, row.name, row.version, int(n), row.made_by, row.frozen_at, row.frozen_hash
        )
        for row, n in session.execute(query)
    ]


def latest_dataset(session: Session, name: str) -> DatasetVersion | None:
    """Return the newest version of a dataset, locked."""
    query = (
        select(DatasetVersion)
        .where(col(DatasetVersion.name) == name)
        .order_by(col(DatasetVersion.version).desc())
        .limit(1)
        .with_for_update()
    )
    return session.execute(query).scalar_one_or_none()


def dataset_named(session: Session, name: str, version: int) -> DatasetVersion | None:
    """Return one version of a dataset."""
    query = select(DatasetVersion).where(
        col(DatasetVersion.name) == name, col(DatasetVersion.version) == version
    )
    return session.execute(query).scalar_one_or_none()


def add_dataset(session: Session, name: str, version: int, *, by: str, at: datetime) -> str:
    """Begin a version of a dataset; return its id."""
    made = DatasetVersion(id=uuid7(), name=name, version=version, made_at=at, made_by=by)
    session.add(made)
    session.flush()
    return made.id


def rows_of(session: Session, dataset_id: str) -> list[NewRow]:
    """Return the rows of a dataset in the order in which they came."""
    query = (
        select(DatasetRow)
        .where(col(DatasetRow.dataset_id) == dataset_id)
        .order_by(col(DatasetRow.id))
    )
    return [
        NewRow(row.name, row.item, row.origin_review_id) for row in session.execute(query).scalars()
    ]


def add_rows(
    session: Session, dataset_id: str, new: Collection[NewRow], *, by: str, at: datetime
) -> int:
    """Add rows; those whose item is there already stay as they are. Return how many came."""
    if not new:
        return 0
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    values = [
        {
            "id": uuid7(),
            "dataset_id": dataset_id,
            "name": each.name,
            "item": dict(each.item),
            "origin_review_id": each.review_id,
            "added_at": at,
            "added_by": by,
        }
        for each in new
    ]
    statement = insert(DatasetRow).on_conflict_do_nothing().returning(col(DatasetRow.id))
    return len(session.execute(statement, values).all())


def corrected_reviews(
    session: Session, *, limit: int, ids: Collection[str] | None = None
) -> list[CorrectedReview]:
    """Return reviews with a better answer, the newest first: those of `ids`, or of no dataset."""
    later = Review.__table__.alias("later")  # type: ignore[attr-defined]
    is_last = ~(
        exists()
        .where(
            later.c.sample_id == col(Review.sample_id),
            later.c.reviewer == col(Review.reviewer),
            later.c.revision > col(Review.revision),
        )
        .correlate(Review)
    )
    query = (
        select(Review, col(Sample.inference_id), col(Sample.rubric_id))
        .join(Sample, col(Sample.id) == col(Review.sample_id))
        .where(
            is_last,
            col(Review.status) == SUBMITTED,
            col(Review.corrected_response).is_not(None),
        )
        .order_by(col(Review.id).desc())
        .limit(limit)
    )
    if ids is not None:
        query = query.where(col(Review.id).in_(ids))
    else:
        is_used = (
            exists().where(col(DatasetRow.origin_review_id) == col(Review.id)).correlate(Review)
        )
        query = query.where(~is_used)
    return [
        CorrectedReview(
            row.id,
            row.sample_id,
            inference_id,
            rubric_id,
            row.reviewer,
            row.at,
            row.corrected_response or "",
        )
        for row, inference_id, rubric_id in session.execute(query)
    ]
