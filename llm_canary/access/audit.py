"""The record of every act that changed something or was refused: who, what, on what, from where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Engine

from llm_canary.auth import Principal
from llm_canary.clock import Clock, utc
from llm_canary.storage.engine import write_session
from llm_canary.storage.repositories.access import add_audit

NOBODY = "-"  # who is not known, as where a login fails


class Audit:
    """Writes entries; texts of users and secrets must never be among the details."""

    def __init__(self, engine: Engine, clock: Clock, *, via: str) -> None:
        self._engine = engine
        self._clock = clock
        self._via = via

    def note(
        self,
        principal: Principal | None,
        action: str,
        target: str,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Store one act in a transaction of its own."""
        with write_session(self._engine) as session:
            add_audit(
                session,
                at=utc(self._clock.now_s()),
                actor=NOBODY if principal is None else principal.name,
                role=NOBODY if principal is None else principal.role.value,
                via=self._via,
                action=action,
                target=target,
                detail=detail or {},
            )
