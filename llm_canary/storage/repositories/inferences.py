"""Look-ups of inferences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from heapq import nsmallest

import msgspec
from sqlalchemy import select
from sqlmodel import Session, col

from llm_canary.routing.table import Path
from llm_canary.storage.models.inferences import Inference
from llm_canary.telemetry.events import (
    Absorbed,
    Continuation,
    InferenceEvent,
    Terminal,
    UsageSource,
)

_MANY = 500
_OUR_ID = re.compile(r"[0-9a-f]{12}7[0-9a-f]{19}")
_LATER = ("attempts", "absorbed")  # NULL in rows from before these columns: as the event says then


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


def to_event(row: Inference) -> InferenceEvent:
    """Return the event that `row` was made from (its time to the microsecond)."""
    values = row.model_dump(exclude={"at"})
    if row.path is not None:
        values["path"] = Path(row.path)
    if row.continuation is not None:
        values["continuation"] = Continuation(row.continuation)
    if row.sent_params is not None:
        values["sent_params"] = tuple(row.sent_params)
    if row.absorbed is not None:
        values["absorbed"] = msgspec.convert(row.absorbed, tuple[Absorbed, ...])
    for name in _LATER:
        if values[name] is None:
            del values[name]
    values["terminal"] = Terminal(row.terminal)
    values["usage_source"] = UsageSource(row.usage_source)
    return InferenceEvent(at_s=row.at.timestamp(), **values)


def with_content(
    session: Session, *, route: str | None, since: datetime, limit: int
) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Yield id, request, response and segments of completed inferences whose text is kept.

    As the route's content policy left it, and in the order of a hash of the id, so that the first
    N are a sample of all. The request is the body's `messages`, cut at the policy's limit.
    """
    query = select(col(Inference.id)).where(
        col(Inference.at) >= since,
        col(Inference.terminal) == Terminal.COMPLETED.value,
        col(Inference.endpoint) == "chat.completions",
        col(Inference.request_text).is_not(None),
        col(Inference.response_text).is_not(None),
    )
    if route is not None:
        query = query.where(col(Inference.route) == route)
    digests = (
        (blake2b(name.encode(), digest_size=8).digest(), name)
        for name in session.execute(query).scalars()
    )
    for _, name in nsmallest(limit, digests):
        row = session.get(Inference, name)
        if row is not None and row.request_text is not None and row.response_text is not None:
            yield row.id, row.request_text, row.response_text, row.segments


def without_text(session: Session, ids: Sequence[str]) -> set[str]:
    """Return those of `ids` that are ids of inferences and of which no text is stored."""
    ours = [name for name in ids if _OUR_ID.fullmatch(name)]
    stored: set[str] = set()
    for first in range(0, len(ours), _MANY):
        query = select(col(Inference.id)).where(
            col(Inference.id).in_(ours[first : first + _MANY]),
            col(Inference.request_text).is_not(None),
        )
        stored.update(session.execute(query).scalars())
    return set(ours) - stored
