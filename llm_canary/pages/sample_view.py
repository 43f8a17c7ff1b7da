"""One drawn answer with everything that is known of it, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from llm_canary.judging.judgement import Status
from llm_canary.judging.material import recorded_turns
from llm_canary.pages.history import Moment, moment, moment_of
from llm_canary.pages.markdown import beginning, one_line, raw_text, render_markdown, visible
from llm_canary.pages.quantity import ABSENT, count_text, unit_of, value_text
from llm_canary.sampling import Stream
from llm_canary.storage.repositories.counted import RETRACTED, SUBMITTED
from llm_canary.storage.repositories.reported import parted
from llm_canary.storage.repositories.reviews import SKIPPED
from llm_canary.storage.repositories.sample_search import (
    JudgementRow,
    ReviewRow,
    RolloutName,
    SampleRow,
)
from llm_canary.telemetry.events import InferenceEvent, OutcomeEvent

SHOWN_TURNS, SHOWN_CHARS, RENDERED_CHARS = 12, 20_000, 30_000
_REASONING_CHARS = 2_000
_REVIEWS = {SUBMITTED: "Reviewed", SKIPPED: "Skipped", RETRACTED: "Undone"}
_ROLES = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}
_WHY = {
    "not_applicable": "does not apply",
    "cannot_assess": "cannot be assessed",
    "no_evidence": "gave no evidence",
    "failed": "failed",
}
_FAILURES = {
    Status.PARSE_ERROR: "its answer could not be read",
    Status.REFUSED: "it refused",
    Status.TIMEOUT: "it took too long",
    Status.PROVIDER_ERROR: "its provider failed",
    Status.BUDGET: "the money of the day was spent",
    Status.MISSING: "the recording has nothing about this answer",
}


class Told(NamedTuple):
    """What the database tells of a sample."""

    row: SampleRow
    event: InferenceEvent | None  # None: it has left with its retention
    rollout: RolloutName | None
    judgements: Sequence[JudgementRow]
    reviews: Sequence[ReviewRow]
    outcomes: Sequence[OutcomeEvent]
    siblings: Sequence[tuple[str, str]]
    is_gold: bool


@dataclass(frozen=True)
class Turn:
    """One message, rendered."""

    role: str
    html: Markup
    left_out: str


@dataclass(frozen=True)
class GradeLine:
    """One criterion as a judge graded it."""

    criterion: str
    label: str
    tone: str
    confidence: str
    reasoning: str
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class JudgementView:
    """What one judge version said."""

    judge: str
    at: Moment
    outcome: str
    tone: str
    grades: tuple[GradeLine, ...]
    facts: tuple[tuple[str, str], ...]
    detail: str
    warning: str


@dataclass(frozen=True)
class ReviewView:
    """What one person said."""

    who: str
    at: Moment
    status: str
    labels: tuple[tuple[str, str], ...]
    comment: str
    corrected: str
    note: str


@dataclass(frozen=True)
class OutcomeLine:
    """What was learned later."""

    metric: str
    value: str
    about: str
    at: Moment
    comment: str


@dataclass(frozen=True)
class SampleView:
    """The whole page."""

    id: str
    history: tuple[Turn, ...]
    hidden_turns: int
    prompt: Turn | None
    answer: Turn | None
    absent: str  # why there is no text
    toggles: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    chances: tuple[tuple[str, str], ...]
    judgements: tuple[JudgementView, ...]
    reviews: tuple[ReviewView, ...]
    outcomes: tuple[OutcomeLine, ...]
    others: tuple[tuple[str, str], ...]
    can_ask: bool
    asked: str
    is_gold: bool
    disagreements_url: str


def sample_view(told: Told, *, is_raw: bool, is_whole: bool) -> SampleView:
    """Return the page; `is_raw`: texts as they were written, `is_whole`: and all of them."""
    row, event = told.row, told.event
    request = None if event is None else event.request_text
    response = None if event is None else event.response_text
    turns = None if request is None else recorded_turns(request)
    if turns is None and request is not None:
        turns = [{"role": "request", "content": request}]
    earlier = (turns or [])[:-1]
    shown = earlier if is_whole else earlier[-SHOWN_TURNS:]
    spoken = [*shown, *(turns or [])[-1:]]
    if response is not None:
        spoken.append({"role": "assistant", "content": response})
    rendered = _rendered(spoken, as_text=is_raw or is_whole, is_whole=is_whole)
    answer = rendered.pop() if response is not None else None
    prompt = rendered.pop() if turns else None
    return SampleView(
        id=row.id,
        history=tuple(rendered),
        hidden_turns=len(earlier) - len(shown),
        prompt=prompt,
        answer=answer,
        absent=_absent(event),
        toggles=_toggles(row.id, is_raw=is_raw, is_whole=is_whole),
        facts=() if event is None else _facts(event),
        chances=_chances(row),
        judgements=tuple(_judgement(each) for each in told.judgements),
        reviews=tuple(_review(each) for each in told.reviews),
        outcomes=tuple(_outcome(each) for each in told.outcomes),
        others=tuple((name, f"/samples/{each}") for each, name in told.siblings if each != row.id),
        can_ask=row.review_stream is None and request is not None and response is not None,
        asked=_asked(row),
        is_gold=told.is_gold,
        disagreements_url="/review/disagreements",
    )


def _rendered(spoken: Sequence[Mapping[str, str]], *, as_text: bool, is_whole: bool) -> list[Turn]:
    """Return the messages, the newest of them as Markdown, as far as that is quick."""
    turns: list[Turn] = []
    free = 0 if as_text else RENDERED_CHARS
    for each in reversed(spoken):
        text = each["content"]
        head = text if is_whole else text[:SHOWN_CHARS]
        html = render_markdown(head) if len(head) <= free else raw_text(head)
        free = max(free - len(head), 0)
        left_out = len(text) - len(head)
        note = f"{left_out:,} more characters" if left_out else ""
        turns.append(Turn(_ROLES.get(each["role"], visible(each["role"][:40])), html, note))
    return turns[::-1]


def _toggles(name: str, *, is_raw: bool, is_whole: bool) -> tuple[tuple[str, str], ...]:
    url = f"/samples/{name}"
    if is_raw or is_whole:
        return (("Formatted", url), *(() if is_whole else (("Everything", f"{url}?all=1"),)))
    return (("As written", f"{url}?raw=1"), ("Everything", f"{url}?all=1"))


def _absent(event: InferenceEvent | None) -> str:
    if event is None:
        return "The request has left the database with its retention; what was said about it stays."
    if event.response_text is None:
        return (
            f"No text is kept: the content policy of the route is {event.content_store!r}. "
            "`content: {store: redacted}` keeps it for later answers."
        )
    return ""


def _facts(event: InferenceEvent) -> tuple[tuple[str, str], ...]:
    return (
        ("Route", event.route or ABSENT),
        ("Model", event.reported_model or event.model or ABSENT),
        ("Served by", f"{event.served or ABSENT} ({event.stage or 'no stage'})"),
        ("Ended", event.terminal.value),
        ("Latency", value_text(event.latency_ms, unit_of("ms"), 0)),
        ("First token", value_text(event.ttft_ms, unit_of("ms"), 0)),
        ("Tokens in / out", _pair(event.prompt_tokens, event.completion_tokens)),
        ("Cost", value_text(event.cost_nanousd, unit_of("nanousd"))),
        ("Prompt version", event.prompt or "none"),
        ("Segments", _segments(event.segments)),
        ("Request id", event.id),
        ("Response id", visible(event.response_id or ABSENT)),
    )  # fmt: skip


def _pair(first: int | None, second: int | None) -> str:
    return f"{count_text(first)} / {count_text(second)}"


def _segments(segments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {visible(str(value))}" for name, value in segments.items()) or "none"


def _chances(row: SampleRow) -> tuple[tuple[str, str], ...]:
    reason = {Stream.PROBABILITY.value: "by chance", Stream.TARGETED.value: "as it is worth a look"}
    return (
        ("Drawn", reason.get(row.stream, row.stream)),
        ("Chance by the probability stream", _chance(row.rate)),
        ("Chance by either stream", _chance(row.inclusion)),
        ("Chance that people are asked", _chance(row.review_rate)),
        ("Stratum", visible(row.stratum)),
        ("Counts with what is known by", (moment(row.closes_at) or Moment(ABSENT, "")).text),
    )


def _chance(rate: float) -> str:
    return "none" if rate == 0.0 else f"{rate:.3g}"


def _judgement(row: JudgementRow) -> JudgementView:
    word, tone = {
        True: ("Passed", "good"),
        False: ("Failed", "bad"),
        None: ("No verdict", "quiet"),
    }[row.passed]
    if row.status != Status.OK.value:
        why = _FAILURES.get(Status(row.status), row.status)
        word, tone = f"No grades: {why}", "warn"
    score = "" if row.score is None else f", score {row.score:.2f}"
    return JudgementView(
        judge=row.judge_id[:12],
        at=moment(row.at) or Moment("", ""),
        outcome=word + score,
        tone=tone,
        grades=tuple(_grade(name, each) for name, each in row.grades.items()),
        facts=_effort(row) if row.calls else (),
        detail=_short(row.detail),
        warning="The answer seems to give the judge orders." if row.injection_suspected else "",
    )


def _effort(row: JudgementRow) -> tuple[tuple[str, str], ...]:
    return (
        ("Model", visible(", ".join(filter(None, parted(row.reported_model))) or ABSENT)),
        ("Calls", count_text(row.calls)),
        ("Tokens in / out", _pair(row.tokens_in, row.tokens_out)),
        ("Cost", value_text(row.cost_nanousd, unit_of("nanousd"))),
        ("Took", ABSENT if row.latency_s is None else f"{row.latency_s:.1f} s"),
    )


def _grade(name: str, given: Mapping[str, Any]) -> GradeLine:
    if given.get("type") == "not_graded" or "label" not in given:
        why = str(given.get("why", "failed"))
        return GradeLine(name, _WHY.get(why, why), "quiet", "", _short(given.get("detail")), ())
    confidence = given.get("confidence")
    return GradeLine(
        name,
        visible(str(given["label"])[:200]),
        "good" if given.get("passed") else "bad",
        "" if confidence is None else f"{float(confidence):.2f}",
        _short(given.get("reasoning")),
        tuple(_short(each) for each in list(given.get("evidence") or ())[:20]),
    )


def _short(text: object) -> str:
    cut = beginning(str(text or ""), _REASONING_CHARS)
    return cut.text + (f" \N{HORIZONTAL ELLIPSIS} {cut.left_out:,} more" if cut.left_out else "")


def _review(row: ReviewRow) -> ReviewView:
    notes = [f"revision {row.revision}"] if row.revision > 1 else []
    notes += ["as a gold item"] if row.is_gold else []
    notes += [f"{row.seconds_active:.0f} s"] if row.seconds_active is not None else []
    return ReviewView(
        who=visible(row.reviewer),
        at=moment(row.at) or Moment("", ""),
        status=_REVIEWS.get(row.status, row.status),
        labels=tuple((name, visible(str(label)[:200])) for name, label in row.labels.items()),
        comment=_short(row.comment),
        corrected=_short(row.corrected_response),
        note=", ".join(notes),
    )


def _outcome(event: OutcomeEvent) -> OutcomeLine:
    value = "revoked" if event.value is None else visible(one_line(str(event.value), 80))
    return OutcomeLine(
        metric=visible(event.metric),
        value=value,
        about=event.target_kind.value,
        at=moment_of(event.occurred_at_s),
        comment=_short(event.comment),
    )


def _asked(row: SampleRow) -> str:
    reasons = {
        Stream.PROBABILITY.value: "by chance",
        "uncertain": "as the judge was in doubt",
        Stream.TARGETED.value: "as somebody wanted it",
    }
    if row.review_stream is None:
        return ""
    wanted = "one person" if row.reviews_wanted == 1 else f"{row.reviews_wanted} people"
    reason = reasons.get(row.review_stream, row.review_stream)
    return f"{wanted}, {reason}; {row.review_state or 'not in the queue'}"
