"""Human labels between files and the database, and what calibrations and checks came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llm_canary.errors import ConfigError
from llm_canary.judging.labels import (
    HumanLabel,
    Labelled,
    LabelSet,
    label_set,
    seconds,
)
from llm_canary.review.queue import ReviewQueue, Submission
from llm_canary.rubric.sample import Sample
from llm_canary.storage.repositories.grading import (
    StoredLabel,
    add_calibration,
    add_check,
    add_drift,
    add_labels,
    add_probes,
    labels_of,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlmodel import Session

    from llm_canary.judging.calibrate import TrustReport
    from llm_canary.judging.drift import Look
    from llm_canary.judging.probes import Probe
    from llm_canary.review.pairs import PairEntry, Pairs
    from llm_canary.rubric.load import LoadedRubric
    from llm_canary.storage.repositories.reviews import QueueCounts


def stored_labels(rubric: LoadedRubric) -> LabelSet:
    """Return the labels of the database."""
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


def store_reviews(items: Sequence[Labelled], prefix: int) -> int:
    """Store reviews of live answers, whose ids follow `prefix` characters; return how many."""
    if not items:
        return 0
    given: list[tuple[str, str, Submission]] = []
    for item in items:
        by_rater: dict[str, dict[str, Any]] = {}
        for label in item.labels:
            by_rater.setdefault(label.rater, {})[label.criterion] = label.label
        name = item.sample.id[prefix:]
        given += [(name, rater, Submission(labels)) for rater, labels in by_rater.items()]
    with _queue() as queue:
        return queue.record(given)


def open_items(rubric_id: str, limit: int) -> list[tuple[str, Sample]]:
    """Return live answers that wait for people."""
    with _queue() as queue:
        return queue.open_items(rubric_id, limit)


def corrected_items(rubric_id: str) -> list[tuple[Sample, str]]:
    """Return the answers that reviewers have written better."""
    with _queue() as queue:
        return queue.corrections(rubric_id)


def review_queues() -> list[QueueCounts]:
    """Return what waits for people, by rubric."""
    with _queue() as queue:
        return queue.queues()


def store_pairs(
    entries: Sequence[PairEntry], rubric: LoadedRubric, source: str, wanted: int
) -> int:
    """Let people compare pairs; return how many are new."""
    with _pairs() as pairs:
        return pairs.add(entries, rubric, source=source, wanted=wanted)


def preference_rows(rubric_id: str) -> list[dict[str, Any]]:
    """Return what people prefer, one preference a row."""
    with _pairs() as pairs:
        return pairs.export_rows(rubric_id)


def store_calibration(report: TrustReport) -> None:
    """Store what a calibration came to."""
    import msgspec  # noqa: PLC0415

    from llm_canary.clock import SystemClock  # noqa: PLC0415

    at = datetime.fromtimestamp(SystemClock().now_s(), UTC)
    with _session() as session:
        add_calibration(session, at, msgspec.to_builtins(report))


def store_drift(rubric: LoadedRubric, judge_id: str, look: Look) -> None:
    """Store a look at the judge's anchors."""
    import msgspec  # noqa: PLC0415

    from llm_canary.clock import SystemClock  # noqa: PLC0415

    at = datetime.fromtimestamp(SystemClock().now_s(), UTC)
    with _session() as session:
        add_drift(
            session,
            at,
            rubric_id=rubric.rubric.id,
            rubric_hash=rubric.content_hash,
            judge_id=judge_id,
            drift=str(look.drift),
            report=msgspec.to_builtins(look),
        )


def store_probes(
    rubric: LoadedRubric, judge_id: str, label_hash: str, found: Sequence[Probe]
) -> None:
    """Store what a judge's probes came to."""
    import msgspec  # noqa: PLC0415

    from llm_canary.clock import SystemClock  # noqa: PLC0415

    at = datetime.fromtimestamp(SystemClock().now_s(), UTC)
    with _session() as session:
        add_probes(
            session,
            at,
            rubric_id=rubric.rubric.id,
            rubric_hash=rubric.content_hash,
            judge_id=judge_id,
            label_hash=label_hash,
            probes=msgspec.to_builtins(found),
        )


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
def _queue() -> Iterator[ReviewQueue]:
    from llm_canary.clock import SystemClock  # noqa: PLC0415

    with _engine() as engine:
        yield ReviewQueue(engine, SystemClock())


@contextmanager
def _pairs() -> Iterator[Pairs]:
    from llm_canary.clock import SystemClock  # noqa: PLC0415
    from llm_canary.review.pairs import Pairs  # noqa: PLC0415

    with _engine() as engine:
        yield Pairs(engine, SystemClock())


@contextmanager
def _session() -> Iterator[Session]:
    from llm_canary.storage.engine import write_session  # noqa: PLC0415

    with _engine() as engine, write_session(engine) as session:
        yield session


@contextmanager
def _engine() -> Iterator[Engine]:
    from llm_canary.config.settings import Settings  # noqa: PLC0415
    from llm_canary.storage.engine import make_engine  # noqa: PLC0415
    from llm_canary.storage.migrate import check  # noqa: PLC0415

    engine = make_engine(Settings().database_url.get_secret_value())
    try:
        check(engine)
        yield engine
    finally:
        engine.dispose()
