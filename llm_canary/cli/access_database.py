"""Accounts and keys for commands that work on the database itself; what they do is audited."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy.engine import Engine

from llm_canary.access.accounts import Accounts
from llm_canary.access.audit import Audit
from llm_canary.auth import AccessRole, Principal, PrincipalKind
from llm_canary.clock import SystemClock
from llm_canary.config.settings import Settings
from llm_canary.storage.engine import make_engine
from llm_canary.storage.migrate import check


class AccessDatabase(NamedTuple):
    """What the commands use; whoever may run them is an admin, as they hold the database."""

    engine: Engine
    clock: SystemClock
    actor: Principal

    @property
    def accounts(self) -> Accounts:
        """Who may log in."""
        return Accounts(self.engine, self.clock)

    def note(self, action: str, target: str, detail: Mapping[str, Any] | None = None) -> None:
        """Keep the act in the audit log."""
        Audit(self.engine, self.clock, via="cli").note(self.actor, action, target, detail)


@contextmanager
def access_database() -> Iterator[AccessDatabase]:
    """Open the database of LLM_CANARY_DATABASE_URL; raise StorageError when it cannot be used."""
    engine = make_engine(Settings().database_url.get_secret_value())
    name = os.environ.get("USER") or "cli"
    try:
        check(engine)
        yield AccessDatabase(
            engine,
            SystemClock(),
            Principal(name=name, role=AccessRole.ADMIN, kind=PrincipalKind.LOCAL),
        )
    finally:
        engine.dispose()
