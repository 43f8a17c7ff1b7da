"""Human labels between files and the database, and what calibrations and checks came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_canary.errors import ConfigError
from llm_canary.judging.labels import (
    HumanLabel,
    Labelled,
    LabelSet,
    label_set,
    read_labels,
    seconds,
)
from llm_canary.rubric.sample import Sample
from llm_canary.storage.repositories.grading import (
    StoredLabel,
    add_calibration,
    add_check,
    add_labels,
    labels_of,
)

if TYPE_CHECKING:
    from sqlmodel import Session

    from llm_canary.judging.calibrate import TrustReport
    from llm_canary.rubric.load import LoadedRubric

DATABASE = "db"


def labels_from(word: str, rubric: LoadedRubric) -> LabelSet:
    """Return the labels of a file, or with `db` those of the database."""
    if word != DATABASE:
        return read_labels(Path(word), rubric)
    with _session() as session:
        found = list(_items(labels_of(session, rubric.rubric.id, rubric.content_hash)))
    if not found:
        raise ConfigError(
            f"the database has no labels of this text of rubric {rubric.rubric.id}; "
            "bring them in with `llm-canary review import`"
        )
    return label_set(found)


def store_labels(labels: LabelSet, rubric: LoadedRubric) -> int:
    """Store labels of single answers; return how many."""
    with _session() as session:
        return add_labels(session, rubric.rubric.id, rubric.content_hash, _rows(labels))


def store_calibration(report: TrustReport) -> None:
    """Store what a calibration came to."""
    import msgspec  # noqa: PLC0415

    from llm_canary.clock import SystemClock  # noqa: PLC0415

    at = datetime.fromtimestamp(SystemClock().now_s(), UTC)
    with _session() as session:
        add_calibration(session, at, msgspec.to_builtins(report))


def store_check(name: str, candidate: str, report: Mapping[str, Any]) -> None:
    """Store what a check came to."""
    from llm_canary.clock import SystemClock  # noqa: PLC0415

    at = datetime.fromtimestamp(SystemClock().now_s(), UTC)
    with _session() as session:
        add_check(session, name, candidate, at, report)


def _rows(labels: LabelSet) -> Iterator[StoredLabel]:
    for item in labels.items:
        sample = item.sample
        for label in item.labels:
            yield StoredLabel(
                sample.id,
                sample.prompt,
                sample.response,
                sample.reference,
                sample.context,
                sample.tags,
                label.rater,
                label.criterion,
                label.label,
                datetime.fromtimestamp(at_s, UTC) if (at_s := seconds(label.at)) else None,
            )


def _items(rows: Iterator[StoredLabel]) -> Iterator[Labelled]:
    for row in rows:
        sample = Sample(
            row.item_id,
            row.prompt,
            row.response,
            row.reference,
            row.context,
            tags={str(key): str(value) for key, value in row.tags.items()},
        )
        at = row.at.isoformat() if row.at else None
        yield Labelled(sample, (HumanLabel(row.rater, row.criterion, row.label, at),))


@contextmanager
def _session() -> Iterator[Session]:
    from llm_canary.config.settings import Settings  # noqa: PLC0415
    from llm_canary.storage.engine import make_engine, write_session  # noqa: PLC0415
    from llm_canary.storage.migrate import check  # noqa: PLC0415

    engine = make_engine(Settings().database_url)
    try:
        check(engine)
        with write_session(engine) as session:
            yield session
    finally:
        engine.dispose()
