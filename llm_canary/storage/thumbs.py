"""Thumbs in the rollups: the latest thumb of each request or response, in the bin of its answer.

A thumb may be changed, taken back, sent twice, or come before the inference it is about. So the
target is only marked when an outcome is stored; counting looks at what is true by then and at how
the target was counted before, and adds the difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.engine import Connection
from sqlmodel import col

from llm_canary.metrics.builtin import THUMBS
from llm_canary.storage import rollups
from llm_canary.storage.dialect import is_sqlite
from llm_canary.storage.models.inferences import Inference, Outcome
from llm_canary.storage.models.rollups import Thumb
from llm_canary.telemetry.events import OutcomeEvent, TargetKind

_WAIT_S, _AGAIN_S = 7 * 86_400.0, 60.0  # for an inference that waits on some gateway's disk
KINDS = (TargetKind.REQUEST.value, TargetKind.RESPONSE.value)  # a session has no one bin
_READ = ("id", "at", "rollout_id", "assigned", "eligible", "route")
_MARK = """
    INSERT INTO thumb (target_kind, target_id, marked_s, due_s) VALUES (?, ?, ?, ?)
    ON CONFLICT (target_kind, target_id) DO UPDATE
    SET marked_s = excluded.marked_s, due_s = excluded.due_s"""


def mark(connection: Connection, outcomes: Sequence[OutcomeEvent]) -> None:
    """Note the targets whose thumb may have changed."""
    rows = sorted(
        {
            (outcome.target_kind.value, outcome.target_id): outcome.at_s
            for outcome in outcomes
            if outcome.metric == THUMBS and outcome.target_kind in KINDS
        }.items()
    )
    if rows:
        mark_ = _MARK if is_sqlite(connection) else _MARK.replace("?", "%s")
        connection.exec_driver_sql(mark_, [(*target, at_s, at_s) for target, at_s in rows])


def are_due(connection: Connection, now_s: float) -> bool:
    """Say whether there is anything to count."""
    query = select(col(Thumb.target_id)).where(col(Thumb.due_s) <= now_s).limit(1)
    return connection.execute(query).first() is not None


def count(connection: Connection, now_s: float, limit: int) -> int:
    """Bring up to `limit` marked targets into the rollups; return how many it looked at."""
    # Locked, so that what is marked meanwhile stays marked.
    due = select(Thumb).where(col(Thumb.due_s) <= now_s).order_by(col(Thumb.due_s)).limit(limit)
    found = connection.execute(due.with_for_update()).all()
    folded: dict[rollups.Bin, rollups.Sums] = {}
    for thumb in found:
        is_this = (
            col(Thumb.target_kind) == thumb.target_kind,
            col(Thumb.target_id) == thumb.target_id,
        )
        inference = _inference(connection, thumb)
        if inference is not None:
            latest = _latest(connection, thumb.target_kind, thumb.target_id)
            _add(folded, inference, thumb.counted, latest)
            values = {"inference_id": inference.id, "counted": latest, "due_s": None}
            connection.execute(update(Thumb).where(*is_this).values(**values))
        elif thumb.marked_s < now_s - _WAIT_S:
            connection.execute(delete(Thumb).where(*is_this))
        else:
            connection.execute(update(Thumb).where(*is_this).values(due_s=now_s + _AGAIN_S))
    rollups.add(connection, folded)
    return len(found)


def _inference(connection: Connection, thumb: Any) -> Any | None:  # noqa: ANN401 - rows
    """Return the answer it is about; the same one as last time, whatever has come since."""
    columns: list[Any] = [getattr(Inference, name) for name in _READ]
    query = select(*columns)
    if thumb.inference_id is not None:
        query = query.where(col(Inference.id) == thumb.inference_id)
    elif thumb.target_kind == TargetKind.REQUEST:
        query = query.where(col(Inference.id) == thumb.target_id)
    else:
        query = query.where(col(Inference.response_id) == thumb.target_id)
    return connection.execute(query.order_by(col(Inference.at).desc()).limit(1)).first()


def _latest(connection: Connection, kind: str, target: str) -> int | None:
    """Return 1 for up, 0 for down, None where it was taken back or is neither."""
    query = select(col(Outcome.value_num)).where(
        col(Outcome.target_kind) == kind,
        col(Outcome.target_id) == target,
        col(Outcome.metric) == THUMBS,
    )
    newest_first = query.order_by(col(Outcome.occurred_at).desc(), col(Outcome.id).desc())
    value = connection.execute(newest_first.limit(1)).scalar()
    return int(value) if value in (0.0, 1.0) else None


def _add(
    folded: dict[rollups.Bin, rollups.Sums],
    inference: Any,  # noqa: ANN401 - a row
    before: int | None,
    after: int | None,
) -> None:
    change = Counter(thumbs_up=0, thumbs_down=0)
    if before is not None:
        change[_NAMES[before]] -= 1
    if after is not None:
        change[_NAMES[after]] += 1
    arm, rollout_id = rollups.arm_of(inference), inference.rollout_id or ""
    for bin_ in rollups.bins_at(rollout_id, inference.at.timestamp(), arm, inference.route or ""):
        folded.setdefault(bin_, rollups.Sums.none()).counts.update(change)


_NAMES = {1: "thumbs_up", 0: "thumbs_down"}
