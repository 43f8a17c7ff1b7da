"""Whether judges may be trusted: how far each version agrees with people, and what is lacking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

import msgspec
from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.errors import NotFound
from llm_canary.judging.calibrate import Position, Probabilities, TrustReport
from llm_canary.judging.trust import Subject
from llm_canary.pages.filters import asked_text, with_query
from llm_canary.pages.history import Moment, moment
from llm_canary.pages.markdown import visible
from llm_canary.pages.probe_rows import ProbedJudge, probed_judges
from llm_canary.pages.quantity import ABSENT, count_text
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.rubric.schema import TrustEntry
from llm_canary.stats.agreement import Coefficient
from llm_canary.stats.corrected import Interval, Operating
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.grading import (
    DriftSeen,
    calibrated_rubrics,
    calibrations,
    drift_looks,
    latest_probes,
)

_RUNS, _POINTS = 100, 40  # looked at, and shown of one judge version
_DAY_S = 86_400.0
_STANDINGS = {
    "trusted": ("Trusted", "good"),
    "untrusted": ("Not trusted", "bad"),
    "not_enough": ("Not enough labels to tell", "warn"),
}
_ORDER = ("untrusted", "trusted", "not_enough")
_SOURCES = {"labels": "imported labels", "reviews": "reviews of live answers"}
_DRIFTS = {
    "stable": ("Stable", "good"),
    "judge_drift": ("Has moved", "bad"),
    "system_change": ("Is another judge", "warn"),
}


class Run(NamedTuple):
    """One comparison of a judge version with people."""

    at: Any
    judge_id: str
    standing: str
    labelled: int  # labels that the standing rests on
    source: str
    report: TrustReport


@dataclass(frozen=True)
class Point:
    """One comparison as a point in time."""

    at: Moment
    at_s: int
    source: str
    labelled: str
    kappa: str
    low: str
    high: str
    standing: str


@dataclass(frozen=True)
class SubjectLine:
    """The agreement about one thing."""

    name: str
    n: str
    agreement: str
    kappa: str
    ac1: str
    between: str
    relative: str
    standing: str
    tone: str


@dataclass(frozen=True)
class Confusion:
    """What a judge's passes are worth: counts, and the two rates."""

    both_pass: str
    only_human: str
    only_judge: str
    both_fail: str
    sensitivity: str
    specificity: str


@dataclass(frozen=True)
class Sureness:
    """Whether confidence means what it says, for one criterion."""

    criterion: str
    n: str
    error: str
    brier: str
    temperature: str
    curve: tuple[tuple[str, str, str], ...]  # said, came true, answers


@dataclass(frozen=True)
class JudgeView:
    """One judge version."""

    id: str
    model: str
    standing: str
    tone: str
    why: tuple[str, ...]
    basis: str
    needed: str
    seen: Moment
    points: tuple[Point, ...]  # the oldest first
    subjects: tuple[SubjectLine, ...]
    strata: tuple[SubjectLine, ...]
    confusion: Confusion | None
    sureness: tuple[Sureness, ...]
    facts: tuple[tuple[str, str], ...]
    failures: str


@dataclass(frozen=True)
class DriftLine:
    """One look at a judge's anchors."""

    at: Moment
    judge: str
    word: str
    tone: str
    changed: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class CalibrationView:
    """The page."""

    rubrics: tuple[tuple[str, str, bool], ...]
    rubric: str
    judges: tuple[JudgeView, ...]
    drifts: tuple[DriftLine, ...]
    probed: tuple[ProbedJudge, ...]


def add_calibration(site: Site) -> None:
    """Add `/calibration`."""
    services = site.services

    def page(visit: Visit) -> Response:
        services.ready()
        asked, loaded = asked_text(visit, "rubric"), services.config().rubrics
        with read_session(services.engine) as session:
            calibrated = calibrated_rubrics(session)
            known = sorted({*loaded, *calibrated})
            if asked is not None and asked not in known:
                raise NotFound(
                    f"there is no rubric {asked!r}; there are: {', '.join(known) or 'none'}"
                )
            rubric = asked or (calibrated or known or [""])[0]
            runs = runs_of(calibrations(session, rubric, limit=_RUNS))
            drifts = drift_looks(session, rubric)
            probes = latest_probes(session, rubric)
        trust = loaded[rubric].rubric.trust if rubric in loaded else TrustEntry()
        now_s = services.clock.now_s()
        return site.html(
            visit,
            "calibration.html",
            view=CalibrationView(
                rubrics=tuple(
                    (each, with_query("/calibration", {"rubric": each}), each == rubric)
                    for each in known
                ),
                rubric=visible(rubric),
                judges=judge_views(runs, trust, now_s),
                drifts=tuple(_drift(each) for each in drifts),
                probed=probed_judges(probes),
            ),
        )

    site.page("/calibration", Permission.READ, page)


def runs_of(rows: Sequence[Mapping[str, Any]]) -> list[Run]:
    """Return comparisons whose report this version can read, the newest first."""
    runs = []
    for row in rows:
        try:
            report = msgspec.convert(row["report"], TrustReport)
        except msgspec.ValidationError:
            continue
        compared = report.compared or row["labelled"]
        runs.append(
            Run(row["at"], row["judge_id"], row["standing"], compared, row["source"], report)
        )
    return runs


def judge_views(runs: Sequence[Run], trust: TrustEntry, now_s: float) -> tuple[JudgeView, ...]:
    """Return the judge versions, the one that was looked at last first."""
    by_judge: dict[str, list[Run]] = {}
    for run in runs:
        by_judge.setdefault(run.judge_id, []).append(run)
    return tuple(_judge(own, trust, now_s) for own in by_judge.values())


def labels_needed(run: Run, trust: TrustEntry) -> str:
    """Write how many more labels would settle whether the judge is trusted, where that is known.

    The interval of kappa narrows with the root of the labels; that kappa stays is assumed.
    """
    if run.standing == "trusted":
        return ""
    if run.labelled < trust.min_labels:
        return f"{trust.min_labels - run.labelled:,} more labels are needed to tell at all."
    kappa = run.report.subjects[0].kappa if run.report.subjects else None
    if kappa is None:
        return "Labels of both kinds are needed: agreement cannot be told from luck."
    if kappa.value <= trust.min_kappa_low:
        return "More labels will not help: the agreement itself is too low."
    if kappa.lower >= trust.min_kappa_low:
        return ""
    times = ((kappa.value - kappa.lower) / (kappa.value - trust.min_kappa_low)) ** 2
    more = max(ceil(run.labelled * (times - 1.0)), 1)
    about = round(more, -max(len(str(more)) - 2, 0))  # two digits: it is no more than a guess
    return f"About {about:,} more labels would settle it, if the agreement stays as it is."


def _judge(runs: Sequence[Run], trust: TrustEntry, now_s: float) -> JudgeView:
    newest: dict[str, Run] = {}
    for run in runs:
        newest.setdefault(run.source, run)
    # As gates see it: a source that does not trust the judge counts for all, newer trust for more
    # than older; where none can tell, the one with most labels.
    best = min((run.standing for run in newest.values()), key=_ORDER.index)
    alike = [run for run in newest.values() if run.standing == best]
    deciding = alike[0] if best != "not_enough" else max(alike, key=lambda run: run.labelled)
    report, age_s = deciding.report, now_s - deciding.at.timestamp()
    word, tone = _STANDINGS[deciding.standing]
    why = list(report.reasons)
    if deciding.standing == "trusted" and age_s > trust.max_age_days * _DAY_S:
        word, tone = "Trusted once", "warn"
        why.append(f"the comparison is older than {trust.max_age_days} days, so it counts no more")
    return JudgeView(
        id=deciding.judge_id[:12],
        model=visible(f"{report.judge.model} ({report.judge.kind})"),
        standing=word,
        tone=tone,
        why=tuple(why),
        basis=report.basis,
        needed=labels_needed(deciding, trust),
        seen=moment(deciding.at) or Moment("", ""),
        points=tuple(_point(run) for run in reversed(runs[:_POINTS])),
        subjects=tuple(_subject(each.name, each) for each in report.subjects),
        strata=tuple(_subject(name, each) for name, each in report.strata.items()),
        confusion=None if report.operating is None else _confusion(report.operating),
        sureness=tuple(_sureness(name, each) for name, each in report.probabilities.items()),
        facts=_facts(deciding),
        failures=", ".join(f"{name} {count:,}" for name, count in report.failures.items()),
    )


def _facts(run: Run) -> tuple[tuple[str, str], ...]:
    report = run.report
    facts = [
        ("Rests on", _SOURCES.get(run.source, run.source)),
        ("Labels", count_text(report.labelled)),
        ("Judged", count_text(report.judged)),
        ("Compared", count_text(run.labelled)),
        ("People's mean", _interval(report.human)),
        ("Judge's mean", _interval(report.raw)),
        ("Rubric version", str(report.rubric_version)),
    ]
    return (*facts, *_position(report.position))


def _position(position: Position | None) -> tuple[tuple[str, str], ...]:
    if position is None:
        return ()
    return (
        ("Same verdict in both orders", _share(position.consistency)),
        ("Wins of the answer shown first", _interval(position.first_shown)),
    )


def _point(run: Run) -> Point:
    kappa = run.report.subjects[0].kappa if run.report.subjects else None
    return Point(
        at=moment(run.at) or Moment("", ""),
        at_s=int(run.at.timestamp()),
        source=_SOURCES.get(run.source, run.source),
        labelled=count_text(run.labelled),
        kappa=ABSENT if kappa is None else f"{kappa.value:.2f}",
        low=ABSENT if kappa is None else f"{kappa.lower:.2f}",
        high=ABSENT if kappa is None else f"{kappa.upper:.2f}",
        standing=_STANDINGS[run.standing][0],
    )


def _subject(name: str, subject: Subject) -> SubjectLine:
    word, tone = _STANDINGS[subject.standing.value]
    return SubjectLine(
        name=visible(name.replace("_", " ").replace("=", ": ")),
        n=count_text(subject.n),
        agreement=_coefficient(subject.agreement),
        kappa=_coefficient(subject.kappa),
        ac1=_coefficient(subject.ac1),
        between=ABSENT if subject.human_kappa is None else f"{subject.human_kappa:.2f}",
        relative=ABSENT if subject.relative_kappa is None else f"{subject.relative_kappa:.2f}",
        standing=word,
        tone=tone,
    )


def _confusion(found: Operating) -> Confusion:
    passes, fails = found.both_pass + found.only_human, found.only_judge + found.both_fail
    return Confusion(
        both_pass=count_text(found.both_pass),
        only_human=count_text(found.only_human),
        only_judge=count_text(found.only_judge),
        both_fail=count_text(found.both_fail),
        sensitivity=_share(found.both_pass / passes if passes else None),
        specificity=_share(found.both_fail / fails if fails else None),
    )


def _sureness(name: str, found: Probabilities) -> Sureness:
    return Sureness(
        criterion=visible(name),
        n=count_text(found.n),
        error=f"{found.error:.3f}",
        brier=f"{found.brier:.3f}",
        temperature=f"{found.temperature:.2f}",
        curve=tuple(
            (_share(each.mean_probability), _share(each.observed), count_text(each.n))
            for each in found.curve
        ),
    )


def _drift(seen: DriftSeen) -> DriftLine:
    word, tone = _DRIFTS.get(seen.drift, (seen.drift, "quiet"))
    report = seen.report
    return DriftLine(
        at=moment(seen.at) or Moment("", ""),
        judge=seen.judge_id[:12],
        word=word,
        tone=tone,
        changed=f"{count_text(report.get('changed'))} of {count_text(report.get('anchors'))}",
        reasons=tuple(visible(str(each)) for each in report.get("reasons", ())),
    )


def _coefficient(found: Coefficient | None) -> str:
    if found is None:
        return ABSENT
    return f"{found.value:.2f} [{found.lower:.2f}, {found.upper:.2f}]"


def _interval(found: Interval | None) -> str:
    if found is None:
        return ABSENT
    return f"{found.mean:.2f} [{found.lower:.2f}, {found.upper:.2f}]"


def _share(value: float | None) -> str:
    return ABSENT if value is None else f"{100 * value:.1f}\N{NARROW NO-BREAK SPACE}%"
