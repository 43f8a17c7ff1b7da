"""What the pages need from the rest of the program, by shape: the API's services have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from llm_canary.clock import Clock
from llm_canary.rollout.views import RolloutView


class RolloutReader(Protocol):
    """Reads every rollout."""

    def list(self) -> Sequence[RolloutView]:
        """Return every rollout that the file or the database knows."""
        ...


class PageServices(Protocol):
    """Everything that the pages call; all of it may block and runs in threads."""

    @property
    def rollouts(self) -> RolloutReader:
        """Where rollouts are read."""
        ...

    @property
    def clock(self) -> Clock:
        """Where the time comes from."""
        ...

    @property
    def status(self) -> Callable[[], Mapping[str, Any]]:
        """The health of the process."""
        ...

    @property
    def ready(self) -> Callable[[], None]:
        """Raises NotReady while the database cannot be used."""
        ...

    def authenticate(self, key: str | None) -> str | None:
        """Return the name of the key; raise Unauthorized."""
        ...
