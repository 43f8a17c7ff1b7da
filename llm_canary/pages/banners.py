"""What is wrong with the process itself, said above everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_canary.pages.quantity import ago_text, count_text

STALLED_AFTER_S = 30.0
_LOOPS = {
    "decide": ("The controller", "No rollout moves on, and none is rolled back by itself."),
    "publish": ("Publishing", "A decision does not reach the gateways."),
    "score": ("Scoring", "New facts are not counted; the values below miss them."),
    "drain": ("The drain", "New facts wait on disk; the values below miss them."),
}


@dataclass(frozen=True)
class Banner:
    """One thing that a reader must know before reading on."""

    title: str
    text: str
    tone: str


def banners(status: Mapping[str, Any], now_s: float) -> tuple[Banner, ...]:
    """Return what is wrong, the most harmful first; `status` is what the control plane reports."""
    by_name = {str(loop["name"]): loop for loop in status.get("loops", ())}
    found = [_loop(by_name[name], now_s) for name in _LOOPS if name in by_name]
    found += [_lost_facts(status.get("telemetry")), _refused_file(status.get("config_problem"))]
    return tuple(banner for banner in found if banner is not None)


def _loop(loop: Mapping[str, Any], now_s: float) -> Banner | None:
    what, harm = _LOOPS[loop["name"]]
    last_ok_s, error = loop["last_ok_s"], loop["last_error"]
    is_stalled = last_ok_s is not None and now_s - last_ok_s > STALLED_AFTER_S
    if error is None and not is_stalled:
        return None
    since = "never since the start" if last_ok_s is None else ago_text(now_s - last_ok_s)
    cause = f" {error}." if error else ""
    return Banner(
        f"{what} {'stands still' if is_stalled else 'fails'}",
        f"{harm} Last success: {since}.{cause}",
        "bad" if is_stalled or last_ok_s is None else "warn",
    )


def _lost_facts(telemetry: Mapping[str, Any] | None) -> Banner | None:
    if telemetry is None:
        return None
    dropped = telemetry["dropped_full"] + telemetry["dropped_error"]
    if not dropped:
        return None
    cause = f" {telemetry['last_error']}." if telemetry["last_error"] else ""
    return Banner(
        "Telemetry was lost",
        f"{count_text(dropped)} facts since this process started never reached the disk; "
        f"the values below miss them.{cause}",
        "warn",
    )


def _refused_file(problem: str | None) -> Banner | None:
    if problem is None:
        return None
    return Banner(
        "The newest configuration file is refused",
        f"The one before it stays in force. {problem}",
        "warn",
    )
