"""Pairwise review: two answers side by side, which is better; and what people prefer."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi.responses import JSONResponse, Response

from llm_canary.auth import Permission
from llm_canary.pages.prose import Shown, shown, visible
from llm_canary.pages.quantity import ABSENT, count_text, share_text
from llm_canary.pages.review_desk import seconds_in
from llm_canary.pages.review_item import FIELD, Exchange, exchange, labels_in
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.review.desk import MAX_COMMENT
from llm_canary.review.pairs import Choice, OpenedPair, PairReport, Pairs
from llm_canary.stats.corrected import Interval
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.pairs import (
    BOTH_BAD,
    CANNOT_ASSESS,
    TIE,
    PairCounts,
    pair_counts,
)

QUESTION = "Which answer serves the user better?"
_ITEM = "/review/pairs/item/{pair}"
_WORDS = {"a": "Answer A", "b": "Answer B", TIE: "A tie", BOTH_BAD: "Both bad"}


@dataclass(frozen=True)
class PairPage:
    """A pair as its reviewer sees it."""

    id: str
    rubric: str
    question: str
    exchange: Exchange
    answers: tuple[tuple[str, Shown], ...]
    choices: tuple[tuple[str, str, str], ...]  # value, key, words
    criteria: tuple[tuple[str, str, str], ...]  # field, name, requirement
    token: str
    left_s: int | None
    lease_s: int
    preferred: str


@dataclass(frozen=True)
class PairRow:
    """What people prefer by one rubric, in words."""

    rubric: str
    counts: str
    win_rate: str
    results: str
    first_rate: str
    notes: tuple[str, ...]


def add_review_pairs(site: Site) -> None:
    """Add the pages of pairs."""
    pages = _Pages(site)
    site.page("/review/pairs", Permission.OPERATE, pages.report)
    site.page("/review/pairs/{rubric}/next", Permission.REVIEW, pages.next)
    site.page(_ITEM, Permission.REVIEW, pages.item)
    site.act(f"{_ITEM}/prefer", Permission.REVIEW, pages.prefer)
    site.act(f"{_ITEM}/skip", Permission.REVIEW, pages.skip)
    site.act(f"{_ITEM}/hold", Permission.REVIEW, pages.hold)


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._pairs = Pairs(site.services.engine, site.services.clock)

    def next(self, visit: Visit) -> Response:
        return self._on(visit, visit.path["rubric"])

    def item(self, visit: Visit) -> Response:
        opened = self._pairs.open(visit.path["pair"], visit.viewer.principal.name)
        return self._site.html(visit, "review/pair.html", pair=pair_page(opened))

    def prefer(self, visit: Visit) -> Response:
        name = visit.path["pair"]
        comment = visible(visit.optional("comment", longest=MAX_COMMENT))
        choice = Choice(
            visit.field("preferred"), labels_in(visit.form), comment or None, seconds_in(visit)
        )
        return self._say(visit, name, choice)

    def skip(self, visit: Visit) -> Response:
        return self._say(visit, visit.path["pair"], Choice(CANNOT_ASSESS))

    def hold(self, visit: Visit) -> Response:
        """Hold the lease, by script; the answer is JSON."""
        left_s = self._pairs.hold(visit.path["pair"], visit.viewer.principal.name)
        return JSONResponse({"left_s": left_s})

    def report(self, visit: Visit) -> Response:
        with read_session(self._site.services.engine) as session:
            counts = pair_counts(session)
        rows = [pair_row(name, counts[name], self._pairs.report(name)) for name in sorted(counts)]
        return self._site.html(visit, "review/pairs.html", rows=rows)

    def _say(self, visit: Visit, name: str, choice: Choice) -> Response:
        principal = visit.viewer.principal
        rubric = self._pairs.prefer(name, principal.name, visit.field("token"), choice)
        self._site.services.audit.note(principal, "pair.prefer", name, {"rubric": rubric})
        return self._on(visit, rubric)

    def _on(self, visit: Visit, rubric: str) -> Response:
        name = self._pairs.claim(rubric, visit.viewer.principal.name)
        path = "/review?empty=pairs" if name is None else f"/review/pairs/item/{name}"
        return self._site.go(visit, path)


def pair_page(opened: OpenedPair) -> PairPage:
    """Return the page of a pair; which arm is which is not in it."""
    rubric = opened.rubric.rubric
    asked = rubric.pairwise
    choices = [("a", "a", _WORDS["a"]), ("b", "b", _WORDS["b"])]
    if asked is None or asked.ties:
        choices.append((TIE, "t", _WORDS[TIE]))
    choices.append((BOTH_BAD, "0", _WORDS[BOTH_BAD]))
    return PairPage(
        id=opened.id,
        rubric=rubric.id,
        question=asked.question if asked else QUESTION,
        exchange=exchange(opened.prompt, turns=rubric.inputs.history_turns),
        answers=(("A", shown(opened.first)), ("B", shown(opened.second))),
        choices=tuple(choices),
        criteria=tuple(
            (f"{FIELD}{each.id}", each.id.replace("_", " "), each.requirement)
            for each in rubric.asked
        ),
        token=opened.token or "",
        left_s=None if opened.left_s is None else int(opened.left_s),
        lease_s=int(opened.lease_s),
        preferred=_WORDS.get(opened.preferred, "Skipped") if opened.preferred else "",
    )


def pair_row(rubric: str, counts: PairCounts, report: PairReport) -> PairRow:
    """Return what people prefer, in words."""
    notes = [
        *([f"{report.divided} with divided reviewers"] if report.divided else []),
        *([f"{report.unknown_arm} whose arms are not known"] if report.unknown_arm else []),
        *([f"{report.left_out} by excluded reviewers left out"] if report.left_out else []),
    ]
    return PairRow(
        rubric,
        f"{count_text(counts.open)} open, {count_text(counts.done)} done",
        _interval(report.win_rate),
        f"{report.canary} canary, {report.control} control, {report.tie} ties, "
        f"{report.both_bad} both bad",
        _interval(report.first_rate),
        tuple(notes),
    )


def _interval(found: Interval | None) -> str:
    if found is None:
        return ABSENT
    low, high, mean = (
        share_text(round(each, 3)) for each in (found.lower, found.upper, found.mean)
    )
    return f"{mean} ({low} to {high}, n = {count_text(found.n)})"
