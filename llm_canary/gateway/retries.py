"""When a failed attempt is made again, and after which pause."""

from __future__ import annotations

from llm_canary.gateway.asgi import Headers

_RETRYABLE = (0, 408, 409, 429)  # 0 = no answer
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 4.0
_LONGEST_WISH_S = 5.0  # who is to wait longer had better be told


def wait_s(attempt: int, upstream_status: int, headers: Headers, jitter: float) -> float | None:
    """Return the pause in seconds after attempt `attempt` (0, 1, ...); None = do not try again.

    Pauses double and lose up to a quarter to `jitter` in [0, 1), so that clients which failed
    together do not return together. The upstream's own wish (`retry-after-ms`, `retry-after`,
    `x-should-retry`) goes first.
    """
    fields = dict(headers)
    wish = fields.get(b"x-should-retry", b"")
    if wish == b"false":
        return None
    if wish != b"true" and upstream_status not in _RETRYABLE and upstream_status < 500:
        return None
    if b"retry-after-ms" in fields:
        return _wished(fields[b"retry-after-ms"], 0.001)
    if b"retry-after" in fields:
        return _wished(fields[b"retry-after"], 1.0)
    pause_s = min(_FIRST_PAUSE_S * 2.0**attempt, _LONGEST_PAUSE_S)
    return pause_s * (1.0 - 0.25 * jitter)


def _wished(value: bytes, unit_s: float) -> float | None:
    """Return the pause that the upstream asks for, unless it is too long, or a date."""
    try:
        pause_s = float(value) * unit_s
    except ValueError:
        return None
    return pause_s if 0.0 <= pause_s <= _LONGEST_WISH_S else None
