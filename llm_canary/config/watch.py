"""Notices a changed configuration. No thread and no clock: whoever polls decides how often."""

from __future__ import annotations

import hashlib
from pathlib import Path

from llm_canary.config.load import LoadedConfig, load
from llm_canary.errors import ConfigError

_Signature = tuple[bytes | None, ...]


class ConfigWatcher:
    """Compares the file, its prompts and rubrics with what was loaded last."""

    def __init__(self, path: Path, current: LoadedConfig | None = None) -> None:
        self._path = Path(path)
        self._current = current
        # Nobody knows whether `current` is what lies there now, so the first poll reads.
        self._signature: _Signature | None = None
        self.refused: ConfigError | None = None  # why what lies there now is not in force

    def poll(self) -> LoadedConfig | ConfigError | None:
        """Return the new configuration, the error of a broken one (once), or None: nothing new.

        The caller keeps serving the old configuration on an error. A broken file is read again at
        every poll, because its cure may lie elsewhere: a secret's file, a missing prompt.
        """
        signature = self._sign()
        if signature == self._signature and self.refused is None:
            return None
        try:
            loaded = load(self._path)
        except ConfigError as error:
            self._signature = signature
            is_known = self.refused is not None and self.refused.message == error.message
            self.refused = error
            return None if is_known else error
        if self._sign() != signature:
            self._signature = None
            return None  # it changed while it was read: the next poll sees all of it
        # After a refusal the old configuration is news too: what was refused is gone.
        old = self._current
        is_news = old is None or self.refused is not None or old.hash != loaded.hash
        self._signature, self._current, self.refused = signature, loaded, None
        return loaded if is_news else None

    def _sign(self) -> _Signature:
        # Contents, not times: two quick writes of one length can share every time stamp.
        return tuple(_digest(path) for path in (self._path, *self._prompts(), *self._rubrics()))

    def _prompts(self) -> list[Path]:
        if self._current is None:
            return []
        folder = self._path.parent / self._current.file.prompts
        variants = [
            *(route.control for route in self._current.routes.values()),
            *(rollout.canary for rollout in self._current.rollouts.values()),
        ]
        names = sorted({variant.prompt for variant in variants if variant.prompt})
        return [folder / f"{name}.md" for name in names]

    def _rubrics(self) -> list[Path]:
        known = self._current.rubrics.values() if self._current is not None else ()
        return sorted(rubric.path for rubric in known if rubric.path is not None)


def _digest(path: Path) -> bytes | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None
