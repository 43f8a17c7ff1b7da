"""What is wrong with the process itself, said above everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_canary.alerts.alert import Severity
from llm_canary.alerts.process import process_alerts

TONES = {Severity.CRITICAL: "bad", Severity.WARNING: "warn", Severity.INFO: "calm"}
_ELSEWHERE = {"loop:judge", "loop:compare", "loop:config", "loop:forget"}  # on the page of alerts


@dataclass(frozen=True)
class Banner:
    """One thing that a reader must know before reading on."""

    title: str
    text: str
    tone: str


def banners(status: Mapping[str, Any], now_s: float) -> tuple[Banner, ...]:
    """Return what is wrong, the most harmful first; `status` is what the control plane reports."""
    return tuple(
        Banner(each.title, each.text, TONES[each.severity])
        for each in process_alerts(status, now_s)
        if each.id not in _ELSEWHERE
    )
