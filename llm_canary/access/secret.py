"""Secrets of the installation: made once, kept in its database, shared by all its processes."""

from __future__ import annotations

import secrets

from sqlalchemy.engine import Engine

from llm_canary.opaque import Opaque
from llm_canary.storage.engine import write_session
from llm_canary.storage.repositories.installation import get_or_set

_BYTES = 32


class InstallationSecret:
    """One secret by its name; read when first needed."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._value: Opaque | None = None

    def __call__(self) -> Opaque:
        """Return it; raise StorageError when it is needed before the database has answered once."""
        if self._value is None:
            with write_session(self._engine) as session:
                kept = get_or_set(session, self._name, secrets.token_hex(_BYTES))
            self._value = Opaque.fromhex(kept)
        return self._value
