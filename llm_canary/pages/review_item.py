"""An item of the review queue as its page shows it: the exchange on one side, the criteria beside.

Nothing here knows arm, model, cost, judge or another's review: the page cannot show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_canary.pages.prose import Piece, Shown, compared, shown, visible
from llm_canary.review.desk import Entered, Opened
from llm_canary.rubric.checks import not_applicable
from llm_canary.rubric.prompt import CANNOT_ASSESS
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import AskedCriterion, BinaryCriterion, OrdinalCriterion, Rubric

TURNS_SHOWN, _TURN_CHARS = 20, 4_000
_OPEN_TURNS = 4  # so many earlier messages are open at once
FIELD = "label:"  # begins the name of a criterion's field


@dataclass(frozen=True)
class OptionView:
    """One label that can be chosen."""

    value: str
    keys: tuple[str, ...]
    label: str
    anchor: str
    is_chosen: bool


@dataclass(frozen=True)
class CriterionCard:
    """One criterion with its labels and what an answer of each looks like."""

    id: str
    name: str
    field: str
    number: int
    requirement: str
    marks: tuple[str, ...]  # what sets it apart, in words
    note: str
    options: tuple[OptionView, ...]


@dataclass(frozen=True)
class Turn:
    """An earlier message."""

    who: str
    text: Shown


@dataclass(frozen=True)
class Exchange:
    """What was said, up to the answer that is graded."""

    turns: tuple[Turn, ...]
    turns_left_out: int
    are_turns_open: bool
    prompt: Shown
    response: Shown
    context: Shown | None
    diff_title: str
    diff: tuple[Piece, ...]


@dataclass(frozen=True)
class ItemPage:
    """The whole page; `left_s` None: the lease is over."""

    sample_id: str
    rubric: str
    version: int
    instructions: str
    exchange: Exchange
    criteria: tuple[CriterionCard, ...]
    comment: str
    correction: str
    is_flagged: bool
    seconds: float
    revision: int
    token: str
    left_s: int | None
    lease_s: int
    is_restored: bool  # from a draft


def item_page(opened: Opened, *, entered: Entered | None = None) -> ItemPage:
    """Return the page of an item on its reviewer's desk; `entered` goes before the draft."""
    rubric, draft = opened.rubric.rubric, opened.draft
    shown_as = entered or (Entered(*draft[2:]) if draft else Entered({}))
    return ItemPage(
        sample_id=opened.sample_id,
        rubric=rubric.id,
        version=rubric.version,
        instructions=rubric.instructions,
        exchange=exchange(opened.sample, turns=rubric.inputs.history_turns),
        criteria=criteria(rubric, opened.sample, shown_as.labels),
        comment=visible(shown_as.comment),
        correction=visible(shown_as.corrected_response),
        is_flagged=shown_as.is_flagged,
        seconds=shown_as.seconds_active,
        revision=draft.revision if draft else 0,
        token=opened.token or "",
        left_s=None if opened.left_s is None else int(opened.left_s),
        lease_s=int(opened.lease_s),
        is_restored=draft is not None and draft.revision > 0 and entered is None,
    )


def exchange(sample: Sample, *, turns: int) -> Exchange:
    """Return what was said; of long conversations the latest messages."""
    history = list(sample.history)
    latest = history[-min(max(turns, 1), TURNS_SHOWN) :]
    title, base = _base(sample)
    return Exchange(
        turns=tuple(turn(each, longest=_TURN_CHARS) for each in latest),
        turns_left_out=len(history) - len(latest),
        are_turns_open=len(history) <= _OPEN_TURNS,
        prompt=shown(sample.prompt),
        response=shown(sample.response),
        context=None if sample.context is None else shown(sample.context),
        diff_title=title,
        diff=() if base is None else compared(base, sample.response),
    )


def turn(message: Mapping[str, str], *, longest: int) -> Turn:
    """Return one message of a conversation."""
    role = message.get("role", "user")
    who = {"user": "User", "assistant": "Assistant", "system": "System"}.get(role)
    text = message.get("content", "")
    return Turn(who or visible(role[:40]), shown(text, longest=longest))


def criteria(
    rubric: Rubric, sample: Sample, labels: Mapping[str, Any]
) -> tuple[CriterionCard, ...]:
    """Return the criteria that a person grades; what cannot apply is filled in."""
    cards = []
    for number, each in enumerate(rubric.asked, 1):
        reason = not_applicable(each, sample)
        chosen = labels.get(each.id, CANNOT_ASSESS if reason else None)
        cards.append(_card(each, number, chosen, reason.detail if reason else ""))
    return tuple(cards)


def labels_in(form: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that a form has, by criterion."""
    return {name[len(FIELD) :]: value for name, value in form.items() if name.startswith(FIELD)}


def label_text(label: object) -> str:
    """Return a label in words."""
    return "cannot assess" if label == CANNOT_ASSESS else visible(str(label)[:100])


def _card(criterion: AskedCriterion, number: int, chosen: object, absent: str) -> CriterionCard:
    is_fault = isinstance(criterion, BinaryCriterion) and criterion.polarity == "negative"
    marks = [
        *(["must pass"] if criterion.must_pass else []),
        *(["a fault: met is bad"] if is_fault else []),
    ]
    options = [
        OptionView(value, keys, label, anchor, _is(criterion, value, chosen))
        for value, keys, label, anchor in _labels(criterion)
    ]
    cannot = OptionView(
        CANNOT_ASSESS,
        ("x",),
        "cannot assess",
        "The material does not let anybody decide.",
        chosen == CANNOT_ASSESS,
    )
    return CriterionCard(
        id=criterion.id,
        name=criterion.id.replace("_", " "),
        field=f"{FIELD}{criterion.id}",
        number=number,
        requirement=criterion.requirement,
        marks=tuple(marks),
        note=f"Does not apply here: {absent}." if absent else "",
        options=(*options, cannot),
    )


def _labels(criterion: AskedCriterion) -> list[tuple[str, tuple[str, ...], str, str]]:
    """Return value, keys, label and anchor of each label."""
    if isinstance(criterion, BinaryCriterion):
        anchors = criterion.anchors
        return [
            ("met", ("1", "y"), "met", anchors.met if anchors else ""),
            ("unmet", ("2", "n"), "unmet", anchors.unmet if anchors else ""),
        ]
    if isinstance(criterion, OrdinalCriterion):
        entries = [(each.label, each.anchor) for each in criterion.levels]
    else:
        entries = [(each.label, each.anchor) for each in criterion.options]
    return [
        (label, (str(number),) if number <= 9 else (), label, anchor)
        for number, (label, anchor) in enumerate(entries, 1)
    ]


def _is(criterion: AskedCriterion, value: str, chosen: object) -> bool:
    """Say whether a stored label, which may be a level's value, is the one of this option."""
    if isinstance(criterion, OrdinalCriterion):
        names = {str(level.value): level.label for level in criterion.levels}
        return names.get(str(chosen), chosen) == value
    if isinstance(criterion, BinaryCriterion):
        return {"True": "met", "False": "unmet", "1": "met", "0": "unmet"}.get(
            str(chosen), chosen
        ) == value
    return chosen == value


def _base(sample: Sample) -> tuple[str, str | None]:
    if sample.reference:
        return "Compared with the reference", sample.reference
    earlier = [each["content"] for each in sample.history if each.get("role") == "assistant"]
    if earlier:
        return "Compared with the answer before", earlier[-1]
    return "", None
