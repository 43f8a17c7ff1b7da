"""The page of an item: grade it, skip it, undo, revise, see what others said."""

from __future__ import annotations

import math

from fastapi.responses import JSONResponse, Response

from llm_canary.auth import Permission
from llm_canary.errors import Conflict, DataError, InvalidRequest, NotFound
from llm_canary.pages.prose import visible
from llm_canary.pages.quantity import moment_text
from llm_canary.pages.review_item import criteria, item_page, label_text, labels_in, turn
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.review.desk import MAX_COMMENT, MAX_CORRECTION, Desk, Entered, Opened
from llm_canary.storage.repositories.desk import Given

MAX_REASON = 200
REASONS = (
    "I do not know the subject",
    "I cannot read the language",
    "The answer upsets me",
    "I know who wrote this",
    "The rubric does not fit",
)
_ITEM = "/review/item/{sample}"
_MOST_S = 86_400.0


def add_review_desk(site: Site) -> None:
    """Add the item's page and every act on it."""
    pages = _Pages(site)
    for path, handler in (
        ("/review/{rubric}/next", pages.next),
        (_ITEM, pages.item),
        (f"{_ITEM}/revise", pages.revision),
        (f"{_ITEM}/reveal", pages.revealed),
        (f"{_ITEM}/text/{{part}}", pages.text),
    ):
        site.page(path, Permission.REVIEW, handler)
    for path, act in (
        ("draft", pages.keep),
        ("hold", pages.hold),
        ("claim", pages.claim_again),
        ("submit", pages.submit),
        ("skip", pages.skip),
        ("revise", pages.revise),
        ("reveal", pages.reveal),
    ):
        site.act(f"{_ITEM}/{path}", Permission.REVIEW, act)
    site.act("/review/undo", Permission.REVIEW, pages.undo)


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        services = site.services
        self._desk = Desk(services.engine, services.clock, services.reviews)

    def next(self, visit: Visit) -> Response:
        """Claim an item and go to it."""
        rubric = visit.path["rubric"]
        name = self._desk.next(rubric, _me(visit))
        if name is None:
            return self._site.go(visit, "/review?empty=1")
        return self._site.go(visit, _url(name))

    def item(self, visit: Visit) -> Response:
        opened = self._desk.open(_sample(visit), _me(visit))
        if opened.given is not None and opened.left_s is None:
            return self._given(visit, opened, opened.given)
        return self._form(visit, opened)

    def revision(self, visit: Visit) -> Response:
        opened = self._desk.open(_sample(visit), _me(visit))
        if opened.given is None:
            raise NotFound("you have no review of this answer to revise")
        return self._revise_form(visit, opened, opened.given)

    def revealed(self, visit: Visit) -> Response:
        name = _sample(visit)
        found, opened = self._desk.revealed(name, _me(visit)), self._desk.open(name, _me(visit))
        said = [("You", found.own.labels)]
        said += [(each.reviewer, each.labels) for each in found.others]
        judge = {key: grade.get("label") for key, grade in (found.judge or {}).items() if grade}
        if found.judge is not None:
            said.append(("Judge", judge))
        rows = [
            (card.name, [label_text(labels.get(card.id, "\N{EN DASH}")) for _, labels in said])
            for card in criteria(opened.rubric.rubric, opened.sample, {})
        ]
        comments = [(each.reviewer, visible(each.comment)) for each in found.others if each.comment]
        return self._site.html(
            visit, "review/reveal.html", sample_id=name, rubric=opened.rubric.rubric.id,
            who=[who for who, _ in said], rows=rows, comments=comments,
            has_judge=found.judge is not None,
        )  # fmt: skip

    def text(self, visit: Visit) -> Response:
        """Show a text to its end, as it is."""
        opened, part = self._desk.open(_sample(visit), _me(visit)), visit.path["part"]
        sample = opened.sample
        texts = {"prompt": sample.prompt, "response": sample.response, "context": sample.context}
        if part == "history":
            turns = [turn(each, longest=1_000_000) for each in sample.history]
            parts = [(each.who, each.text.raw) for each in turns]
        elif (found := texts.get(part)) is not None:
            parts = [(part.capitalize(), visible(found))]
        else:
            raise NotFound(f"an item has no {part[:40]!r}; it has {', '.join(texts)} and history")
        return self._site.html(visit, "review/text.html", sample_id=opened.sample_id, parts=parts)

    def keep(self, visit: Visit) -> Response:
        """Store a draft, by script; the answer is JSON."""
        known = _whole(visit, "revision")
        revision = self._desk.autosave(_sample(visit), _me(visit), _entered(visit), known=known)
        return JSONResponse({"revision": revision})

    def hold(self, visit: Visit) -> Response:
        """Hold the lease, by script; the answer is JSON."""
        return JSONResponse({"left_s": self._desk.hold(_sample(visit), _me(visit))})

    def claim_again(self, visit: Visit) -> Response:
        name, me = _sample(visit), _me(visit)
        if visit.form.get("token"):  # the form of the page: what stands in it comes along
            self._desk.keep(name, me, _entered(visit), known=None)
        self._desk.claim_again(name, me)
        return self._site.go(visit, _url(name))

    def submit(self, visit: Visit) -> Response:
        name, me, entered = _sample(visit), _me(visit), _entered(visit)
        token = visit.field("token")
        opened = self._desk.open(name, me)
        try:
            done = self._desk.submit(name, me, token, entered)
        except (Conflict, DataError) as error:
            again = self._desk.open(name, me)
            return self._form(visit, again, problem=error.message, status=error.status)
        detail = {"rubric": opened.rubric.rubric.id, "revision": done.revision}
        self._note(visit, "review.submit", name, detail)
        return self._on(visit, opened)

    def skip(self, visit: Visit) -> Response:
        name, me = _sample(visit), _me(visit)
        reason = visit.optional("why", longest=MAX_REASON) or visit.field("reason", longest=200)
        opened, entered = self._desk.open(name, me), _entered(visit)
        if "revision" not in visit.form:  # without script the form of the grades does not come
            draft = Entered(*opened.draft[2:]) if opened.draft else entered
            entered = draft._replace(is_flagged=draft.is_flagged or entered.is_flagged)
        self._desk.skip(name, me, visit.field("token"), visible(reason), entered)
        self._note(visit, "review.skip", name, {"rubric": opened.rubric.rubric.id})
        return self._on(visit, opened)

    def undo(self, visit: Visit) -> Response:
        given = self._desk.undo(_me(visit))
        self._note(visit, "review.undo", given.sample_id, {"revision": given.revision})
        return self._site.go(visit, _url(given.sample_id))

    def revise(self, visit: Visit) -> Response:
        name, me, entered = _sample(visit), _me(visit), _entered(visit)
        try:
            done = self._desk.revise(name, me, entered)
        except DataError as error:
            opened = self._desk.open(name, me)
            if opened.given is None:
                raise
            return self._revise_form(
                visit, opened, opened.given, problem=error.message, entered=entered
            )
        self._note(visit, "review.revise", name, {"revision": done.revision})
        return self._site.go(visit, _url(name))

    def reveal(self, visit: Visit) -> Response:
        self._desk.reveal(_sample(visit), _me(visit))
        self._note(visit, "review.reveal", _sample(visit), {})
        return self._site.go(visit, f"{_url(_sample(visit))}/reveal")

    def _on(self, visit: Visit, opened: Opened) -> Response:
        """Go to the next item at once."""
        rubric = opened.rubric.rubric.id
        name = self._desk.next(rubric, _me(visit))
        return self._site.go(visit, "/review?empty=1" if name is None else _url(name))

    def _form(
        self, visit: Visit, opened: Opened, *, problem: str = "", status: int = 200
    ) -> Response:
        undoable = self._desk.undoable(_me(visit))
        return self._site.html(
            visit, "review/item.html", status, item=item_page(opened), problem=problem,
            undo=undoable is not None, reasons=REASONS, mode="grade", is_informed=False,
        )  # fmt: skip

    def _revise_form(
        self,
        visit: Visit,
        opened: Opened,
        given: Given,
        *,
        problem: str = "",
        entered: Entered | None = None,
    ) -> Response:
        page = item_page(opened, entered=entered or Entered.of(given))
        return self._site.html(
            visit, "review/item.html", 422 if problem else 200, item=page, problem=problem,
            undo=False, reasons=(), mode="revise", is_informed=opened.revealed_at is not None,
        )  # fmt: skip

    def _given(self, visit: Visit, opened: Opened, given: Given) -> Response:
        page = item_page(opened, entered=Entered(given.labels))
        rows = [(card, label_text(given.labels.get(card.id, ""))) for card in page.criteria]
        undoable = self._desk.undoable(_me(visit))
        return self._site.html(
            visit, "review/given.html", item=page, rows=rows, given=given,
            comment=visible(given.comment or ""), at=moment_text(given.at),
            correction=visible(given.corrected_response or ""),
            is_revealed=opened.revealed_at is not None,
            undo=undoable is not None and undoable.sample_id == given.sample_id,
        )  # fmt: skip

    def _note(self, visit: Visit, what: str, name: str, detail: dict[str, object]) -> None:
        self._site.services.audit.note(visit.viewer.principal, what, name, detail)


def _entered(visit: Visit) -> Entered:
    comment = visit.optional("comment", longest=MAX_COMMENT)
    correction = visit.optional("correction", longest=MAX_CORRECTION)
    return Entered(
        labels_in(visit.form),
        visible(comment),
        visible(correction),
        "flag" in visit.form,
        seconds_in(visit),
    )


def seconds_in(visit: Visit) -> float:
    """Return the active time that the page has counted; what is no time counts for none."""
    try:
        seconds = float(visit.form.get("seconds", "") or 0.0)
    except ValueError:
        return 0.0
    return min(seconds, _MOST_S) if math.isfinite(seconds) and seconds > 0.0 else 0.0


def _whole(visit: Visit, name: str) -> int:
    text = visit.form.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest(f"`{name}` is {text[:40]!r}; expected a whole number", param=name)
    return int(text)


def _me(visit: Visit) -> str:
    return visit.viewer.principal.name


def _sample(visit: Visit) -> str:
    return visit.path["sample"]


def _url(name: str) -> str:
    return f"/review/item/{name}"
