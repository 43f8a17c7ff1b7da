"""Something that forbids promotion."""

from __future__ import annotations

import msgspec

_STANDING = {
    *("idle_canary", "idle_control", "no_gates", "telemetry_loss", "judge_untrusted"),
    "judge_stale",
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that forbids promotion; `metric` when it touches that one only."""

    code: str
    text: str
    needs_person: bool
    metric: str | None = None


def outlasts_stage(code: str) -> bool:
    """Say whether a problem that a person accepted stays so in the stages to come.

    What has happened stays: another model has answered. How things stand is asked about again
    where more users are at stake: an arm is idle, a judge is not trusted.
    """
    return code.partition(":")[0] not in _STANDING
