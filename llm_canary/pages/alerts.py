"""What needs a person now, and what happened lately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi.responses import Response

from llm_canary.alerts.alert import Alert, Severity
from llm_canary.alerts.find import HAPPENED_FOR, find_alerts
from llm_canary.auth import Permission
from llm_canary.pages.banners import TONES
from llm_canary.pages.history import Moment, moment_of
from llm_canary.pages.markdown import visible
from llm_canary.pages.quantity import ago_text
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit

_URL, _EVERY_S = "/partials/alerts", 10
_WORDS = {Severity.CRITICAL: "Critical", Severity.WARNING: "Warning", Severity.INFO: "Information"}


@dataclass(frozen=True)
class AlertCard:
    """One alert in words."""

    anchor: str
    severity: str
    tone: str
    title: str
    text: str
    do: tuple[tuple[str, bool], ...]  # texts, and whether each is typed somewhere
    since: Moment | None
    ago: str
    link: str
    link_text: str


@dataclass(frozen=True)
class AlertsView:
    """The page."""

    now: tuple[AlertCard, ...]  # what needs a person
    waiting: tuple[AlertCard, ...]  # what passes by itself
    happened: tuple[AlertCard, ...]
    days: int


def add_alerts(site: Site) -> None:
    """Add `/alerts` and its live fragment."""

    def page(visit: Visit) -> Response:
        view = _read(site)
        fragment = site.renderer.live_markup(
            "partials/alerts.html", visit, url=_URL, every_s=_EVERY_S, view=view,
            announce=_announce(view),
        )  # fmt: skip
        return site.html(visit, "alerts.html", fragment=fragment)

    def fragment(visit: Visit) -> Response:
        view = _read(site)
        return site.live(
            visit, "partials/alerts.html", url=_URL, every_s=_EVERY_S, view=view,
            announce=_announce(view),
        )  # fmt: skip

    site.page("/alerts", Permission.READ, page)
    site.page(_URL, Permission.READ, fragment)


def alerts_view(alerts: Sequence[Alert], now_s: float) -> AlertsView:
    """Return the page: what needs a person, what passes by itself, what has happened."""
    ended = {"rolled_back", "promoted"}
    rest = [each for each in alerts if not each.needs_person]
    return AlertsView(
        now=tuple(_card(each, now_s) for each in alerts if each.needs_person),
        waiting=tuple(_card(each, now_s) for each in rest if each.kind not in ended),
        happened=tuple(_card(each, now_s) for each in rest if each.kind in ended),
        days=HAPPENED_FOR.days,
    )


def _read(site: Site) -> AlertsView:
    return alerts_view(find_alerts(site.services), site.services.clock.now_s())


def _announce(view: AlertsView) -> str:
    return "; ".join(each.title for each in view.now)


def _card(alert: Alert, now_s: float) -> AlertCard:
    return AlertCard(
        anchor=alert.id,
        severity=_WORDS[alert.severity],
        tone="good" if alert.kind == "promoted" else TONES[alert.severity],
        title=visible(alert.title),
        text=visible(alert.text),
        do=_parts(visible(alert.do)),
        since=None if alert.since_s is None else moment_of(alert.since_s),
        ago="" if alert.since_s is None else ago_text(now_s - alert.since_s),
        link=alert.link,
        link_text=_link_text(alert),
    )


def _parts(text: str) -> tuple[tuple[str, bool], ...]:
    """Return the text in pieces, of which those in backticks are to be typed."""
    if text.startswith("llm-canary "):
        return ((text, True),)
    pieces = text.split("`")
    return tuple((each, number % 2 == 1) for number, each in enumerate(pieces) if each)


def _link_text(alert: Alert) -> str:
    if alert.metric is not None:
        return f"See {alert.metric.replace('_', ' ')} of {alert.rollout}"
    if alert.rollout is not None:
        return f"See {alert.rollout}"
    place = alert.link.lstrip("/").partition("?")[0].partition("#")[0]
    return f"See {place}"
