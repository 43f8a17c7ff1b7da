"""Look-ups of what was learned about an inference after its answer."""

from __future__ import annotations

from sqlalchemy import and_, or_, select
from sqlmodel import Session, col

from llm_canary.storage.models.inferences import Outcome
from llm_canary.telemetry.events import InferenceEvent, OutcomeEvent, TargetKind

_MOST = 1_000


def about(session: Session, inference: InferenceEvent) -> tuple[OutcomeEvent, ...]:
    """Return what was said about the inference, its response or its session, the winner last.

    What another key has said of it without the right to is left out, as scoring leaves it out.
    """
    targets = (
        (TargetKind.REQUEST, inference.id),
        (TargetKind.RESPONSE, inference.response_id),
        (TargetKind.SESSION, inference.session_hash),
    )
    matches = [
        and_(col(Outcome.target_kind) == kind.value, col(Outcome.target_id) == target)
        for kind, target in targets
        if target is not None
    ]
    newest_first = (col(Outcome.occurred_at).desc(), col(Outcome.id).desc())
    query = select(Outcome).where(or_(*matches))
    if inference.key_name is not None:
        query = query.where(
            or_(
                col(Outcome.for_any_key).is_(True),
                col(Outcome.key_name).is_(None),
                col(Outcome.key_name) == inference.key_name,
            )
        )
    query = query.order_by(*newest_first).limit(_MOST)
    rows = session.execute(query).scalars().all()
    return tuple(_to_event(row) for row in reversed(rows))


def _to_event(row: Outcome) -> OutcomeEvent:
    return OutcomeEvent(
        id=row.id,
        target_kind=TargetKind(row.target_kind),
        target_id=row.target_id,
        metric=row.metric,
        value=row.value_num if row.value_text is None else row.value_text,
        at_s=row.at.timestamp(),
        occurred_at_s=row.occurred_at.timestamp(),
        comment=row.comment,
        idempotency_key=row.idempotency_key,
        key_name=row.key_name,
        for_any_key=bool(row.for_any_key),
        format=row.format,
    )
