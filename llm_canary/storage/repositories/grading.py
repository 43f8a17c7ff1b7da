"""Human labels, calibrations and checks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlmodel import Session, col

from llm_canary.ids import uuid7
from llm_canary.storage.models.grading import (
    CalibrationRun,
    CheckRun,
    DriftLook,
    GradedSample,
    HumanLabel,
    ProbeRun,
)


class StoredLabel(NamedTuple):
    """One label with the answer that it is about."""

    item_id: str
    prompt: str
    response: str
    reference: str | None
    context: str | None
    tags: Mapping[str, Any]
    rater: str
    criterion: str
    label: str | int | float | bool
    at: datetime | None


def add_labels(
    session: Session, rubric_id: str, rubric_hash: str, labels: Iterable[StoredLabel]
) -> int:
    """Store labels, a person's later one in the place of an earlier one; return how many."""
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    samples: dict[tuple[str, str], str] = {}
    count = 0
    for label in labels:
        key = (label.item_id, _digest(label.response))
        if key not in samples:
            samples[key] = _sample(session, insert, label, key)
        row = {
            "id": uuid7(),
            "sample_id": samples[key],
            "rubric_id": rubric_id,
            "rubric_hash": rubric_hash,
            "criterion_id": label.criterion,
            "rater": label.rater,
            "label": json.dumps(label.label),
            "labelled_at": label.at,
        }
        replaced = {name: row[name] for name in ("label", "labelled_at", "rubric_id")}
        keys = ["sample_id", "rubric_hash", "criterion_id", "rater"]
        session.execute(
            insert(HumanLabel).values(row).on_conflict_do_update(index_elements=keys, set_=replaced)
        )
        count += 1
    return count


def labels_of(session: Session, rubric_id: str, rubric_hash: str) -> Iterator[StoredLabel]:
    """Yield the labels that were given under this very text of the rubric."""
    query = (
        select(HumanLabel, GradedSample)
        .join(GradedSample, col(GradedSample.id) == col(HumanLabel.sample_id))
        .where(col(HumanLabel.rubric_id) == rubric_id, col(HumanLabel.rubric_hash) == rubric_hash)
        .order_by(col(GradedSample.id), col(HumanLabel.id))
    )
    for label, sample in session.execute(query):
        yield StoredLabel(
            item_id=sample.item_id,
            prompt=sample.prompt,
            response=sample.response,
            reference=sample.reference,
            context=sample.context,
            tags=sample.tags,
            rater=label.rater,
            criterion=label.criterion_id,
            label=json.loads(label.label),
            at=label.labelled_at,
        )


def add_calibration(
    session: Session, at: datetime, report: Mapping[str, Any], *, source: str = "labels"
) -> None:
    """Store what a calibration came to; `report` is a TrustReport as plain values.

    `source` says what it rests on: imported labels, or the `reviews` of live answers.
    """
    session.add(
        CalibrationRun(
            id=uuid7(),
            at=at,
            rubric_id=report["rubric"],
            rubric_hash=report["rubric_hash"],
            judge_id=report["judge"]["id"],
            label_hash=report["label_hash"],
            labelled=report["labelled"],
            standing=report["standing"],
            source=source,
            report=dict(report),
        )
    )


def calibrations(session: Session, rubric_id: str, *, limit: int = 100) -> list[dict[str, Any]]:
    """Return the latest calibrations of judges for a rubric, the newest first."""
    query = (
        select(CalibrationRun)
        .where(col(CalibrationRun.rubric_id) == rubric_id)
        .order_by(col(CalibrationRun.at).desc(), col(CalibrationRun.id).desc())
        .limit(limit)
    )
    return [
        {
            "at": row.at,
            "judge_id": row.judge_id,
            "standing": row.standing,
            "labelled": row.labelled,
            "source": row.source,
            "report": row.report,
        }
        for row in session.execute(query).scalars()
    ]


def calibrated_rubrics(session: Session) -> list[str]:
    """Return the rubrics that a judge was ever compared with people by."""
    query = select(col(CalibrationRun.rubric_id)).distinct()
    return sorted(session.execute(query).scalars())


class DriftSeen(NamedTuple):
    """One look at whether a judge has moved; `report` is a drift Look as plain values."""

    at: datetime
    judge_id: str
    drift: str
    report: Mapping[str, Any]


def drift_looks(session: Session, rubric_id: str, *, limit: int = 20) -> list[DriftSeen]:
    """Return the latest looks at the judges of a rubric, the newest first."""
    query = (
        select(
            col(DriftLook.at), col(DriftLook.judge_id), col(DriftLook.drift), col(DriftLook.report)
        )
        .where(col(DriftLook.rubric_id) == rubric_id)
        .order_by(col(DriftLook.at).desc(), col(DriftLook.id).desc())
        .limit(limit)
    )
    return [DriftSeen(*row) for row in session.execute(query)]


def add_drift(  # noqa: PLR0913 - the columns
    session: Session,
    at: datetime,
    *,
    rubric_id: str,
    rubric_hash: str,
    judge_id: str,
    drift: str,
    report: Mapping[str, Any],
) -> None:
    """Store what a look at a judge's anchors came to."""
    session.add(
        DriftLook(
            id=uuid7(),
            at=at,
            rubric_id=rubric_id,
            rubric_hash=rubric_hash,
            judge_id=judge_id,
            drift=drift,
            report=dict(report),
        )
    )


class Probed(NamedTuple):
    """What a judge's probes came to; each probe as plain values."""

    at: datetime
    judge_id: str
    probes: Sequence[Mapping[str, Any]]


def add_probes(  # noqa: PLR0913 - the columns
    session: Session,
    at: datetime,
    *,
    rubric_id: str,
    rubric_hash: str,
    judge_id: str,
    label_hash: str,
    probes: Sequence[Mapping[str, Any]],
) -> None:
    """Store what a judge's probes came to."""
    session.add(
        ProbeRun(
            id=uuid7(),
            at=at,
            rubric_id=rubric_id,
            rubric_hash=rubric_hash,
            judge_id=judge_id,
            label_hash=label_hash,
            probes=[dict(each) for each in probes],
        )
    )


def latest_probes(session: Session, rubric_id: str, *, limit: int = 20) -> list[Probed]:
    """Return the newest probes of each judge version of a rubric, of its last `limit` runs."""
    query = (
        select(col(ProbeRun.at), col(ProbeRun.judge_id), col(ProbeRun.probes))
        .where(col(ProbeRun.rubric_id) == rubric_id)
        .order_by(col(ProbeRun.at).desc(), col(ProbeRun.id).desc())
        .limit(limit)
    )
    newest: dict[str, Probed] = {}
    for row in session.execute(query):
        newest.setdefault(row.judge_id, Probed(*row))
    return list(newest.values())


class Checked(NamedTuple):
    """What the latest check of a candidate came to."""

    verdict: str
    at: datetime


def add_check(
    session: Session, name: str, candidate: str, at: datetime, report: Mapping[str, Any]
) -> None:
    """Store what a check came to; `report` is that of `check --json`, its outcomes are left out."""
    session.add(
        CheckRun(
            id=uuid7(),
            at=at,
            name=name,
            candidate=candidate,
            verdict=report["verdict"],
            rubric_hash=report["rubric"]["hash"],
            dataset_hash=report["dataset"]["hash"],
            report={key: value for key, value in report.items() if key != "outcomes"},
        )
    )


def latest_check(session: Session, name: str, candidate: str) -> Checked | None:
    """Return what the check `name` last said about this very candidate."""
    query = (
        select(CheckRun)
        .where(col(CheckRun.name) == name, col(CheckRun.candidate) == candidate)
        .order_by(col(CheckRun.at).desc(), col(CheckRun.id).desc())
        .limit(1)
    )
    row = session.execute(query).scalar_one_or_none()
    return None if row is None else Checked(row.verdict, row.at)


def _sample(session: Session, insert: Any, label: StoredLabel, key: tuple[str, str]) -> str:  # noqa: ANN401
    row = {
        "id": uuid7(),
        "item_id": key[0],
        "response_sha256": key[1],
        "prompt": label.prompt,
        "response": label.response,
        "reference": label.reference,
        "context": label.context,
        "tags": dict(label.tags),
    }
    session.execute(insert(GradedSample).values(row).on_conflict_do_nothing())
    query = select(col(GradedSample.id)).where(
        col(GradedSample.item_id) == key[0], col(GradedSample.response_sha256) == key[1]
    )
    found: str = session.execute(query).scalar_one()
    return found


def _digest(response: str) -> str:
    return hashlib.sha256(response.encode("utf-8", "surrogatepass")).hexdigest()
