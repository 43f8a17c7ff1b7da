"""What the control plane needs from the rest of the program; the composition root fills it in."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Engine

from llm_canary.clock import Clock
from llm_canary.config.secrets import resolve
from llm_canary.errors import ConfigError, Unauthorized
from llm_canary.review.queue import ReviewQueue
from llm_canary.rollout.service import RolloutService
from llm_canary.routing.table import KeyRef


@dataclass(frozen=True)
class ApiServices:
    """Everything that the control API and the pages call; it may block and runs in threads."""

    engine: Engine
    rollouts: RolloutService
    reviews: ReviewQueue
    clock: Clock
    status: Callable[[], Mapping[str, Any]]  # `schemas.Status` says which facts
    ready: Callable[[], None]  # raises NotReady while the database cannot be used
    keys: Callable[[], Sequence[KeyRef]]  # none: whoever reaches the loopback port may call

    def authenticate(self, key: str | None) -> str | None:
        """Return the name of `key`, None while none is configured; raise Unauthorized."""
        configured = self.keys()
        if not configured:
            return None
        if key is None:
            raise Unauthorized("no API key was sent; send one as `Authorization: Bearer KEY`")
        found = None
        for known in configured:
            # Every key is compared, so that the time tells nothing about which one was close.
            if hmac.compare_digest(_secret(known), key.encode()):
                found = known.name
        if found is None:
            raise Unauthorized("this API key is not one of the server's `keys:`")
        return found


def _secret(key: KeyRef) -> bytes:
    try:
        return resolve(key.secret).encode()
    except ConfigError as error:
        raise Unauthorized(f"key {key.name!r} cannot be checked: {error.message}") from error
