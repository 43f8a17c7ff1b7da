"""Look-ups of inferences and of the outcomes learned about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import func, select, text
from sqlmodel import Session, col

from llm_canary.storage.ingest import RETRY_JOIN_S
from llm_canary.storage.models.inferences import Inference, Outcome
from llm_canary.telemetry.events import (
    InferenceEvent,
    TargetKind,
    Terminal,
    UsageSource,
)

_MOST_PARAMETERS = 10_000  # SQLite takes 32,766 in a statement


class OutcomeRecord(NamedTuple):
    """One statement about a target; `value` None = revoked."""

    id: str
    value: float | str | None
    at_s: float  # received
    occurred_at_s: float


def by_request_id(session: Session, request_id: str) -> InferenceEvent | None:
    """Return the inference with our id."""
    row = session.get(Inference, request_id)
    return None if row is None else to_event(row)


def by_response_id(session: Session, response_id: str) -> InferenceEvent | None:
    """Return the latest inference with the provider's id, such as `chatcmpl-...`."""
    query = (
        select(Inference)
        .where(col(Inference.response_id) == response_id)
        .order_by(col(Inference.at).desc())
        .limit(1)
    )
    row = session.execute(query).scalar_one_or_none()
    return None if row is None else to_event(row)


def by_request_ids(session: Session, request_ids: Collection[str]) -> dict[str, InferenceEvent]:
    """Return the inferences with our ids; what is not stored is missing in the answer."""
    return {
        row.id: to_event(row)
        for ids in _portions(request_ids)
        for row in session.execute(select(Inference).where(col(Inference.id).in_(ids))).scalars()
    }


def recent(session: Session, rollout_id: str | None = None, *, limit: int) -> list[InferenceEvent]:
    """Return the latest inferences, of one rollout or of all, newest first."""
    query = select(Inference).order_by(col(Inference.at).desc()).limit(limit)
    if rollout_id is not None:
        query = query.where(col(Inference.rollout_id) == rollout_id)
    return [to_event(row) for row in session.execute(query).scalars()]


def count(session: Session) -> int:
    """Return how many inferences are stored."""
    number: int = session.execute(select(func.count(col(Inference.id)))).scalar_one()
    return number


def count_by_arm(session: Session, rollout_id: str) -> dict[tuple[str, Terminal], int]:
    """Return how many comparable inferences a rollout has by (assigned, terminal)."""
    query = (
        select(col(Inference.assigned), col(Inference.terminal), func.count())
        .where(col(Inference.rollout_id) == rollout_id, col(Inference.eligible))
        .group_by(col(Inference.assigned), col(Inference.terminal))
    )
    return {
        (assigned, Terminal(terminal)): number
        for assigned, terminal, number in session.execute(query)
    }


def retried(session: Session, failed: Collection[InferenceEvent]) -> set[str]:
    """Return the ids among `failed` that an SDK's retry replaced: same unit, same body, in time."""
    keyed = [event for event in failed if event.unit_hash and event.body_hash]
    retries: dict[tuple[str | None, str | None], list[float]] = defaultdict(list)
    for hashes in _portions({event.unit_hash or "" for event in keyed}):
        query = (
            select(col(Inference.unit_hash), col(Inference.body_hash), col(Inference.at))
            .where(text("retry_count > 0"))  # as in the partial index, or SQLite does not use it
            .where(col(Inference.unit_hash).in_(hashes))
            .where(col(Inference.body_hash).in_({event.body_hash for event in keyed}))
        )
        for unit_hash, body_hash, at in session.execute(query):
            retries[unit_hash, body_hash].append(at.timestamp())
    return {
        event.id
        for event in keyed
        if any(
            event.at_s < at_s <= event.at_s + event.latency_ms / 1_000 + RETRY_JOIN_S
            for at_s in retries[event.unit_hash, event.body_hash]
        )
    }


def outcomes_for(
    session: Session,
    metric: str,
    *,
    request_ids: Collection[str] = (),
    response_ids: Collection[str] = (),
    session_hashes: Collection[str] = (),
) -> dict[tuple[TargetKind, str], list[OutcomeRecord]]:
    """Return what was said about the targets, the winner (latest occurred_at, then id) first.

    All of it, so that a scorer whose window closed at some time may pass over what came later.
    """
    found: dict[tuple[TargetKind, str], list[OutcomeRecord]] = defaultdict(list)
    for kind, targets in (
        (TargetKind.REQUEST, request_ids),
        (TargetKind.RESPONSE, response_ids),
        (TargetKind.SESSION, session_hashes),
    ):
        for ids in _portions(targets):
            query = (
                select(Outcome)
                .where(col(Outcome.target_kind) == kind.value, col(Outcome.target_id).in_(ids))
                .where(col(Outcome.metric) == metric)
                .order_by(col(Outcome.occurred_at).desc(), col(Outcome.id).desc())
            )
            for row in session.execute(query).scalars():
                found[kind, row.target_id].append(_record(row))
    return dict(found)


def to_event(row: Inference) -> InferenceEvent:
    """Return the event that `row` was made from (its time to the microsecond)."""
    values = row.model_dump(exclude={"at"})
    values["terminal"] = Terminal(row.terminal)
    values["usage_source"] = UsageSource(row.usage_source)
    return InferenceEvent(at_s=row.at.timestamp(), **values)


def _record(row: Outcome) -> OutcomeRecord:
    value = row.value_num if row.value_text is None else row.value_text
    return OutcomeRecord(row.id, value, row.at.timestamp(), row.occurred_at.timestamp())


def _portions(values: Collection[str]) -> Iterator[Sequence[str]]:
    ordered = sorted(values)
    for start in range(0, len(ordered), _MOST_PARAMETERS):
        yield ordered[start : start + _MOST_PARAMETERS]
