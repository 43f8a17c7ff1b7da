"""What the control plane needs from the rest of the program; the composition root fills it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Engine

from llm_canary.access.audit import Audit
from llm_canary.access.gate import Gate
from llm_canary.access.keys import ApiKeys
from llm_canary.clock import Clock
from llm_canary.config.load import LoadedConfig
from llm_canary.retention.erase import Eraser
from llm_canary.review.queue import ReviewQueue
from llm_canary.rollout.service import RolloutService


@dataclass(frozen=True)
class ApiServices:
    """Everything that the control API calls; it may block and runs in threads."""

    engine: Engine
    rollouts: RolloutService
    reviews: ReviewQueue
    eraser: Eraser
    gate: Gate
    keys: ApiKeys
    audit: Audit
    clock: Clock
    config: Callable[[], LoadedConfig]
    status: Callable[[], Mapping[str, Any]]  # `schemas.Status` says which facts
    ready: Callable[[], None]  # raises NotReady while the database cannot be used
