"""What the pages need from the rest of the program; the composition root fills it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Engine

from llm_canary.access.audit import Audit
from llm_canary.access.gate import Gate
from llm_canary.access.keys import ApiKeys
from llm_canary.access.oidc import OidcLogin
from llm_canary.clock import Clock, utc
from llm_canary.config.load import LoadedConfig
from llm_canary.review.queue import ReviewQueue
from llm_canary.rollout.service import RolloutService


@dataclass(frozen=True)
class PageServices:
    """Everything that the pages call; all of it may block and runs in threads."""

    engine: Engine
    rollouts: RolloutService
    reviews: ReviewQueue
    gate: Gate
    keys: ApiKeys
    audit: Audit
    clock: Clock
    config: Callable[[], LoadedConfig]
    status: Callable[[], Mapping[str, Any]]  # the health of the process
    ready: Callable[[], None]  # raises NotReady while the database cannot be used
    environment: Mapping[str, str] = field(default_factory=dict)  # variables, no secret among them
    oidc: OidcLogin | None = None
    web_url: Callable[[], str | None] = lambda: None  # where browsers find us, if the file says so

    def now(self) -> datetime:
        """Return the time of the installation's clock."""
        return utc(self.clock.now_s())
