"""What moves a judge besides quality, as its newest probes say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from llm_canary.judging.probes import Probe, Tendency
from llm_canary.pages.history import Moment, moment
from llm_canary.pages.markdown import visible
from llm_canary.pages.quantity import ABSENT, count_text
from llm_canary.storage.repositories.grading import Probed

_WORDS = {
    Tendency.NONE: ("None", "good"),
    Tendency.SHOWN: ("Shown", "bad"),
    Tendency.NOT_ENOUGH: ("Not enough answers to tell", "warn"),
}


@dataclass(frozen=True)
class ProbeRow:
    """One tendency of a judge."""

    name: str
    meaning: str
    n: str
    value: str
    word: str
    tone: str


@dataclass(frozen=True)
class ProbedJudge:
    """The newest probes of one judge version."""

    judge: str
    at: Moment
    rows: tuple[ProbeRow, ...]


def probed_judges(found: Sequence[Probed]) -> tuple[ProbedJudge, ...]:
    """Return the probes that this version can read."""
    return tuple(
        ProbedJudge(
            judge=each.judge_id[:12],
            at=moment(each.at) or Moment("", ""),
            rows=tuple(row for probe in each.probes if (row := _row(probe)) is not None),
        )
        for each in found
    )


def _row(stored: Mapping[str, Any]) -> ProbeRow | None:
    try:
        probe = msgspec.convert(stored, Probe)
    except msgspec.ValidationError:
        return None
    word, tone = _WORDS[probe.tendency]
    value = ABSENT
    if probe.value is not None and probe.lower is not None and probe.upper is not None:
        value = f"{probe.value:+.2f} [{probe.lower:+.2f}, {probe.upper:+.2f}]"
    return ProbeRow(
        name=visible(probe.name.replace("_", " ")),
        meaning=visible(probe.meaning),
        n=count_text(probe.n),
        value=value,
        word=word,
        tone=tone,
    )
