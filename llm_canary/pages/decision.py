"""One decision: what was known, what came of it, and whether it comes out the same today."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.clock import utc
from llm_canary.errors import DataError
from llm_canary.pages.metric_row import MetricRow, metric_row
from llm_canary.pages.quantity import duration_text, moment_text, share_text
from llm_canary.pages.site import Site
from llm_canary.pages.states import Word, rollout_path, verdict_word
from llm_canary.pages.visible import printable, visible
from llm_canary.pages.visit import Visit
from llm_canary.rollout.replay import replay
from llm_canary.rollout.views import DecisionView, decision_view
from llm_canary.storage.repositories.rollouts import DecisionRecord, RolloutRecord


@dataclass(frozen=True)
class DecisionPage:
    """Everything that was known."""

    name: str
    path: str
    json_path: str
    id: str
    verdict: Word
    at: str
    at_iso: str
    stage: str
    share: str
    age: str
    is_applied: bool
    reasons: tuple[str, ...]
    problems: tuple[str, ...]
    culprits: tuple[str, ...]
    metrics: tuple[MetricRow, ...]
    evidence_hash: str
    replay: Word
    replay_text: str


def add_decision(site: Site) -> None:
    """Add the page of a decision and its JSON."""
    read = site.services.rollouts

    def page(visit: Visit) -> Response:
        site.services.ready()
        record, stored = read.read.decision(visit.path["name"], visit.path["decision"])
        return site.html(visit, "decision.html", decision=decision_page(record, stored))

    def download(visit: Visit) -> Response:
        site.services.ready()
        _, stored = read.read.decision(visit.path["name"], visit.path["decision"])
        body = msgspec.json.format(msgspec.json.encode(decision_view(stored)))
        name = f'attachment; filename="decision-{stored.id}.json"'
        return Response(body, media_type="application/json", headers={"content-disposition": name})

    site.page("/rollouts/{name}/decisions/{decision}", Permission.READ, page)
    site.page("/rollouts/{name}/decisions/{decision}/json", Permission.READ, download)


def decision_page(record: RolloutRecord, stored: DecisionRecord) -> DecisionPage:
    """Return the decision in words, decided once more from its evidence."""
    view = decision_view(stored)
    again, text = _replayed(stored)
    at = utc(view.at_s)
    result, evidence = view.result, view.evidence
    attempt = record.attempt
    return DecisionPage(
        name=record.name,
        path=rollout_path(record.name, attempt=attempt),
        json_path=rollout_path(record.name, "decisions", view.id, "json"),
        id=view.id,
        verdict=verdict_word(view.verdict),
        at=moment_text(at),
        at_iso=at.isoformat(timespec="seconds"),
        stage=view.stage,
        share="" if evidence is None else share_text(evidence.share),
        age="" if evidence is None else duration_text(evidence.stage_age_s),
        is_applied=view.applied,
        reasons=tuple(printable(each) for each in view.reasons),
        problems=() if result is None else tuple(printable(each.text) for each in result.problems),
        culprits=_culprits(view),
        metrics=_metrics(view),
        evidence_hash=view.evidence_hash,
        replay=again,
        replay_text=text,
    )


def _metrics(view: DecisionView) -> tuple[MetricRow, ...]:
    if view.result is None:
        return ()
    gates = {each.metric: each for each in view.result.gates}
    alpha = None if view.plan is None else view.plan.alpha_rollback
    return tuple(
        metric_row(each, gates.get(each.metric), alpha_rollback=alpha)
        for each in view.result.comparisons
    )


def _culprits(view: DecisionView) -> tuple[str, ...]:
    if view.result is None:
        return ()
    return tuple(
        f"{each.metric} over {'all units' if each.slice == 'all' else visible(each.slice)}"
        for each in view.result.culprits
    )


def _replayed(stored: DecisionRecord) -> tuple[Word, str]:
    try:
        again = replay(stored)
    except DataError as error:
        return Word("Altered", "bad"), error.message
    verdict = verdict_word(again.decision.verdict).text
    if again.is_same:
        text = "Decided again from the stored plan and evidence: the same, to the last bit."
        return Word("Same verdict", "good"), text
    if again.decision.verdict == stored.verdict:
        text = "Decided again: the same verdict; a number beside it is rounded otherwise today."
        return Word("Same verdict", "good"), text
    text = f"Decided again by this version, the verdict is: {verdict}."
    return Word("Another verdict", "warn"), text
