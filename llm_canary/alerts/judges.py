"""Judges that are not to be trusted, were not compared with people for long, or have moved."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from sqlmodel import Session

from llm_canary.alerts.alert import Alert, Severity
from llm_canary.decision.words import duration_text
from llm_canary.rubric.load import LoadedRubric
from llm_canary.storage.repositories.grading import calibrations, drift_looks
from llm_canary.storage.repositories.sample_facts import standing_of

_LOOKED_BACK = 30
_DAY_S = 86_400.0
_STABLE = "stable"


def judge_alerts(
    session: Session,
    rubrics: Mapping[str, LoadedRubric],
    now_s: float,
    *,
    said: Collection[str] = (),
) -> list[Alert]:
    """Return what is wrong with the judge of each rubric that was compared last.

    `said` are metrics that other alerts name already: a rollout's own tell more.
    """
    found: list[Alert] = []
    for name, loaded in rubrics.items():
        if f"rubric:{name}" in said:
            continue
        runs = calibrations(session, name, limit=_LOOKED_BACK)
        if runs:
            found += _of_judge(session, name, loaded, runs, now_s)
        found += _drifts(session, name)
    return found


def _of_judge(
    session: Session,
    name: str,
    loaded: LoadedRubric,
    runs: Sequence[Mapping[str, Any]],
    now_s: float,
) -> list[Alert]:
    judge_id, link = runs[0]["judge_id"], _link(name)
    own = [each for each in runs if each["judge_id"] == judge_id]
    standing = standing_of(session, judge_id)
    if standing.standing == "untrusted":
        return [
            Alert(
                id=f"judge_untrusted:{judge_id}",
                kind="judge_untrusted",
                severity=Severity.WARNING,
                needs_person=True,
                title=f"The judge of {name} is not trusted",
                text=f"{standing.reason}. Its grades decide nothing.",
                do="Improve the rubric or the judge, and compare it with people again.",
                since_s=_since(own, "untrusted"),
                link=link,
            )
        ]
    age_s = now_s - own[0]["at"].timestamp()
    max_age_s = loaded.rubric.trust.max_age_days * _DAY_S
    if standing.standing == "trusted" and age_s > max_age_s:
        return [
            Alert(
                id=f"judge_stale:{judge_id}",
                kind="judge_stale",
                severity=Severity.WARNING,
                needs_person=True,
                title=f"The judge of {name} was not compared with people for long",
                text=f"Last {duration_text(age_s)} ago; after {duration_text(max_age_s)} its "
                "grades decide nothing.",
                do="Review answers, or run `llm-canary judge calibrate --store`.",
                since_s=own[0]["at"].timestamp() + max_age_s,
                link=link,
            )
        ]
    return []


def _since(runs: Sequence[Mapping[str, Any]], standing: str) -> float:
    """Return since when the judge has the standing, as far as it was looked back; newest first."""
    since: float = runs[0]["at"].timestamp()
    for each in runs:
        if each["standing"] != standing:
            break
        since = each["at"].timestamp()
    return since


def _drifts(session: Session, name: str) -> list[Alert]:
    looks = drift_looks(session, name, limit=_LOOKED_BACK)
    if not looks or looks[0].drift == _STABLE:
        return []
    since_s = looks[0].at.timestamp()
    for each in looks:
        if each.judge_id != looks[0].judge_id or each.drift == _STABLE:
            break
        since_s = each.at.timestamp()
    reasons = "; ".join(str(each) for each in looks[0].report.get("reasons", ()))
    return [
        Alert(
            id=f"judge_drift:{looks[0].judge_id}",
            kind="judge_drift",
            severity=Severity.WARNING,
            needs_person=True,
            title=f"The judge of {name} has moved",
            text=f"{reasons or looks[0].drift}. What it says now cannot be put together with what "
            "it said before.",
            do="Pin the judge's model, or compare the new one with people.",
            since_s=since_s,
            link=f"{_link(name)}#drift",
        )
    ]


def _link(rubric: str) -> str:
    return f"/calibration?{urlencode({'rubric': rubric})}"
