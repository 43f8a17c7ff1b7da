"""What the samples of a rollout have come to: counts and sums that gates and reports read."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, case, func, select
from sqlmodel import Session, col

from llm_canary.routing.table import Role
from llm_canary.sampling import Stream
from llm_canary.stats.cuped import CrossMoments
from llm_canary.storage.models.grading import (
    CalibrationRun,
    DriftLook,
    Judgement,
    Review,
    Sample,
)
from llm_canary.storage.repositories.reported import parted
from llm_canary.storage.repositories.samples import SampleState

_STANDS = {
    SampleState.WAITING: "waiting",
    SampleState.LEASED: "waiting",
    SampleState.JUDGED: "judged",
    SampleState.FAILED: "failed",
    SampleState.SHED: "shed",
    SampleState.LAPSED: "shed",
}


class ArmSamples(NamedTuple):
    """Where the samples of one arm stand; `graded` have a score."""

    waiting: int = 0
    judged: int = 0
    failed: int = 0
    shed: int = 0  # not judged, because too many waited or it was too late
    graded: int = 0
    labelled: int = 0  # by people, for whatever reason they were asked
    asked: int = 0  # people, by chance, about a graded answer whose window has closed
    answered: int = 0  # of these, in time and with points


class SampleFacts(NamedTuple):
    """What the samples of a rollout have come to, in one look at them."""

    arms: dict[str, ArmSamples]  # of the probability stream
    targeted: dict[str, ArmSamples]
    judges: dict[str, int]  # judge version -> answers graded
    models: dict[str, int]  # as providers report them
    second_models: dict[str, int]  # the same of the judge that is asked where the first is in doubt
    judge_points: dict[str, float]  # arm -> uncorrected average of `arms`, 0 to 1


def sample_facts(session: Session, rollout_id: str, rubric_id: str, now: datetime) -> SampleFacts:
    """Return the facts of a rollout's samples under one rubric; nothing is left out."""
    which = {"rollout_id": rollout_id, "rubric_id": rubric_id, "now": now}
    found: dict[str, dict[str, Counter[str]]] = {each.value: {} for each in Stream}
    judges: Counter[str] = Counter()
    models: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    points: dict[str, float] = defaultdict(float)
    for arm, stream, state, judge, model, n, total, *counts in session.execute(_facts(), which):
        own = found[stream].setdefault(arm, Counter())
        own[_STANDS[SampleState(state)]] += n
        own.update(dict(zip(ArmSamples._fields[4:], map(int, counts), strict=True)))
        if counts[0] and judge is not None:
            judges[judge] += counts[0]
        for own_models, name in zip(models, parted(model), strict=True):
            if name is not None:
                own_models[name] += n
        if total is not None and stream == Stream.PROBABILITY.value:
            points[arm] += total
    arms, targeted = (
        {arm: ArmSamples(**own) for arm, own in found[each.value].items()}
        for each in (Stream.PROBABILITY, Stream.TARGETED)
    )
    means = {arm: total / arms[arm].graded for arm, total in points.items()}
    return SampleFacts(arms, targeted, dict(judges), dict(models[0]), dict(models[1]), means)


def replies_between(
    session: Session, rollout_id: str, rubric_id: str, since: datetime, until: datetime
) -> list[tuple[datetime, bool, bool]]:
    """Return when the windows closed of the answers that people were asked about by chance.

    From `since`, before `until`, ascending; whether they are the canary's, and whether people had
    graded them by then.
    """
    closes_at = col(Sample.closes_at)
    in_time = col(Sample.human_score).is_not(None) & (col(Sample.reviewed_at) <= closes_at)
    query = (
        select(closes_at, col(Sample.arm), case((in_time, 1), else_=0), col(Sample.review_state))
        .where(
            col(Sample.rollout_id) == rollout_id,
            col(Sample.rubric_id) == rubric_id,
            col(Sample.review_stream) == Stream.PROBABILITY.value,
            closes_at >= since,
            closes_at < until,
        )
        .order_by(closes_at)
    )
    # In SQL the last test would lead SQLite to the index of all reviews of all time.
    return [
        (at, arm == Role.CANARY, bool(answered))
        for at, arm, answered, state in session.execute(query)
        if state is not None
    ]


def label_moments(session: Session, judge_id: str, before: datetime) -> CrossMoments:
    """Return the sums over answers that both a judge version (x) and people (y) have graded.

    Of those that people were asked about by chance and whose windows closed before `before`: an
    answer that is scored later has no part in its own prediction.
    """
    judge, human = col(Sample.judge_score), col(Sample.human_score)
    query = select(
        func.count(),
        func.sum(judge),
        func.sum(human),
        func.sum(judge * judge),
        func.sum(judge * human),
        func.sum(human * human),
    ).where(
        col(Sample.judge_id) == judge_id,
        col(Sample.review_stream) == Stream.PROBABILITY.value,
        col(Sample.review_state).is_not(None),
        judge.is_not(None),
        human.is_not(None),
        col(Sample.reviewed_at) < before,
        col(Sample.closes_at) < before,
    )
    n, *sums = session.execute(query).one()
    return CrossMoments(int(n), *(float(value or 0.0) for value in sums))


class Standing(NamedTuple):
    """What the comparisons of a judge version with people have come to."""

    standing: str = "not_enough"
    reason: str = ""
    labels: int = 0
    at: datetime | None = None


def standing_of(session: Session, judge_id: str) -> Standing:
    """Return the standing of a judge version: its newest comparison of each source.

    One that does not trust it counts for all; else one that does, of which the newest says how old
    that is; else the one with most labels. Reason and labels are those of the one that counts.
    """
    latest = (col(CalibrationRun.at).desc(), col(CalibrationRun.id).desc())
    place = func.row_number().over(partition_by=col(CalibrationRun.source), order_by=latest)
    ranked = (
        select(col(CalibrationRun.id), place.label("place"))
        .where(col(CalibrationRun.judge_id) == judge_id)
        .subquery()
    )
    query = (
        select(CalibrationRun)
        .join(ranked, ranked.c.id == col(CalibrationRun.id))
        .where(ranked.c.place == 1)
        .order_by(*latest)
    )
    newest = session.execute(query).scalars().all()
    if not newest:
        return Standing()
    order = ["untrusted", "trusted", "not_enough"]
    best = min((row.standing for row in newest), key=order.index)
    alike = [row for row in newest if row.standing == best]
    first = max(alike, key=_compared) if best == "not_enough" else alike[0]
    reasons = "; ".join(first.report.get("reasons", ()))
    return Standing(best, reasons, _compared(first), first.at)


def _compared(row: CalibrationRun) -> int:
    """Return how many labels the standing rests on: a judge may fail on some of the labelled."""
    return int(row.report.get("compared", row.labelled))


class Drifted(NamedTuple):
    """What a look at a judge's anchors came to."""

    drift: str
    models: tuple[str, ...]  # as providers reported them
    changed: int  # anchors judged otherwise than at first
    anchors: int


def drift_of(session: Session, judge_id: str) -> Drifted | None:
    """Return what the newest look at the judge's anchors came to, None without one."""
    query = (
        select(col(DriftLook.drift), col(DriftLook.report))
        .where(col(DriftLook.judge_id) == judge_id)
        .order_by(col(DriftLook.at).desc(), col(DriftLook.id).desc())
        .limit(1)
    )
    row = session.execute(query).one_or_none()
    if row is None:
        return None
    drift, report = row
    models = tuple(report.get("models", ()))
    return Drifted(drift, models, report.get("changed", 0), report.get("anchors", 0))


class Effort(NamedTuple):
    """What grading a rollout has taken, of judges and of people."""

    judge_nanousd: int | None = None  # None where nobody said
    judge_calls: int = 0
    judge_calls_of_unknown_cost: int = 0
    reviews: int = 0
    review_s: float | None = None


def effort_of(session: Session, rollout_id: str, rubric_id: str) -> Effort:
    """Return what grading the rollout's answers by the rubric has taken."""
    which = {"rollout_id": rollout_id, "rubric_id": rubric_id}
    nanousd, calls, unknown = session.execute(_judged(), which).one()
    reviews, seconds = session.execute(_reviewed(), which).one()
    return Effort(
        None if nanousd is None else int(nanousd),
        int(calls or 0),
        int(unknown or 0),
        int(reviews),
        None if seconds is None else float(seconds),
    )


# Made once: making a statement takes as long as asking it.


def _mine() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (
        col(Sample.rollout_id) == bindparam("rollout_id"),
        col(Sample.rubric_id) == bindparam("rubric_id"),
    )


@cache
def _facts() -> Select[*tuple[Any, ...]]:
    is_asked = (
        (col(Sample.review_stream) == Stream.PROBABILITY.value)
        & col(Sample.judge_score).is_not(None)
        & (col(Sample.closes_at) <= bindparam("now"))
    )
    has_points = col(Sample.human_score).is_not(None)
    in_time = is_asked & has_points & (col(Sample.reviewed_at) <= col(Sample.closes_at))
    keys = (
        col(Sample.arm),
        col(Sample.stream),
        col(Sample.state),
        col(Sample.judge_id),
        col(Sample.reported_model),
    )
    return (
        select(
            *keys,
            func.count(),
            func.sum(col(Sample.judge_score)),
            func.count(col(Sample.judge_score)),
            func.count(col(Sample.human_score)),
            func.sum(case((is_asked, 1), else_=0)),
            func.sum(case((in_time, 1), else_=0)),
        )
        .where(*_mine())
        .group_by(*keys)
    )


@cache
def _judged() -> Select[int | None, int, Any]:
    is_unknown = col(Judgement.cost_nanousd).is_(None) & (col(Judgement.calls) > 0)
    return (
        select(
            func.sum(col(Judgement.cost_nanousd)),
            func.sum(col(Judgement.calls)),
            func.sum(case((is_unknown, col(Judgement.calls)), else_=0)),
        )
        .join(Sample, col(Sample.id) == col(Judgement.sample_id))
        .where(*_mine())
    )


@cache
def _reviewed() -> Select[int, float | None]:
    return (
        select(func.count(), func.sum(col(Review.seconds_active)))
        .select_from(Review)
        .join(Sample, col(Sample.id) == col(Review.sample_id))
        .where(*_mine(), col(Review.status) == "submitted")
    )
