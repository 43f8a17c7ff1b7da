"""One rollout: both variants side by side, metric by metric, and what was decided about it."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.clock import utc
from llm_canary.errors import InvalidRequest
from llm_canary.pages.act_words import Choice, choices
from llm_canary.pages.banners import Banner, banners
from llm_canary.pages.cost_rows import Costs, costs
from llm_canary.pages.evidence_rows import EvidenceRow, evidence_rows
from llm_canary.pages.graded_rows import GradedRubric, graded_rubrics
from llm_canary.pages.health_rows import HealthRow, Trouble, health_rows, troubles
from llm_canary.pages.metric_row import MetricRow, metric_row
from llm_canary.pages.overview import cut
from llm_canary.pages.quantity import moment_text, share_text
from llm_canary.pages.rollout_card import Card, card
from llm_canary.pages.segment_tables import VALUES_SHOWN, segment_tables
from llm_canary.pages.site import Site
from llm_canary.pages.states import Word, rollout_path, state_word, verdict_word
from llm_canary.pages.visible import printable
from llm_canary.pages.visit import Visit
from llm_canary.rollout.detail import RolloutDetail, RolloutSlices
from llm_canary.rollout.views import DecisionView, TransitionView

_SEGMENTS_EVERY_S = 10  # they change slowly, and there are many of them
_GRADED = (":judge", ":human")


@dataclass(frozen=True)
class AttemptLink:
    """One try of this name."""

    text: str
    path: str
    is_here: bool


@dataclass(frozen=True)
class DecisionRow:
    """A stored decision in the list."""

    at: str
    at_iso: str
    stage: str
    verdict: Word
    reasons: tuple[str, ...]
    more: int
    is_applied: bool
    path: str


@dataclass(frozen=True)
class ChangeRow:
    """A change that was applied."""

    at: str
    at_iso: str
    actor: str
    action: str
    stages: str
    share: str
    reason: str
    path: str  # of the decision behind it, empty without one


@dataclass(frozen=True)
class RolloutPage:
    """Everything that changes while one looks."""

    name: str
    path: str
    card: Card
    choices: tuple[Choice, ...]
    attempts: tuple[AttemptLink, ...]
    metrics: tuple[MetricRow, ...]
    evidence: tuple[EvidenceRow, ...]
    graded: tuple[GradedRubric, ...]
    troubles: tuple[Trouble, ...]
    health: tuple[HealthRow, ...]
    costs: Costs
    decisions: tuple[DecisionRow, ...]
    changes: tuple[ChangeRow, ...]
    banners: tuple[Banner, ...]


def add_rollout(site: Site) -> None:
    """Add the page of a rollout and its two live fragments."""
    pages = _Pages(site)
    site.page("/rollouts/{name}", Permission.READ, pages.page)
    site.page("/rollouts/{name}/numbers", Permission.READ, pages.numbers)
    site.page("/rollouts/{name}/segments", Permission.READ, pages.segments)


class _Pages:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._services = site.services

    def page(self, visit: Visit) -> Response:
        name, attempt = visit.path["name"], attempt_of(visit)
        detail = self._read(visit)
        shown = self._words(detail)
        live = self._site.renderer.live_markup(
            "partials/rollout.html", visit, url=rollout_path(name, "numbers", attempt=attempt),
            rollout=shown, announce=shown.card.announce,
        )  # fmt: skip
        has_begun = detail.view.started_s is not None
        charts, answers = (
            rollout_path(name, part, attempt=attempt) if has_begun else ""
            for part in ("charts", "answers")
        )
        return self._site.html(
            visit, "rollout.html", rollout=shown, live=live, charts=charts, answers=answers,
            segments=rollout_path(name, "segments", attempt=attempt),
            all_segments=_all_path(name, attempt),
        )  # fmt: skip

    def numbers(self, visit: Visit) -> Response:
        shown = self._words(self._read(visit))
        url = rollout_path(shown.name, "numbers", attempt=attempt_of(visit))
        return self._site.live(
            visit, "partials/rollout.html", url=url, rollout=shown, announce=shown.card.announce
        )

    def segments(self, visit: Visit) -> Response:
        name, attempt = visit.path["name"], attempt_of(visit)
        self._services.ready()
        only = visit.query.get("segment")
        found: RolloutSlices = self._services.rollouts.read.slices(
            name, attempt, only=only or None, most=VALUES_SHOWN if only is None else None
        )
        if only is not None:
            return self._site.html(
                visit, "segment.html", name=name, path=rollout_path(name, attempt=attempt),
                tables=segment_tables(found, only=only or None), all_path="",
            )  # fmt: skip
        return self._site.live(
            visit, "partials/segments.html", every_s=_SEGMENTS_EVERY_S,
            url=rollout_path(name, "segments", attempt=attempt),
            tables=segment_tables(found), all_path=_all_path(name, attempt),
        )  # fmt: skip

    def _read(self, visit: Visit) -> RolloutDetail:
        self._services.ready()
        name, attempt = visit.path["name"], attempt_of(visit)
        found: RolloutDetail = self._services.rollouts.read.detail(name, attempt)
        return found

    def _words(self, found: RolloutDetail) -> RolloutPage:
        now_s = self._services.clock.now_s()
        return rollout_page(found, banners(self._services.status(), now_s), now_s)


def attempt_of(visit: Visit) -> int | None:
    """Return the attempt that the address names; None: the newest."""
    number = visit.number("attempt", 0, most=100_000)
    if "attempt" in visit.query and not number:
        raise InvalidRequest("`attempt` is 0; attempts are numbered from 1", param="attempt")
    return number or None


def rollout_page(found: RolloutDetail, banners: tuple[Banner, ...], now_s: float) -> RolloutPage:
    """Return the rollout in words."""
    view = found.view
    gates = {each.metric: each for each in view.gates}
    return RolloutPage(
        name=view.name,
        path=rollout_path(view.name),
        card=card(found, now_s),
        choices=choices(found),
        attempts=_attempts(found),
        metrics=tuple(
            metric_row(each, gates.get(each.metric), alpha_rollback=view.alpha_rollback)
            for each in view.comparisons
            if not each.metric.endswith(_GRADED)  # they stand with their rubric
        ),
        evidence=evidence_rows(found),
        graded=graded_rubrics(found),
        troubles=troubles(found),
        health=health_rows(found),
        costs=costs(found, now_s),
        decisions=tuple(_decision(view.name, each) for each in found.decisions),
        changes=tuple(_change(view.name, each) for each in found.transitions),
        banners=banners,
    )


def _all_path(name: str, attempt: int | None) -> str:
    path = rollout_path(name, "segments", attempt=attempt)
    return f"{path}{'?' if attempt is None else '&'}segment="


def _attempts(found: RolloutDetail) -> tuple[AttemptLink, ...]:
    if len(found.attempts) < 2:
        return ()
    return tuple(
        AttemptLink(
            f"attempt {each.number}, {state_word(each.state).text.lower()}",
            rollout_path(found.view.name, attempt=each.number),
            each.number == found.view.attempt,
        )
        for each in found.attempts
    )


def _decision(name: str, each: DecisionView) -> DecisionRow:
    at = utc(each.at_s)
    return DecisionRow(
        at=moment_text(at),
        at_iso=at.isoformat(timespec="seconds"),
        stage=each.stage,
        verdict=verdict_word(each.verdict),
        reasons=tuple(cut(reason) for reason in each.reasons[:1]),
        more=len(each.reasons[1:]),
        is_applied=each.applied,
        path=rollout_path(name, "decisions", each.id),
    )


def _change(name: str, each: TransitionView) -> ChangeRow:
    at = utc(each.at_s)
    moved = each.from_stage != each.to_stage
    return ChangeRow(
        at=moment_text(at),
        at_iso=at.isoformat(timespec="seconds"),
        actor="the controller" if each.actor == "robot" else each.actor,
        action=each.action.replace("_", " "),
        stages=f"{each.from_stage or 'none'} to {each.to_stage or 'none'}"
        if moved
        else each.to_stage or "",
        share=share_text(each.share),
        reason=printable(each.reason),
        path="" if each.decision_id is None else rollout_path(name, "decisions", each.decision_id),
    )
