"""All rollouts that ever were: how far each attempt came, how it ended and what was wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.clock import utc
from llm_canary.documents.cells import guarded
from llm_canary.pages.filters import (
    FilterForm,
    Pager,
    asked_choice,
    asked_text,
    select_field,
    with_query,
)
from llm_canary.pages.quantity import ABSENT, duration_text, moment_text, share_text
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.rollout.history import Past, history_page, past
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.past_rollouts import (
    ENDS,
    EXTENDED,
    RUNNING,
    PastFilter,
    Step,
)
from llm_canary.storage.repositories.rollouts import ROBOT

PAGE, MOST_PAGES = 25, 10_000
_MOST_ROWS = 10_000  # of a CSV file
_OUTCOMES = {
    "promoted": ("Promoted", "good"),
    "rolled_back": ("Rolled back", "bad"),
    "aborted": ("Dropped", "quiet"),
}
_STATES = {
    "draft": ("Not started", "quiet"),
    "running": ("Running", "calm"),
    "promoted": ("Promoted, not over", "good"),
    "standby": ("Standby", "good"),
}
_CHOICES = (
    ("promoted", "Promoted"),
    ("rolled_back", "Rolled back"),
    ("aborted", "Dropped"),
    (EXTENDED, "Extended"),
    (RUNNING, "Not over"),
)
_ACTIONS = {
    "create": "Created",
    "start": "Started",
    "hold": "Held",
    "resume": "Resumed",
    "extend": "Extended",
    "promote": "Promoted",
    "rollback": "Rolled back",
}
_COLUMNS = (
    "name", "attempt", "route", "plan", "state", "outcome", "stages_reached", "extensions",
    "created_at", "started_at", "ended_at", "duration_s", "decided_by", "failed_metrics",
    "reasons", "decision_id",
)  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """A moment in words and for machines."""

    text: str
    iso: str


@dataclass(frozen=True)
class StepLine:
    """One change of a rollout in words."""

    at: Moment
    what: str
    by: str
    where: str
    reason: str
    decision: str


@dataclass(frozen=True)
class HistoryRow:
    """One attempt in words."""

    anchor: str
    name: str
    attempt: int
    url: str
    route: str
    plan: str
    outcome: str
    tone: str
    extended: str
    stages: str
    began: Moment | None
    ended: Moment | None
    lasted: str
    by: str
    wrong: tuple[tuple[str, str], ...]  # metric and the link to it
    reasons: tuple[str, ...]
    steps: tuple[StepLine, ...]


def add_history(site: Site) -> None:
    """Add `/history` and `/history.csv`."""
    services = site.services

    def page(visit: Visit) -> Response:
        services.ready()
        wanted, number = _asked(visit), visit.number("page", 1, least=1, most=MOST_PAGES)
        with read_session(services.engine) as session:
            found = history_page(session, wanted, limit=PAGE, offset=(number - 1) * PAGE)
        now_s = services.clock.now_s()
        return site.html(
            visit,
            "history.html",
            rows=tuple(history_row(each, now_s) for each in found.rollouts),
            form=_form(wanted, found.routes),
            total=found.total,
            pager=_pager(wanted, number, found.total),
            csv_url=with_query("/history.csv", _query(wanted)),
        )

    def export(visit: Visit) -> Response:
        services.ready()
        with read_session(services.engine) as session:
            found = past(session, _asked(visit), limit=_MOST_ROWS)
        headers = {"content-disposition": 'attachment; filename="rollouts.csv"'}
        return Response(history_csv(found), media_type="text/csv; charset=utf-8", headers=headers)

    site.page("/history", Permission.READ, page)
    site.page("/history.csv", Permission.READ, export)


def history_row(found: Past, now_s: float) -> HistoryRow:
    """Return one attempt in words."""
    row = found.row
    outcome, tone = _outcome(found)
    url = rollout_url(row.name, row.attempt)
    reasons = found.decision.reasons if found.decision is not None else ()
    last = found.last
    is_by_person = last is not None and last.decision_id is None
    if last is not None and is_by_person and (row.is_held or row.ended_at is not None):
        reasons = (last.reason,)  # a person stopped it, and said why
    return HistoryRow(
        anchor=row.id,
        name=row.name,
        attempt=row.attempt,
        url=url,
        route=row.route,
        plan=row.plan,
        outcome=outcome,
        tone=tone,
        extended=_times(found.extensions),
        stages=_stages(found),
        began=moment(row.started_at or row.created_at),
        ended=moment(row.ended_at),
        lasted=_lasted(found, now_s),
        by=_by(last),
        wrong=tuple((each.replace("_", " "), f"{url}#metric-{each}") for each in found.failed),
        reasons=tuple(each for each in reasons if each),
        steps=tuple(_step(each) for each in found.steps),
    )


def history_csv(found: Iterable[Past]) -> str:
    """Return attempts as a CSV file; no cell is a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for each in found:
        writer.writerow([_cell(value) for value in _values(each)])
    return out.getvalue()


def moment(at: datetime | None) -> Moment | None:
    """Return a moment in words, None where there is none."""
    if at is None:
        return None
    return Moment(moment_text(at), at.isoformat(timespec="seconds"))


def moment_of(at_s: float) -> Moment:
    """Return a moment in words."""
    at = utc(at_s)
    return Moment(moment_text(at), at.isoformat(timespec="seconds"))


def rollout_url(name: str, attempt: int | None = None) -> str:
    """Return where a rollout is shown."""
    return with_query(f"/rollouts/{quote(name, safe='')}", {"attempt": attempt})


def _asked(visit: Visit) -> PastFilter:
    return PastFilter(
        route=asked_text(visit, "route"),
        name=asked_text(visit, "name"),
        outcome=asked_choice(visit, "outcome", (*ENDS, EXTENDED, RUNNING)),
    )


def _query(wanted: PastFilter) -> dict[str, object]:
    return {"route": wanted.route, "name": wanted.name, "outcome": wanted.outcome}


def _form(wanted: PastFilter, routes: tuple[str, ...]) -> FilterForm:
    return FilterForm(
        "/history",
        (
            select_field("route", "Route", wanted.route, routes, "Every route"),
            select_field("outcome", "Outcome", wanted.outcome, _CHOICES, "Every outcome"),
        ),
        hidden=() if wanted.name is None else (("name", wanted.name),),
    )


def _pager(wanted: PastFilter, number: int, total: int) -> Pager:
    query, pages = _query(wanted), max(-(-total // PAGE), 1)
    newer = with_query("/history", query | {"page": number - 1}) if number > 1 else ""
    older = with_query("/history", query | {"page": number + 1}) if number < pages else ""
    return Pager(newer, older, f"Page {number} of {pages}")


def _outcome(found: Past) -> tuple[str, str]:
    row = found.row
    if row.outcome is not None:
        return _OUTCOMES.get(row.outcome, (row.outcome, "quiet"))
    if row.is_held:
        return "Held", "warn"
    return _STATES.get(row.state, (row.state, "quiet"))


def _times(count: int) -> str:
    if not count:
        return ""
    return "extended once" if count == 1 else f"extended {count} times"


def _stages(found: Past) -> str:
    if not found.reached:
        return "none"
    return f"{found.reached[-1]}, {len(found.reached)} of {len(found.row.stages)}"


def _lasted(found: Past, now_s: float) -> str:
    row = found.row
    if row.started_at is None:
        return ABSENT
    end_s = now_s if row.ended_at is None else row.ended_at.timestamp()
    return duration_text(end_s - row.started_at.timestamp())


def _by(last: Step | None) -> str:
    if last is None:
        return ABSENT
    return "the controller" if last.actor == ROBOT else last.actor


def _step(step: Step) -> StepLine:
    is_move = step.to_stage is not None and step.to_stage != step.from_stage
    where = f"{step.to_stage} at {share_text(step.share)}" if is_move else ""
    return StepLine(
        at=Moment(moment_text(step.at), step.at.isoformat(timespec="seconds")),
        what=_ACTIONS.get(step.action, step.action),
        by=_by(step),
        where=where,
        reason=step.reason,
        decision=step.decision_id or "",
    )


def _values(found: Past) -> tuple[object, ...]:
    row, last = found.row, found.last
    lasted_s = None
    if row.started_at is not None and row.ended_at is not None:
        lasted_s = round((row.ended_at - row.started_at).total_seconds())
    reasons = found.decision.reasons if found.decision is not None else ()
    if last is not None and last.decision_id is None:
        reasons = (last.reason,)
    return (
        row.name, row.attempt, row.route, row.plan, "held" if row.is_held else row.state,
        row.outcome, " ".join(found.reached), found.extensions, _iso(row.created_at),
        _iso(row.started_at), _iso(row.ended_at), lasted_s, None if last is None else last.actor,
        " ".join(found.failed), "; ".join(reasons), found.decision.id if found.decision else None,
    )  # fmt: skip


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")


def _cell(value: object) -> object:
    return guarded(value) if isinstance(value, str) else value
