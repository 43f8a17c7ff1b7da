"""Answers of both arms of a rollout next to each other, to prompts as alike as there are."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from fastapi.responses import Response
from markupsafe import Markup
from sqlmodel import Session

from llm_canary.auth import Permission
from llm_canary.errors import NotFound
from llm_canary.pages.filters import asked_text, with_query
from llm_canary.pages.history import rollout_url
from llm_canary.pages.markdown import one_line, raw_text, render_markdown
from llm_canary.pages.pairing import SIMILAR, pair_up
from llm_canary.pages.samples import SampleLine, prompt_of, sample_line
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.routing.table import Role
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories import sample_search as samples
from llm_canary.storage.repositories.past_rollouts import PastFilter, PastRow, past_rollouts
from llm_canary.storage.repositories.sample_search import Exchange, SampleFilter, SampleRow

PAIRS = 8
_LOOKED_AT = 40  # answers of each arm
_SHOWN_CHARS, _PROMPT_CHARS = 3_000, 400
_ATTEMPTS = 1_000


@dataclass(frozen=True)
class ShownAnswer:
    """One answer with its marks."""

    line: SampleLine
    prompt: str
    html: Markup
    is_cut: bool


@dataclass(frozen=True)
class AnswerPair:
    """An answer of each arm."""

    likeness: str
    is_same: bool  # the prompt is said once
    control: ShownAnswer
    canary: ShownAnswer


@dataclass(frozen=True)
class Answers:
    """The fragment."""

    name: str
    attempt: int
    pairs: tuple[AnswerPair, ...]
    rubrics: tuple[tuple[str, str, bool], ...]  # name, link, whether it is shown
    url: str
    samples_url: str
    absent: str


def add_answers(site: Site) -> None:
    """Add `/rollouts/{name}/answers`: a page, and a fragment for htmx."""

    def page(visit: Visit) -> Response:
        site.services.ready()
        shown = read_answers(site, visit)
        if visit.is_fragment:
            return site.html(visit, "partials/answers.html", answers=shown)
        url = rollout_url(shown.name, shown.attempt)
        return site.html(visit, "answers.html", answers=shown, rollout_url=url)

    site.page("/rollouts/{name}/answers", Permission.READ, page)


def read_answers(site: Site, visit: Visit) -> Answers:
    """Return what the query asks for; by itself the newest attempt and its first rubric."""
    name, number = visit.path["name"], visit.number("attempt", 0, least=1)
    with read_session(site.services.engine) as session:
        attempts = past_rollouts(session, PastFilter(name=name), limit=_ATTEMPTS)
        found = [each for each in attempts if number in {0, each.attempt}]
        if not found:
            raise NotFound(f"there is no rollout {name[:80]!r} with that attempt; see /history")
        row = found[0]
        rubrics = samples.rubrics_of(session, row.id)
        rubric = asked_text(visit, "rubric") or (rubrics[0] if rubrics else None)
        sides = [_side(session, row, rubric, role) for role in (Role.CONTROL, Role.CANARY)]
    return _answers(row, rubric, rubrics, sides)


_Side = list[tuple[SampleRow, Exchange]]


def _side(session: Session, row: PastRow, rubric: str | None, role: Role) -> _Side:
    wanted = SampleFilter(rollout=row.name, attempt=row.attempt, rubric=rubric, arm=role.value)
    rows = samples.search(session, wanted, before=None, limit=_LOOKED_AT)
    texts = samples.exchanges(session, [each.inference_id for each in rows])
    return [
        (each, texts[each.inference_id])
        for each in rows
        if each.inference_id in texts and texts[each.inference_id].response is not None
    ]


def _answers(row: PastRow, rubric: str | None, rubrics: list[str], sides: list[_Side]) -> Answers:
    control, canary = sides
    prompts = [[prompt_of(texts) for _, texts in side] for side in sides]
    pairs = [
        AnswerPair(
            likeness=_likeness(each.likeness, prompts[0][each.control], prompts[1][each.canary]),
            is_same=prompts[0][each.control] == prompts[1][each.canary],
            control=_shown(*control[each.control]),
            canary=_shown(*canary[each.canary]),
        )
        for each in pair_up(prompts[0], prompts[1], PAIRS)
    ]
    url = f"/rollouts/{quote(row.name, safe='')}/answers"
    query: dict[str, object] = {"attempt": row.attempt}
    return Answers(
        name=row.name,
        attempt=row.attempt,
        pairs=tuple(pairs),
        rubrics=tuple(
            (each, with_query(url, query | {"rubric": each}), each == rubric) for each in rubrics
        ),
        url=with_query(url, query),
        samples_url=with_query(
            "/samples", {"rollout": row.name, "attempt": row.attempt, "rubric": rubric}
        ),
        absent=_absent(sides),
    )


def _absent(sides: list[_Side]) -> str:
    lacking = [
        role.value
        for role, side in zip((Role.CONTROL, Role.CANARY), sides, strict=True)
        if not side
    ]
    if not lacking:
        return ""
    return f"No drawn answer of the {' and the '.join(lacking)} has a text that is kept yet."


def _likeness(likeness: float, one: str, other: str) -> str:
    if one == other:
        return "The same prompt"
    return "Similar prompts" if likeness >= SIMILAR else "Different prompts"


def _shown(row: SampleRow, texts: Exchange) -> ShownAnswer:
    response = texts.response or ""
    head = response[:_SHOWN_CHARS]
    is_cut = len(response) > len(head)
    return ShownAnswer(
        line=sample_line(row, None, None),
        prompt=one_line(prompt_of(texts), _PROMPT_CHARS),
        html=raw_text(head) if is_cut else render_markdown(head),
        is_cut=is_cut,
    )
