"""Finds every alert: from the state of rollouts, decisions, judges, reviews and the process.

Nothing is stored for it. An alert is there for as long as what it tells of; what has happened stays
for two weeks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.alerts.alert import Alert, Severity, rollout_link
from llm_canary.alerts.judges import judge_alerts
from llm_canary.alerts.process import ago, process_alerts
from llm_canary.clock import Clock, utc
from llm_canary.config.load import LoadedConfig
from llm_canary.decision.words import duration_text
from llm_canary.errors import NotReady, StorageError
from llm_canary.rollout.history import Past, past
from llm_canary.rollout.replay import decode
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.judging_days import day_of, days
from llm_canary.storage.repositories.past_rollouts import PastFilter, latest_results
from llm_canary.storage.repositories.reviews import queues
from llm_canary.storage.repositories.rollouts import ROBOT, RolloutRecord, RolloutRepository

HAPPENED_FOR = timedelta(days=14)
_MOST_ENDED, _LOOKED_BACK = 50, 50
_REVIEW_WINDOW_S = 86_400.0  # the default of `judging.window` where a judge grades
_NANO = 1e9
_ORDER = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


class Watched(Protocol):
    """What alerts are found in; the services of the API and of the pages are that."""

    @property
    def engine(self) -> Engine: ...  # noqa: D102
    @property
    def clock(self) -> Clock: ...  # noqa: D102
    @property
    def config(self) -> Callable[[], LoadedConfig]: ...  # noqa: D102
    @property
    def status(self) -> Callable[[], Mapping[str, Any]]: ...  # noqa: D102
    @property
    def ready(self) -> Callable[[], None]: ...  # noqa: D102


def find_alerts(watched: Watched) -> tuple[Alert, ...]:
    """Return every alert, what needs a person first; a database in trouble is one of them."""
    now_s = watched.clock.now_s()
    found = process_alerts(watched.status(), now_s)
    try:
        watched.ready()
        with read_session(watched.engine) as session:
            found += _stored(session, watched.config(), now_s)
    except (StorageError, NotReady) as error:
        found.append(
            Alert(
                id="database",
                kind="database",
                severity=Severity.CRITICAL,
                needs_person=True,
                title="The database cannot be read",
                text=error.message,
                do="`llm-canary db doctor` says what is wrong with it.",
                link="/settings",
            )
        )
    return tuple(sorted(found, key=_rank))


def _rank(alert: Alert) -> tuple[bool, int, float]:
    return not alert.needs_person, _ORDER.index(alert.severity), -(alert.since_s or 0.0)


def _stored(session: Session, config: LoadedConfig, now_s: float) -> list[Alert]:
    active = RolloutRepository(session).active()
    found = [_held(each, now_s) for each in active if each.hold is not None]
    for each in active:
        found += _unhealthy(session, each)
    doubted = {each.metric for each in found if each.metric}
    found += judge_alerts(session, config.rubrics, now_s, said=doubted)
    found += _old_reviews(session, config, now_s)
    found += _spent(session, config, now_s)
    found += _unpriced(session, config, now_s)
    since = utc(now_s) - HAPPENED_FOR
    ended = past(session, PastFilter(ended_since=since), limit=_MOST_ENDED)
    found += [_ended(each) for each in ended if each.row.outcome in ("rolled_back", "promoted")]
    return found


def _held(record: RolloutRecord, now_s: float) -> Alert:
    hold = record.hold
    assert hold is not None  # noqa: S101 - the caller has looked
    by = "the controller" if hold.by == ROBOT else hold.by
    reminded = f" {record.reminders} reminders so far." if record.reminders else ""
    return Alert(
        id=f"held:{record.id}",
        kind="held",
        severity=Severity.CRITICAL if record.reminders else Severity.WARNING,
        needs_person=True,
        title=f"Rollout {record.name} is held",
        text=f"Held by {by} {ago(now_s - hold.at_s)}: {hold.reason}. The share stays "
        f"until a person decides.{reminded}",
        do=f"llm-canary rollout resume|promote|rollback {record.name}",
        since_s=hold.at_s,
        rollout=record.name,
        link=rollout_link(record.name),
    )


def _unhealthy(session: Session, record: RolloutRecord) -> list[Alert]:
    """Return the health problems of the last decision, each since it has been there."""
    results = [(at, decode(result)) for at, result in latest_results(session, record.id, limit=1)]
    if not results or not results[0][1].problems:
        return []
    earlier = [
        (at, {each.code for each in decode(result).problems})
        for at, result in latest_results(session, record.id, limit=_LOOKED_BACK)
    ]
    return [
        Alert(
            id=f"health:{record.id}:{each.code}",
            kind="health",
            severity=Severity.CRITICAL if each.needs_person else Severity.INFO,
            needs_person=each.needs_person,
            title=f"Rollout {record.name} {'cannot be trusted' if each.needs_person else 'waits'}",
            text=each.text,
            do="" if not each.needs_person else f"llm-canary rollout resume|rollback {record.name}",
            since_s=_since(each.code, earlier).timestamp(),
            rollout=record.name,
            metric=each.metric,
            link=rollout_link(record.name, each.metric),
        )
        for each in results[0][1].problems
    ]


def _since(code: str, earlier: list[tuple[datetime, set[str]]]) -> datetime:
    """Return since when every decision has had the problem; the newest come first."""
    since = earlier[0][0]
    for at, codes in earlier:
        if code not in codes:
            break
        since = at
    return since


def _old_reviews(session: Session, config: LoadedConfig, now_s: float) -> list[Alert]:
    window_s = config.file.judging.window or _REVIEW_WINDOW_S
    found = []
    for each in queues(session, utc(now_s)):
        if each.oldest_at is None:
            continue
        age_s = now_s - each.oldest_at.timestamp()
        if age_s <= window_s:
            continue
        found.append(
            Alert(
                id=f"reviews:{each.rubric_text_id}",
                kind="reviews_old",
                severity=Severity.WARNING,
                needs_person=True,
                title=f"Answers wait for reviewers ({each.rubric_id})",
                text=f"{each.open:,} wait, the oldest for {duration_text(age_s)}. What people have "
                f"not said within {duration_text(window_s)} counts for no gate.",
                do="Review, or ask for fewer: `judging: {reviews: ...}`.",
                since_s=each.oldest_at.timestamp() + window_s,
                link="/review",
            )
        )
    return found


def _spent(session: Session, config: LoadedConfig, now_s: float) -> list[Alert]:
    limit_usd, today = config.file.judging.max_cost_usd_per_day, utc(now_s)
    latest = days(session, 1)
    if limit_usd is None or not latest or latest[0].day != day_of(today):
        return []
    # Judges stop where the dearest judgement so far does not fit any more.
    spent = latest[0].spent_nanousd + latest[0].dearest_nanousd
    if spent < limit_usd * _NANO:
        return []
    return [
        Alert(
            id=f"budget:{latest[0].day}",
            kind="budget_spent",
            severity=Severity.WARNING,
            needs_person=True,
            title="Judges have spent the money of the day",
            text=f"${latest[0].spent_nanousd / _NANO:,.2f} of ${limit_usd:,.2f}; drawn answers "
            "wait until midnight UTC, and gates of rubrics with them.",
            do="Raise `judging: {max_cost_usd_per_day: ...}`, or draw fewer answers.",
            since_s=today.replace(hour=0, minute=0, second=0, microsecond=0).timestamp(),
            link="/settings#judging",
        )
    ]


def _unpriced(session: Session, config: LoadedConfig, now_s: float) -> list[Alert]:
    limit_usd, today = config.file.judging.max_cost_usd_per_day, utc(now_s)
    latest = days(session, 1)
    if limit_usd is None or not latest or latest[0].day != day_of(today):
        return []
    if not latest[0].unknown_cost:
        return []
    return [
        Alert(
            id=f"unpriced:{latest[0].day}",
            kind="judge_unpriced",
            severity=Severity.WARNING,
            needs_person=True,
            title="The limit on what judges cost does not hold",
            text=f"{latest[0].unknown_cost:,} of {latest[0].calls:,} calls of judges today have no "
            f"known price. `max_cost_usd_per_day` (${limit_usd:,.2f}) does not count them, and "
            "cannot stop them.",
            do="Name a judge that the price list knows, or draw fewer: `judging: "
            "{samples_per_day: ...}`.",
            since_s=today.replace(hour=0, minute=0, second=0, microsecond=0).timestamp(),
            link="/settings#judging",
        )
    ]


def _ended(found: Past) -> Alert:
    row, last = found.row, found.last
    ended_at = row.ended_at or row.created_at
    by = "the controller" if last is None or last.actor == ROBOT else last.actor
    is_back = row.outcome == "rolled_back"
    metric = found.failed[0] if found.failed else None
    why = "" if last is None else last.reason
    return Alert(
        id=f"ended:{row.id}",
        kind="rolled_back" if is_back else "promoted",
        severity=Severity.WARNING if is_back else Severity.INFO,
        needs_person=False,
        title=f"Rollout {row.name} was {'rolled back' if is_back else 'promoted'}",
        text=f"By {by}: {why}" if why else f"By {by}.",
        since_s=ended_at.timestamp(),
        rollout=row.name,
        metric=metric,
        link=rollout_link(row.name, metric, row.attempt),
    )
