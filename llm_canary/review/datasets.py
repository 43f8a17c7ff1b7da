"""Corrected answers become datasets: promoted into a named one, frozen by hash, written as files.

A dataset grows until it is frozen. What is promoted then begins its next version, with the rows of
the one before. The hash is that of `dataset freeze`, so a file that is downloaded can be checked.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.clock import Clock, utc
from llm_canary.documents.rows import Row, write_rows
from llm_canary.errors import Conflict, InvalidRequest, NotFound
from llm_canary.review.standing import material
from llm_canary.rubric.item import Item, ItemsHash, item_of, item_row
from llm_canary.rubric.sample import Sample
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories import datasets as rows
from llm_canary.storage.repositories.datasets import CorrectedReview, DatasetFacts, NewRow

LIMIT = 100
FORMS = ("jsonl", "csv")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class Candidate(NamedTuple):
    """A corrected answer that is in no dataset yet."""

    review: CorrectedReview
    sample: Sample


class Promoted(NamedTuple):
    """What a promotion came to; `there` were rows of the dataset already, or have no text."""

    version: int
    added: int
    there: int


class Datasets:
    """Every act on datasets; each is one transaction."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def all(self) -> list[DatasetFacts]:
        """Return every version of every dataset."""
        with read_session(self._engine) as session:
            return rows.all_datasets(session)

    def candidates(self) -> list[Candidate]:
        """Return the newest corrected answers that are in no dataset and whose text is kept."""
        with read_session(self._engine) as session:
            found = [
                (each, material(session, each.inference_id))
                for each in rows.corrected_reviews(session, limit=LIMIT)
            ]
        return [Candidate(review, sample) for review, sample in found if sample is not None]

    def promote(self, name: str, review_ids: Collection[str], *, by: str) -> Promoted:
        """Add the corrected answers of reviews to the dataset's open version."""
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f"{name[:80]!r} is no name of a dataset: 1 to 64 small letters, digits, '-', '_'",
                param="name",
            )
        if not review_ids:
            raise InvalidRequest("no answer is chosen; choose at least one", param="review")
        now = utc(self._clock.now_s())
        with write_session(self._engine) as session:
            reviews = rows.corrected_reviews(session, limit=LIMIT, ids=review_ids)
            if len(reviews) < len(set(review_ids)):
                raise NotFound("a chosen review has no corrected answer any more; reload the page")
            latest = rows.latest_dataset(session, name)
            version = latest.version if latest else 1
            dataset_id = latest.id if latest else ""
            if latest is None or latest.frozen_hash is not None:
                version = latest.version + 1 if latest else 1
                dataset_id = rows.add_dataset(session, name, version, by=by, at=now)
                before = rows.rows_of(session, latest.id) if latest else []
                rows.add_rows(session, dataset_id, before, by=by, at=now)
            new = [made for each in reviews if (made := _row(session, each)) is not None]
            added = rows.add_rows(session, dataset_id, new, by=by, at=now)
        return Promoted(version, added, len(reviews) - added)

    def freeze(self, name: str) -> DatasetFacts:
        """Freeze the open version: it never changes again."""
        with write_session(self._engine) as session:
            latest = rows.latest_dataset(session, name)
            if latest is None:
                raise NotFound(f"there is no dataset {name[:80]!r}")
            if latest.frozen_hash is not None:
                raise Conflict(f"version {latest.version} of {name} is frozen already")
            found = rows.rows_of(session, latest.id)
            if not found:
                raise Conflict(f"{name} has no rows; a dataset needs at least one")
            digest = ItemsHash()
            for each in found:
                digest.add(_item(each))
            latest.frozen_at, latest.frozen_hash = utc(self._clock.now_s()), digest.hexdigest()
            session.add(latest)
            session.flush()
            return next(each for each in rows.all_datasets(session) if each.id == latest.id)

    def file(self, name: str, version: int, form: str) -> bytes:
        """Return a version as a file of JSONL or CSV."""
        if form not in FORMS:
            raise NotFound(f"{form[:40]!r} is no form of a file; there are: {', '.join(FORMS)}")
        with read_session(self._engine) as session:
            found = rows.dataset_named(session, name, version)
            if found is None:
                raise NotFound(f"there is no version {version} of a dataset {name[:80]!r}")
            items = [_item(each) for each in rows.rows_of(session, found.id)]
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"dataset.{form}"
            write_rows(path, (item_row(each) for each in items))
            return path.read_bytes()


def _item(row: NewRow) -> Item:
    return item_of(Row(0, dict(row.item)))


def _row(session: Session, review: CorrectedReview) -> NewRow | None:
    sample = material(session, review.inference_id)
    if sample is None:
        return None
    item = Item(
        id=review.inference_id,
        prompt=sample.prompt,
        history=tuple(sample.history),
        reference=review.corrected_response,
        context=sample.context,
        tags=sample.tags,
    )
    return NewRow(item.id, item_row(item), review.review_id)
