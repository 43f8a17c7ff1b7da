"""`/rollouts/NAME/charts`, as a page and as the part of one, and the series as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from urllib.parse import quote

from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.clock import utc
from llm_canary.pages.filters import with_query
from llm_canary.pages.quantity import share_text
from llm_canary.pages.rollout import attempt_of
from llm_canary.pages.series_charts import Mark, Series, charts
from llm_canary.pages.site import Site
from llm_canary.pages.states import rollout_path
from llm_canary.pages.visit import Visit
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.rollouts import RolloutRecord, RolloutRepository
from llm_canary.storage.repositories.series import arms_over_time, scores_over_time, window
from llm_canary.storage.rollups import COUNTS, HISTOGRAMS

_RANGES = {"all": None, "7d": 604_800.0, "24h": 86_400.0, "1h": 3_600.0}
_TITLES = {"all": "All", "7d": "7 days", "24h": "24 hours", "1h": "1 hour"}
_SPANS = {"7d": "7 days", "24h": "24 hours", "1h": "hour"}
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Range:
    """One link of the range picker."""

    title: str
    url: str
    is_chosen: bool


@dataclass(frozen=True)
class Shown:
    """What was asked for, read in one consistent look."""

    record: RolloutRecord
    attempt: int | None  # as the address names it; None: the newest, whichever that is
    range: str
    series: Series
    marks: tuple[Mark, ...]

    def url(self, part: str, range_: str) -> str:
        """Return the address of `part` of the same attempt."""
        path = rollout_path(self.record.name, part)
        return with_query(path, {"attempt": self.attempt, "range": range_})

    @property
    def title(self) -> str:
        """The name, and which attempt it is where the address says so."""
        name = self.record.name
        return name if self.attempt is None else f"{name}, attempt {self.attempt}"

    @property
    def file_name(self) -> str:
        """What the names of files that are saved begin with."""
        name = self.record.name
        return name if self.attempt is None else f"{name}-attempt-{self.attempt}"


def add_charts(site: Site) -> None:
    """Add the charts of a rollout and their CSV."""
    site.page("/rollouts/{name}/charts", Permission.READ, lambda visit: _page(site, visit))
    site.page("/rollouts/{name}/series.csv", Permission.READ, lambda visit: _csv(site, visit))


def _page(site: Site, visit: Visit) -> Response:
    shown = _read(site, visit)
    return site.html(
        visit,
        "partials/charts.html" if visit.is_fragment else "charts.html",
        title=shown.title,
        file_name=shown.file_name,
        rollout_url=rollout_path(shown.record.name, attempt=shown.attempt),
        url=shown.url("charts", shown.range),
        csv_url=shown.url("series.csv", shown.range),
        ranges=[
            Range(title, shown.url("charts", key), key == shown.range)
            for key, title in _TITLES.items()
        ],
        marks=shown.marks,
        charts=charts(shown.series, _when(shown)),
        window=shown.series.window,
        step=_step_text(shown.series.window.step_s),
        is_active=shown.record.is_active,
    )


def _csv(site: Site, visit: Visit) -> Response:
    """Return every sum that is stored of both arms, one row per bin and arm."""
    shown = _read(site, visit)
    text = io.StringIO()
    writer = csv.writer(text)
    quantiles = [f"{name}_{word}" for name in HISTOGRAMS for word in _QUANTILES]
    writer.writerow(["starts_at", "step_s", "arm", *COUNTS, *quantiles])
    step_s = shown.series.window.step_s
    for at in shown.series.times:
        for role, points in shown.series.points.items():
            if (point := points.get(at)) is None:
                continue
            values = [point.quantile(name, q) for name in HISTOGRAMS for q in _QUANTILES.values()]
            row = [*(point.counts[name] for name in COUNTS)]
            rounded = ["" if value is None else f"{value:.6g}" for value in values]
            writer.writerow([f"{utc(at):%Y-%m-%dT%H:%M:%SZ}", step_s, role.value, *row, *rounded])
    filename = f"{shown.file_name}-{shown.range}.csv"
    return Response(
        text.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}"},
    )


def _read(site: Site, visit: Visit) -> Shown:
    services = site.services
    services.ready()
    chosen = visit.choice("range", tuple(_RANGES))
    now_s = services.clock.now_s()
    attempt = attempt_of(visit)
    record = services.rollouts.read.record(visit.path["name"], attempt)
    with read_session(services.engine) as session:
        transitions = RolloutRepository(session).transitions(record.id)
        until_s = record.ended_at_s or now_s
        started_s = min(record.started_at_s or until_s, until_s)
        longest_s = _RANGES[chosen]
        since_s = started_s if longest_s is None else max(started_s, until_s - longest_s)
        shown = window(session, record.id, since_s, until_s, began_s=started_s)
        series = Series(
            shown,
            arms_over_time(session, record.id, shown),
            scores_over_time(session, record.id, shown),
        )
    marks = tuple(
        Mark(each.at_s, f"{each.to_stage} ({share_text(each.share)})" if is_stage else each.action)
        for each in transitions
        if (is_stage := each.to_stage is not None and each.to_stage != each.from_stage)
        or each.to_state != each.from_state
        if shown.since_s <= each.at_s <= until_s
    )
    return Shown(record, attempt, chosen, series, marks)


def _when(shown: Shown) -> str:
    if (span := _SPANS.get(shown.range)) is None:
        return "since the start" if shown.record.ended_at_s is None else "in all"
    return f"in the last {span}" if shown.record.ended_at_s is None else f"in its last {span}"


def _step_text(step_s: int) -> str:
    for seconds, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if step_s % seconds == 0:
            count = step_s // seconds
            return name if count == 1 else f"{count} {name}s"
    return f"{step_s} seconds"
