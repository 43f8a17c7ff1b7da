"""Disagreements: what reviewers and judges see differently, and the page that decides it."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.errors import DataError
from llm_canary.pages.prose import visible
from llm_canary.pages.quantity import ABSENT, moment_text
from llm_canary.pages.review_item import (
    CriterionCard,
    Exchange,
    criteria,
    exchange,
    label_text,
    labels_in,
)
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.review.adjudication import Adjudications, Case, OpenedCase, skips_of
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.counted import SUBMITTED
from llm_canary.storage.repositories.reviews import queues

MAX_REASON = 2_000
SHOWN = 200  # cases in the list
_UNCLEAR = "unclear:"
_WHY = {
    "skips": ("Skipped by three", "warn"),
    "flag": ("Flagged", "warn"),
    "revised": ("Revised after the reveal", "warn"),
    "people": ("People differ", "bad"),
    "judge": ("Judge and people differ", "calm"),
}


@dataclass(frozen=True)
class CaseRow:
    """One sample to decide about, in words."""

    sample_id: str
    why: str
    tone: str
    said: tuple[str, ...]


@dataclass(frozen=True)
class CasePage:
    """Everything that was said of one sample, and the form that decides."""

    sample_id: str
    rubric: str
    exchange: Exchange
    criteria: tuple[CriterionCard, ...]
    who: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    comments: tuple[tuple[str, str], ...]
    final: str
    reason: str
    unclear: tuple[str, ...]
    is_gold: bool


def add_review_decide(site: Site) -> None:
    """Add the pages of disagreements."""
    pages = _Pages(site)
    path = "/review/disagreements"
    site.page(path, Permission.OPERATE, pages.all)
    site.page(f"{path}/{{sample}}", Permission.OPERATE, pages.one)
    site.act(f"{path}/{{sample}}", Permission.OPERATE, pages.decide)
    site.act(f"{path}/{{sample}}/looked", Permission.OPERATE, pages.look)


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._cases = Adjudications(site.services.engine, site.services.clock)

    def all(self, visit: Visit) -> Response:
        services = self._site.services
        with read_session(services.engine) as session:
            counts = queues(session, services.now())
        rubrics = sorted({each.rubric_id for each in counts})
        chosen = visit.choice("rubric", tuple(rubrics)) if rubrics else ""
        cases = self._cases.cases(chosen) if chosen else []
        return self._site.html(
            visit, "review/disagreements.html", rubrics=rubrics, chosen=chosen,
            rows=[case_row(each) for each in cases[:SHOWN]], total=len(cases),
            issues=[
                (each.rubric, each.criterion, each.times, [visible(one) for one in each.reasons])
                for each in self._cases.issues()
            ],
        )  # fmt: skip

    def one(self, visit: Visit) -> Response:
        return self._page(visit, self._cases.open(visit.path["sample"]))

    def decide(self, visit: Visit) -> Response:
        name, me = visit.path["sample"], visit.viewer.principal
        labels, reason = labels_in(visit.form), visible(visit.field("reason", longest=MAX_REASON))
        unclear = [each.removeprefix(_UNCLEAR) for each in visit.form if each.startswith(_UNCLEAR)]
        try:
            final = self._cases.decide(name, labels, by=me.name, reason=reason, unclear=unclear)
        except DataError as error:
            return self._page(
                visit, self._cases.open(name), problem=error.message, entered=(labels, reason)
            )
        opened = self._cases.open(name)
        rubric = opened.rubric.rubric.id
        if "gold" in visit.form:
            self._site.services.reviews.make_gold(name, final.labels, by=me.name, rationale=reason)
            self._site.services.audit.note(me, "review.gold", name, {"rubric": rubric})
        elif self._site.services.reviews.retire_gold(name):
            self._site.services.audit.note(me, "review.gold_retired", name, {"rubric": rubric})
        detail = {"rubric": rubric, "unclear": list(final.unclear)}
        self._site.services.audit.note(me, "review.adjudicate", name, detail)
        return self._site.go(visit, f"/review/disagreements?rubric={rubric}")

    def look(self, visit: Visit) -> Response:
        name = visit.path["sample"]
        count = self._cases.look(name)
        self._site.services.audit.note(
            visit.viewer.principal, "review.flag_settled", name, {"flags": count}
        )
        return self._site.go(visit, "/review/disagreements")

    def _page(
        self,
        visit: Visit,
        opened: OpenedCase,
        *,
        problem: str = "",
        entered: tuple[dict[str, str], str] = ({}, ""),
    ) -> Response:
        return self._site.html(
            visit, "review/decide.html", 422 if problem else 200, problem=problem,
            case=case_page(opened, *entered),
        )  # fmt: skip


def case_row(case: Case) -> CaseRow:
    """Return one sample of the list."""
    why, tone = _WHY[case.why]
    said = tuple(
        f"{each.criterion.replace('_', ' ')}: "
        + ", ".join(f"{one.who} {label_text(one.label)}" for one in each.said)
        for each in case.said
    )
    return CaseRow(case.sample_id, why, tone, said)


def case_page(opened: OpenedCase, labels: dict[str, str], reason: str) -> CasePage:
    """Return the page of one sample; the arm is not in it."""
    rubric, final = opened.rubric.rubric, opened.final
    last = {each.reviewer: each for each in opened.reviews}
    given = [each for each in last.values() if each.status == SUBMITTED]
    columns = [(each.reviewer, dict(each.labels)) for each in given]
    if opened.judge is not None:
        judge = {name: (grade or {}).get("label") for name, grade in opened.judge.items()}
        columns.append(("Judge", judge))
    cards = criteria(rubric, opened.sample, labels or (final.labels if final else {}))
    rows = tuple(
        (card.name, tuple(label_text(own.get(card.id) or ABSENT) for _, own in columns))
        for card in cards
    )
    comments = [(each.reviewer, visible(each.comment)) for each in given if each.comment]
    skips = [(f"{who} skipped", visible(why)) for who, why in skips_of(opened.reviews)]
    return CasePage(
        sample_id=opened.sample_id,
        rubric=rubric.id,
        exchange=exchange(opened.sample, turns=rubric.inputs.history_turns),
        criteria=cards,
        who=tuple(who for who, _ in columns),
        rows=rows,
        comments=(*comments, *skips),
        final=f"{final.decided_by}, {moment_text(final.at)}" if final else "",
        reason=reason or (visible(final.reason) if final else ""),
        unclear=final.unclear if final else (),
        is_gold=opened.is_gold,
    )
