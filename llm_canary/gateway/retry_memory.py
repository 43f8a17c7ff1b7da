"""Remembers for a short while which arm a failed request had, so that its retry gets the same."""

from __future__ import annotations

from hashlib import blake2b
from typing import Generic, TypeVar

_KEPT_S = 120.0  # longer than clients keep trying
_MAX_KEPT = 10_000
_T = TypeVar("_T")


class RetryMemory(Generic[_T]):
    """Values by unit and body; both are kept as a hash only. For one thread."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[float, _T]] = {}  # in the order of their times

    def keep(self, unit: str, body: bytes, value: _T, now: float) -> None:
        """Keep `value` from `now` on, in seconds."""
        key = _key(unit, body)
        self._kept.pop(key, None)
        while self._kept:
            oldest = next(iter(self._kept))
            if len(self._kept) < _MAX_KEPT and self._kept[oldest][0] + _KEPT_S > now:
                break
            del self._kept[oldest]
        self._kept[key] = (now, value)

    def find(self, unit: str, body: bytes, now: float) -> _T | None:
        """Return what was kept for the same request of the same unit, unless it is too old."""
        if not self._kept:
            return None
        kept = self._kept.get(_key(unit, body))
        if kept is None or kept[0] + _KEPT_S <= now:
            return None
        return kept[1]


def _key(unit: str, body: bytes) -> bytes:
    digest = blake2b(unit.encode(errors="surrogatepass"), digest_size=16)
    digest.update(b"\0")
    digest.update(body)
    return digest.digest()
