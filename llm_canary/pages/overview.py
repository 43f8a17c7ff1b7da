"""All rollouts at a glance: a row for each, what needs a person first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.clock import utc
from llm_canary.errors import NotReady, StorageError
from llm_canary.pages.banners import Banner, banners
from llm_canary.pages.metric_row import MetricRow, metric_row
from llm_canary.pages.outlook_text import Expectation, expectation
from llm_canary.pages.quantity import count_text, duration_text, moment_text, share_text
from llm_canary.pages.site import Site
from llm_canary.pages.states import ROBOT, Word, rollout_path, state_word
from llm_canary.pages.visible import printable
from llm_canary.pages.visit import Visit
from llm_canary.rollout.reading import Overview
from llm_canary.rollout.summaries import RolloutSummary
from llm_canary.storage.repositories.rollout_reads import Ended

ENDED_PER_PAGE = 20
_LONGEST_REASON = 200
_GROUPS = ("Needs a person", "Running", "Not started")
_ORDER = ("running", "promoted", "standby", "draft")


@dataclass(frozen=True)
class Row:
    """One rollout that is not over."""

    name: str
    anchor: str
    path: str
    route: str
    plan: str
    control: str
    canary: str
    state: Word
    stage: str
    share: str
    elapsed: str
    units: str
    gates: str
    worst: MetricRow | None
    has_passed: bool  # every gate has
    waits: str
    outlook: Expectation | None


@dataclass(frozen=True)
class Group:
    """Rows under one heading."""

    title: str
    anchor: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class EndedRow:
    """One attempt that is over."""

    name: str
    path: str
    route: str
    state: Word
    at: str
    lasted: str
    reason: str


@dataclass(frozen=True)
class OverviewPage:
    """The whole page."""

    banners: tuple[Banner, ...]
    is_empty: bool  # there is no rollout at all
    groups: tuple[Group, ...]
    ended: tuple[EndedRow, ...]
    ended_count: int
    page: int
    pages: int
    summary: str
    announce: str


def add_overview(site: Site) -> None:
    """Add `/` and its live fragment."""
    services, fragment_path = site.services, "/partials/rollouts"

    def read(number: int) -> OverviewPage:
        services.ready()
        now_s = services.clock.now_s()
        offset = (number - 1) * ENDED_PER_PAGE
        found = services.rollouts.read.overview(limit=ENDED_PER_PAGE, offset=offset)
        return overview(found, banners(services.status(), now_s), now_s, number)

    def fragment_url(number: int) -> str:
        return fragment_path if number == 1 else f"{fragment_path}?ended={number}"

    def page(visit: Visit) -> Response:
        status, number = 200, visit.number("ended", 1, least=1, most=100_000)
        try:
            shown = read(number)
        except (StorageError, NotReady) as error:
            trouble = Banner("The database cannot be read", error.message, "bad")
            shown, status = overview(None, (trouble,), 0.0, 1), 503
        fragment = site.renderer.live_markup(
            "partials/rollouts.html", visit, url=fragment_url(number), overview=shown,
            announce=shown.announce,
        )  # fmt: skip
        return site.html(visit, "overview.html", status, fragment=fragment)

    def fragment(visit: Visit) -> Response:
        number = visit.number("ended", 1, least=1, most=100_000)
        shown = read(number)
        return site.live(
            visit, "partials/rollouts.html", url=fragment_url(number), overview=shown,
            announce=shown.announce,
        )  # fmt: skip

    site.page("/", Permission.READ, page)
    site.page(fragment_path, Permission.READ, fragment)


def overview(
    found: Overview | None, banners: tuple[Banner, ...], now_s: float, page: int
) -> OverviewPage:
    """Return the page: what needs a person first, then what runs, then what ended, newest first.

    `found` is None when it cannot be read, which is not the same as none.
    """
    open_, ended, count = ((), (), 0) if found is None else found
    ranked = sorted(open_, key=_rank)
    counts = Counter(state_word(each.state).text.lower() for each in ranked)
    counts.update({"ended": count} if count else {})
    said = [f"{each.name} {state_word(each.state).text.lower()}, {each.stage}" for each in ranked]
    over = [f"{each.name} {state_word(each.state).text.lower()}" for each in ended[:1]]
    return OverviewPage(
        banners=banners,
        is_empty=found is not None and not ranked and not count,
        groups=_groups(ranked, now_s),
        ended=tuple(_ended_row(each) for each in ended),
        ended_count=count,
        page=page,
        pages=max(1, -(-count // ENDED_PER_PAGE)),
        summary=", ".join(f"{number} {word}" for word, number in counts.items()),
        announce="; ".join([*(banner.title for banner in banners), *said, *over]),
    )


def needs_person(summary: RolloutSummary) -> bool:
    """Say whether nothing goes on before somebody has looked."""
    return summary.state == "held" or summary.verdict == "hold"


def _rank(each: RolloutSummary) -> tuple[object, ...]:
    if needs_person(each):
        # What the controller stopped nobody may have seen yet.
        return 0, each.hold_by != ROBOT, -(each.stage_started_s or 0.0), each.name
    return 1, _ORDER.index(each.state), -(each.started_s or 0.0), each.name


def _groups(ranked: list[RolloutSummary], now_s: float) -> tuple[Group, ...]:
    rows: dict[str, list[Row]] = {title: [] for title in _GROUPS}
    for each in ranked:
        place = 0 if needs_person(each) else 2 if each.state == "draft" else 1
        rows[_GROUPS[place]].append(_row(each, now_s))
    return tuple(
        Group(title, title.lower().replace(" ", "-"), tuple(own))
        for title, own in rows.items()
        if own
    )


def _row(each: RolloutSummary, now_s: float) -> Row:
    is_on = each.stage is not None and each.started_s is not None
    passed, asked = each.gates
    return Row(
        name=each.name,
        anchor=each.id,
        path=rollout_path(each.name),
        route=each.route,
        plan=each.plan if each.attempt == 1 else f"{each.plan}, attempt {each.attempt}",
        control=each.control,
        canary=each.canary,
        state=state_word(each.state),
        stage=f"{each.stage}, {each.stage_number} of {each.stage_count}" if is_on else "",
        share=share_text(each.share) if is_on else "",
        elapsed=f"for {duration_text(now_s - each.started_s)}" if each.started_s else "",
        units=f"{count_text(each.units[0])} / {count_text(each.units[1])} units" if is_on else "",
        gates=f"{passed} of {asked} gates passed" if asked else "",
        has_passed=bool(asked) and passed == asked,
        worst=None if each.worst is None else metric_row(each.worst.comparison, each.worst),
        waits=_waits(each),
        outlook=_outlook(each, now_s),
    )


def _waits(each: RolloutSummary) -> str:
    if each.state == "draft":
        return "to be started"
    if each.hold_reason is not None:
        by = "the controller" if each.hold_by == ROBOT else each.hold_by or "somebody"
        return cut(f"held by {by}: {each.hold_reason}")
    # The numbers behind a reason stand beside it, and on the rollout's own page.
    return cut("; ".join(": ".join(reason.split(": ")[:2]) for reason in each.reasons))


def _outlook(each: RolloutSummary, now_s: float) -> Expectation | None:
    if each.outlook is None or each.stage_started_s is None:
        return None
    return expectation(each.outlook, each.stage_started_s, now_s)


def _ended_row(each: Ended) -> EndedRow:
    lasted = "" if each.started_s is None else duration_text(each.ended_s - each.started_s)
    return EndedRow(
        name=each.name if each.attempt == 1 else f"{each.name}, attempt {each.attempt}",
        path=rollout_path(each.name, attempt=each.attempt),
        route=each.route,
        state=state_word(each.state),
        at=moment_text(utc(each.ended_s)),
        lasted=lasted,
        reason=cut(each.reasons[0]) if each.reasons else "",
    )


def cut(text: str) -> str:
    """Return the text, or its beginning where a list has no room for more."""
    text = printable(text)
    if len(text) <= _LONGEST_REASON:
        return text
    return text[: _LONGEST_REASON - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
