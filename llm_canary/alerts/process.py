"""What is wrong with the process itself: loops, telemetry, configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_canary.alerts.alert import Alert, Severity
from llm_canary.decision.words import duration_text

STALLED_AFTER_S = 30.0
_SELDOM_S = 300.0  # of loops that do not run every second
# The most harmful first.
LOOPS = {
    "decide": ("The controller", "No rollout moves on, and none is rolled back by itself."),
    "publish": ("Publishing", "A decision does not reach the gateways."),
    "score": ("Scoring", "New facts are not counted; the values that are shown miss them."),
    "drain": ("The drain", "New facts wait on disk; the values that are shown miss them."),
    "judge": ("Judging", "Drawn answers wait for a judge; gates of rubrics wait with them."),
    "compare": ("Comparing judges with people", "New reviews do not count for trust yet."),
    "config": ("Watching the configuration file", "A changed file is not noticed."),
    "retain": ("Retention and erasing", "Texts and requests are kept longer than promised."),
    "spending": ("Counting what keys spend", "Budgets of keys do not see new cost."),
    "rollups": ("Counting for the pages", "Charts and requests by day miss new facts."),
    "forget": ("Forgetting units", "Units of ended rollouts are kept longer than needed."),
}
_EVERY_SECOND = ("decide", "publish", "score", "drain", "config")


def process_alerts(status: Mapping[str, Any], now_s: float) -> list[Alert]:
    """Return what is wrong, the most harmful first; `status` is what the control plane reports."""
    by_name = {str(loop["name"]): loop for loop in status.get("loops", ())}
    found = [_loop(by_name[name], now_s) for name in LOOPS if name in by_name]
    found += [_lost_facts(status.get("telemetry")), _refused_file(status)]
    return [each for each in found if each is not None]


def _loop(loop: Mapping[str, Any], now_s: float) -> Alert | None:
    name = str(loop["name"])
    what, harm = LOOPS[name]
    last_ok_s, error = loop["last_ok_s"], loop["last_error"]
    allowed_s = STALLED_AFTER_S if name in _EVERY_SECOND else _SELDOM_S
    is_stalled = last_ok_s is not None and now_s - last_ok_s > allowed_s
    if error is None and not is_stalled:
        return None
    since = "never since the start" if last_ok_s is None else ago(now_s - last_ok_s)
    cause = f" {error}." if error else ""
    return Alert(
        id=f"loop:{name}",
        kind="loop",
        severity=Severity.CRITICAL if is_stalled or last_ok_s is None else Severity.WARNING,
        needs_person=True,
        title=f"{what} {'stands still' if is_stalled else 'fails'}",
        text=f"{harm} Last success: {since}.{cause}",
        do="See the log of the server; `llm-canary db doctor` looks at the database.",
        since_s=last_ok_s,
        link="/settings#loops",
    )


def _lost_facts(telemetry: Mapping[str, Any] | None) -> Alert | None:
    if telemetry is None:
        return None
    dropped = telemetry["dropped_full"] + telemetry["dropped_error"]
    if not dropped:
        return None
    cause = f" {telemetry['last_error']}." if telemetry["last_error"] else ""
    return Alert(
        id="telemetry",
        kind="telemetry_lost",
        severity=Severity.WARNING,
        needs_person=True,
        title="Telemetry was lost",
        text=f"{dropped:,} facts since this process started never reached the disk; "
        f"the values that are shown miss them.{cause}",
        do="Free the disk of the data folder; the count starts anew with the process.",
        link="/settings#loops",
    )


def _refused_file(status: Mapping[str, Any]) -> Alert | None:
    problem = status.get("config_problem")
    if problem is None:
        return None
    return Alert(
        id="config",
        kind="config_refused",
        severity=Severity.WARNING,
        needs_person=True,
        title="The newest configuration file is refused",
        text=f"The one before it stays in force. {problem}",
        do="Mend the file; `llm-canary config check` says the same.",
        link="/settings",
    )


def ago(seconds: float) -> str:
    """Write how long ago something was, coarse enough not to change with every look."""
    if seconds < 60:
        return "less than a minute ago"
    step = 60 if seconds < 3600 else 3600
    return f"{duration_text(seconds // step * step)} ago"
