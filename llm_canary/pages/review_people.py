"""Reviewers: one's own history, and for those who run the reviews how everybody works."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.pages.prose import visible
from llm_canary.pages.quantity import ABSENT, count_text, duration_text, moment_text
from llm_canary.pages.review import share_words
from llm_canary.pages.review_item import label_text
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.review.people import People, Person
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.desk import Given, given_by, reviewers_known

PAGE = 50
_STATUS = {
    "submitted": ("Submitted", "good"),
    "skipped": ("Skipped", "quiet"),
    "retracted": ("Undone", "quiet"),
}


@dataclass(frozen=True)
class HistoryRow:
    """One revision, in words."""

    sample_id: str
    rubric: str
    at: str
    status: str
    tone: str
    revision: int
    labels: str
    comment: str


@dataclass(frozen=True)
class PersonRow:
    """One reviewer, in words."""

    name: str
    reviews: str
    skips: str
    gold: str
    agreement: str
    median: str
    excluded: str


def add_review_people(site: Site) -> None:
    """Add the history and the list of reviewers."""
    pages = _Pages(site)
    site.page("/review/history", Permission.REVIEW, pages.history)
    site.page("/review/reviewers", Permission.OPERATE, pages.reviewers)
    site.act("/review/reviewers/exclude", Permission.OPERATE, pages.exclude)
    site.act("/review/reviewers/include", Permission.OPERATE, pages.include)


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._people = People(site.services.engine, site.services.clock)

    def history(self, visit: Visit) -> Response:
        me = visit.viewer.principal
        with read_session(self._site.services.engine) as session:
            may_choose = me.may(Permission.OPERATE)
            people = reviewers_known(session) if may_choose else []
            who = visit.query.get("person", "") if may_choose else ""
            who = who if who in people else me.name
            before = visit.query.get("before") or None
            found = given_by(session, who, before=before, limit=PAGE + 1)
        rows = [history_row(each) for each in found[:PAGE]]
        return self._site.html(
            visit, "review/history.html", rows=rows, who=who, people=people,
            is_mine=who == me.name, more=found[PAGE - 1].id if len(found) > PAGE else "",
        )  # fmt: skip

    def reviewers(self, visit: Visit) -> Response:
        days = visit.number("days", 30, least=1, most=3650)
        rows = [person_row(each) for each in self._people.report(days)]
        return self._site.html(visit, "review/reviewers.html", rows=rows, days=days)

    def exclude(self, visit: Visit) -> Response:
        name, me = visit.field("reviewer"), visit.viewer.principal
        reason = visible(visit.field("reason"))
        count = self._people.exclude(name, by=me.name, reason=reason)
        self._site.services.audit.note(me, "reviewer.exclude", name, {"samples": count})
        return self._site.go(visit, "/review/reviewers")

    def include(self, visit: Visit) -> Response:
        name, me = visit.field("reviewer"), visit.viewer.principal
        count = self._people.include(name)
        self._site.services.audit.note(me, "reviewer.include", name, {"samples": count})
        return self._site.go(visit, "/review/reviewers")


def history_row(given: Given) -> HistoryRow:
    """Return one revision in words."""
    status, tone = _STATUS.get(given.status, (given.status, "quiet"))
    labels = [
        f"{name.replace('_', ' ')}: {label_text(label)}" for name, label in given.labels.items()
    ]
    return HistoryRow(
        given.sample_id,
        given.rubric_id,
        moment_text(given.at),
        status,
        tone,
        given.revision,
        "; ".join(labels),
        visible((given.comment or "")[:500]),
    )


def person_row(person: Person) -> PersonRow:
    """Return one reviewer in words."""
    out = person.exclusion
    return PersonRow(
        person.reviewer,
        count_text(person.reviews),
        count_text(person.skips),
        share_words(person.gold),
        share_words(person.agreement),
        ABSENT if person.median_s is None else duration_text(person.median_s),
        f"by {out.excluded_by}, {_day(out.at)}: {visible(out.reason)}" if out else "",
    )


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"
