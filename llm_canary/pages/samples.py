"""Search of the drawn answers, one answer with everything said about it, and asking people."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.errors import InvalidRequest, NotFound
from llm_canary.judging.material import recorded_turns
from llm_canary.pages.filters import (
    FilterField,
    FilterForm,
    Pager,
    asked_choice,
    asked_moment,
    asked_score,
    asked_text,
    select_field,
    with_query,
)
from llm_canary.pages.history import Moment, moment, rollout_url
from llm_canary.pages.markdown import one_line
from llm_canary.pages.quantity import ABSENT, unit_of, value_text
from llm_canary.pages.sample_view import Told, sample_view
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.review.asking import ask_people
from llm_canary.routing.table import Role
from llm_canary.sampling import Stream
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories import inferences, outcomes, reviews
from llm_canary.storage.repositories import sample_search as samples
from llm_canary.storage.repositories.sample_search import (
    FAIL,
    NONE,
    PASS,
    Choices,
    Exchange,
    RolloutName,
    SampleFilter,
    SampleRow,
)
from llm_canary.storage.repositories.samples import SampleState

PAGE = 25
_SHOWN_CHARS = 240
_NO_TEXT = "The text is not kept"
VERDICTS = {True: ("Passed", "good"), False: ("Failed", "bad"), None: ("No verdict", "quiet")}
_STATES = {
    SampleState.WAITING: "waits for a judge",
    SampleState.LEASED: "with a judge now",
    SampleState.JUDGED: "judged",
    SampleState.FAILED: "the judge failed",
    SampleState.SHED: "not judged, too many waited",
    SampleState.LAPSED: "not judged in time",
}
_VERDICT_CHOICES = ((PASS, "Passed"), (FAIL, "Failed"), (NONE, "No verdict"))


@dataclass(frozen=True)
class SampleLine:
    """One drawn answer in a list."""

    id: str
    url: str
    drawn: Moment
    rollout: str
    rollout_url: str
    arm: str
    rubric: str
    facts: str
    judge: str
    judge_tone: str
    human: str
    human_tone: str
    differs: bool
    prompt: str
    answer: str


def add_samples(site: Site) -> None:
    """Add `/samples`, `/samples/{id}` and asking people about one."""
    site.page("/samples", Permission.READ, lambda visit: _list(site, visit))
    site.page("/samples/{sample_id}", Permission.READ, lambda visit: _detail(site, visit))
    site.act("/samples/{sample_id}/ask", Permission.OPERATE, lambda visit: _ask(site, visit))


def sample_line(row: SampleRow, texts: Exchange | None, rollout: RolloutName | None) -> SampleLine:
    """Return one drawn answer in words."""
    judge, judge_tone = VERDICTS[row.judge_passed]
    human, human_tone = VERDICTS[row.human_passed]
    return SampleLine(
        id=row.id,
        url=f"/samples/{row.id}",
        drawn=moment(row.drawn_at) or Moment("", ""),
        rollout=ABSENT if rollout is None else _attempt(rollout),
        rollout_url="" if rollout is None else rollout_url(rollout.name, rollout.attempt),
        arm=row.arm or "no arm",
        rubric=row.rubric_id,
        facts=", ".join(_facts(row, texts)),
        judge=_scored(judge, row.judge_score)
        if row.state == SampleState.JUDGED
        else state_text(row),
        judge_tone=judge_tone,
        human=_scored(human, row.human_score) if row.reviewed_at else review_text(row),
        human_tone=human_tone,
        differs=None not in {row.judge_passed, row.human_passed}
        and row.judge_passed != row.human_passed,
        prompt=one_line(prompt_of(texts), _SHOWN_CHARS),
        answer=one_line((texts.response if texts else None) or _NO_TEXT, _SHOWN_CHARS),
    )


def prompt_of(texts: Exchange | None) -> str:
    """Return what the user said last; the request as it is where it cannot be read."""
    if texts is None or texts.request is None:
        return _NO_TEXT
    turns = recorded_turns(texts.request)
    return texts.request if turns is None else turns[-1]["content"]


def state_text(row: SampleRow) -> str:
    """Write where the sample stands with the judges."""
    return _STATES[SampleState(row.state)]


def review_text(row: SampleRow) -> str:
    """Write where the sample stands with people."""
    if row.review_stream is None:
        return "nobody was asked"
    if row.review_state == reviews.ADJUDICATE:
        return "to be adjudicated"
    return "waits for people" if row.review_state == reviews.OPEN else "asked"


def _list(site: Site, visit: Visit) -> Response:
    services = site.services
    services.ready()
    wanted, before = _asked(visit), asked_text(visit, "before")
    with read_session(services.engine) as session:
        found = samples.search(session, wanted, before=before, limit=PAGE + 1)
        shown = found[:PAGE]
        texts = samples.exchanges(session, [row.inference_id for row in shown])
        names = samples.rollout_names(session, {row.rollout_id for row in shown if row.rollout_id})
        known = samples.choices(session)
    query = _query(visit)
    older = with_query("/samples", query | {"before": shown[-1].id}) if len(found) > PAGE else ""
    newer = with_query("/samples", query) if before else ""
    return site.html(
        visit,
        "samples.html",
        lines=tuple(
            sample_line(row, texts.get(row.inference_id), names.get(row.rollout_id or ""))
            for row in shown
        ),
        form=_form(visit, known, tuple(services.config().rubrics)),
        pager=Pager(newer, older, ""),
    )


def _detail(site: Site, visit: Visit) -> Response:
    services, sample_id = site.services, visit.path["sample_id"]
    services.ready()
    with read_session(services.engine) as session:
        row = samples.sample_row(session, sample_id)
        if row is None:
            raise NotFound(f"there is no sample {sample_id[:80]!r}; /samples lists them")
        event = inferences.by_request_id(session, row.inference_id)
        told = Told(
            row=row,
            event=event,
            rollout=samples.rollout_names(session, [row.rollout_id or ""]).get(
                row.rollout_id or ""
            ),
            judgements=samples.judgements_of(session, sample_id),
            reviews=samples.reviews_of(session, sample_id),
            outcomes=() if event is None else outcomes.about(session, event),
            siblings=samples.siblings(session, row.inference_id),
            is_gold=reviews.gold_of(session, sample_id) is not None,
        )
    is_raw = asked_choice(visit, "raw", ("1",)) is not None
    is_whole = asked_choice(visit, "all", ("1",)) is not None
    line = sample_line(row, None, told.rollout)
    return site.html(
        visit,
        "sample.html",
        line=line,
        view=sample_view(told, is_raw=is_raw, is_whole=is_whole),
    )


def _ask(site: Site, visit: Visit) -> Response:
    sample_id = visit.path["sample_id"]
    ask_people(site.services.engine, sample_id)
    site.services.audit.note(visit.viewer.principal, "sample.ask", sample_id)
    return site.go(visit, f"/samples/{sample_id}")


def _asked(visit: Visit) -> SampleFilter:
    attempt = visit.number("attempt", 0, least=1)
    score_from, score_to = asked_score(visit, "from"), asked_score(visit, "to")
    if score_from is not None and score_to is not None and score_from > score_to:
        raise InvalidRequest(
            f"scores from {score_from:g} to {score_to:g} are none; give the smaller one first",
            param="from",
        )
    return SampleFilter(
        rollout=asked_text(visit, "rollout"),
        attempt=attempt or None,
        route=asked_text(visit, "route"),
        arm=asked_choice(visit, "arm", tuple(Role)),
        rubric=asked_text(visit, "rubric"),
        stream=asked_choice(visit, "stream", tuple(Stream)),
        state=asked_choice(visit, "state", tuple(SampleState)),
        judge=asked_choice(visit, "judge", (PASS, FAIL, NONE)),
        human=asked_choice(visit, "human", (PASS, FAIL, NONE)),
        differs=asked_choice(visit, "differs", ("1",)) is not None,
        score_from=score_from,
        score_to=score_to,
        since=asked_moment(visit, "since"),
        until=asked_moment(visit, "until"),
        request=asked_text(visit, "request"),
    )


_NAMES = (
    "rollout", "attempt", "route", "arm", "rubric", "stream", "state", "judge", "human",
    "differs", "from", "to", "since", "until", "request",
)  # fmt: skip


def _query(visit: Visit) -> dict[str, object]:
    return {name: visit.query[name] for name in _NAMES if visit.query.get(name)}


def _form(visit: Visit, known: Choices, rubrics: tuple[str, ...]) -> FilterForm:
    def asked(name: str) -> str:
        return visit.query.get(name, "").strip()

    def select(
        name: str, label: str, options: tuple[str | tuple[str, str], ...], every: str
    ) -> FilterField:
        return select_field(name, label, asked(name), options, every)

    return FilterForm(
        "/samples",
        (
            select("rollout", "Rollout", known.rollouts, "Every rollout"),
            select("route", "Route", known.routes, "Every route"),
            select("arm", "Arm", tuple(Role), "Both arms"),
            select("rubric", "Rubric", rubrics, "Every rubric"),
            select("stream", "Drawn", tuple(Stream), "For any reason"),
            select("state", "State", tuple(SampleState), "Every state"),
            select("judge", "Judge says", _VERDICT_CHOICES, "Anything"),
            select("human", "People say", _VERDICT_CHOICES, "Anything"),
            select("differs", "Disagreement", (("1", "People and judge differ"),), "Not asked for"),
            FilterField("from", "Judge's score from", asked("from"), "number"),
            FilterField("to", "Judge's score to", asked("to"), "number"),
            FilterField("since", "Drawn since (UTC)", asked("since"), "datetime-local"),
            FilterField("until", "Drawn until (UTC)", asked("until"), "datetime-local"),
            FilterField("request", "Request or response id", asked("request")),
        ),
        hidden=(("attempt", asked("attempt")),) if asked("attempt") else (),
    )


def _attempt(rollout: RolloutName) -> str:
    return rollout.name if rollout.attempt == 1 else f"{rollout.name}, attempt {rollout.attempt}"


def _scored(word: str, score: float | None) -> str:
    return word if score is None else f"{word}, {score:.2f}"


def _facts(row: SampleRow, texts: Exchange | None) -> list[str]:
    facts = [f"drawn by {'chance' if row.stream == Stream.PROBABILITY else 'interest'}"]
    if texts is not None and texts.latency_ms is not None:
        facts.append(value_text(texts.latency_ms, unit_of("ms"), 0))
    if texts is not None and texts.cost_nanousd is not None:
        facts.append(value_text(texts.cost_nanousd, unit_of("nanousd")))
    return facts
