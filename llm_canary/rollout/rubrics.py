"""Keeps the rubrics of a rollout as they are when it starts: later edits are for later rollouts."""

from __future__ import annotations

from collections.abc import Mapping

from sqlmodel import Session

from llm_canary.clock import utc
from llm_canary.errors import NotFound
from llm_canary.rubric.keep import keep
from llm_canary.rubric.load import LoadedRubric
from llm_canary.storage.repositories.rollouts import RolloutRecord
from llm_canary.storage.repositories.rubrics import keep_rubric


def keep_rubrics(
    session: Session, started: RolloutRecord, rubrics: Mapping[str, LoadedRubric], now_s: float
) -> None:
    """Store the texts by which the rollout's answers are graded."""
    for name in started.spec.plan.graded:
        loaded = rubrics.get(name)
        if loaded is None:
            raise NotFound(
                f"rollout {started.name!r} is graded by rubric {name!r}, which the file no longer "
                "names; put it back, or create the rollout anew"
            )
        kept = keep(loaded)
        keep_rubric(
            session,
            text_id=kept.id,
            rubric_id=name,
            version=loaded.rubric.version,
            content_hash=loaded.content_hash,
            text=kept.text,
            at=utc(now_s),
        )
