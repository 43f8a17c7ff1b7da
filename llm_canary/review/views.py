"""What reviewers and release owners are shown: an item, disagreements, agreement over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any

import msgspec
from sqlmodel import Session

from llm_canary.review.people import gold_shares
from llm_canary.review.queue import Item
from llm_canary.rubric.prompt import CANNOT_ASSESS
from llm_canary.rubric.schema import AskedCriterion, BinaryCriterion, OrdinalCriterion
from llm_canary.storage.repositories.counted import gold_reviews
from llm_canary.storage.repositories.grading import calibrations
from llm_canary.storage.repositories.review_counts import work_since
from llm_canary.storage.repositories.reviewed import ReviewedRow, reviewed_rows


class LabelView(msgspec.Struct, frozen=True):
    """One label that a criterion takes, and what an answer of it looks like."""

    label: str
    anchor: str | None = None


class CriterionView(msgspec.Struct, frozen=True, kw_only=True):
    """One criterion that a person grades."""

    id: str
    kind: str
    requirement: str
    must_pass: bool
    labels: tuple[LabelView, ...]  # cannot_assess is always one more


class ItemView(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to review: nothing in it tells arm, model, cost or another's grade."""

    sample_id: str
    token: str
    leased_until_s: float
    lease_s: float
    rubric: str
    rubric_version: int
    instructions: str
    criteria: tuple[CriterionView, ...]
    history: tuple[dict[str, str], ...]
    prompt: str
    response: str
    context: str | None = None


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to review by one text of a rubric."""

    rubric: str
    open: int
    leased: int
    done: int
    adjudicate: int
    oldest_s: float | None = None


class Said(msgspec.Struct, frozen=True):
    """Who said what about one criterion."""

    who: str  # a reviewer, or "judge"
    label: str


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """One criterion of one answer about which people, or people and judge, differ."""

    sample_id: str
    arm: str | None
    criterion: str
    kind: str  # people or judge
    said: tuple[Said, ...]


class AgreementPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison of a judge version with people."""

    at_s: float
    judge_id: str
    source: str  # labels or reviews
    standing: str
    labelled: int
    subjects: dict[str, dict[str, Any]]  # overall and by criterion
    strata: dict[str, dict[str, Any]]  # such as arm=canary


class ReviewerView(msgspec.Struct, frozen=True, kw_only=True):
    """One reviewer's work since a day; accuracy on gold items, agreement with other people."""

    reviewer: str
    reviews: int
    gold: int
    gold_accuracy: float | None
    median_seconds: float | None


def item_view(item: Item) -> ItemView:
    """Return the item as it is shown."""
    rubric, sample = item.rubric.rubric, item.sample
    turns = rubric.inputs.history_turns
    history = list(sample.history)[-turns:] if turns else []
    return ItemView(
        sample_id=item.sample_id,
        token=item.token,
        leased_until_s=item.leased_until.timestamp(),
        lease_s=item.lease_s,
        rubric=rubric.id,
        rubric_version=rubric.version,
        instructions=rubric.instructions,
        criteria=tuple(_criterion(each) for each in rubric.asked),
        history=tuple(dict(turn) for turn in history),
        prompt=sample.prompt,
        response=sample.response,
        context=sample.context,
    )


def disagreements(session: Session, rubric_id: str) -> Iterator[Disagreement]:
    """Yield what people, or people and the judge, see differently and nobody has decided.

    The newest reviews come first.
    """
    for row in reviewed_rows(session, rubric_id, in_doubt=True):
        yield from _of(row)


def agreement(session: Session, rubric_id: str, limit: int = 100) -> list[AgreementPoint]:
    """Return every comparison of judges with people, the newest first."""
    return [
        AgreementPoint(
            at_s=each["at"].timestamp(),
            judge_id=each["judge_id"],
            source=each["source"],
            standing=each["standing"],
            labelled=each["labelled"],
            subjects={one["name"]: one for one in each["report"].get("subjects", ())},
            strata=each["report"].get("strata", {}),
        )
        for each in calibrations(session, rubric_id, limit=limit)
    ]


def reviewers(session: Session, since: datetime) -> list[ReviewerView]:
    """Return how each reviewer has worked since then; of each review the last revision counts."""
    shares = gold_shares(session, None, since)
    golds = Counter(who for who, _, _ in gold_reviews(session, None, since))
    return [
        ReviewerView(
            reviewer=each.reviewer,
            reviews=each.reviews,
            gold=golds[each.reviewer],
            gold_accuracy=shares[each.reviewer].value if each.reviewer in shares else None,
            median_seconds=median(each.seconds) if each.seconds else None,
        )
        for each in work_since(session, since)
        if each.reviews
    ]


def _criterion(criterion: AskedCriterion) -> CriterionView:
    return CriterionView(
        id=criterion.id,
        kind=criterion.kind,
        requirement=criterion.requirement,
        must_pass=criterion.must_pass,
        labels=tuple(_labels(criterion)),
    )


def _labels(criterion: AskedCriterion) -> list[LabelView]:
    if isinstance(criterion, BinaryCriterion):
        anchors = criterion.anchors
        return [
            LabelView("met", anchors.met if anchors else None),
            LabelView("unmet", anchors.unmet if anchors else None),
        ]
    if isinstance(criterion, OrdinalCriterion):
        return [LabelView(each.label, each.anchor) for each in criterion.levels]
    return [LabelView(each.label, each.anchor) for each in criterion.options]


def _of(row: ReviewedRow) -> list[Disagreement]:
    found = []
    criteria = sorted({name for labels in row.reviews.values() for name in labels})
    for name in criteria:
        people = [Said(who, str(labels[name])) for who, labels in row.reviews.items()]
        judge = _judged(row.grades, name)
        if _differ(people):
            found.append(_made(row, name, "people", people))
        elif judge is not None and _differ([*people, judge]):
            found.append(_made(row, name, "judge", [*people, judge]))
    return found


def _made(row: ReviewedRow, criterion: str, kind: str, said: Sequence[Said]) -> Disagreement:
    return Disagreement(
        sample_id=row.sample_id, arm=row.arm, criterion=criterion, kind=kind, said=tuple(said)
    )


def _judged(grades: Mapping[str, Any], criterion: str) -> Said | None:
    label = grades.get(criterion, {}).get("label")
    return None if label is None else Said("judge", str(label))


def _differ(said: Sequence[Said]) -> bool:
    return len({each.label for each in said if each.label != CANNOT_ASSESS}) > 1
