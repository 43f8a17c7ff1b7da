"""Pairs of answers, and final labels where people or judges differ."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from llm_canary.api.deps import (
    Operator,
    Reviewer,
    Services,
    actor_name,
    require_database,
    reviewer_name,
)
from llm_canary.api.openapi import answer
from llm_canary.review.adjudication import Adjudications
from llm_canary.review.pairs import Choice, OpenedPair, PairReport, Pairs

router = APIRouter(prefix="/reviews", tags=["reviews"], dependencies=[Depends(require_database)])
_Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
_Who = Annotated[
    _Name | None,
    Field(examples=["mara"], description="Who compares; a reviewer's key does as itself only."),
]
_Text = Annotated[str, StringConstraints(max_length=10_000)]
_Label = str | int | float | bool


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClaimPairRequest(_Body):
    """Who wants to compare two answers, by which rubric."""

    rubric: _Name = Field(examples=["support_answer"])
    reviewer: _Who = None


class PreferRequest(_Body):
    """Which of the two answers is better; `a` is the one that was shown first."""

    reviewer: _Who = None
    token: _Name
    preferred: Literal["a", "b", "tie", "both_bad", "cannot_assess"]
    criteria: dict[str, Literal["a", "b", "tie"]] = Field(default_factory=dict)
    comment: _Text | None = None
    seconds_active: float | None = Field(default=None, ge=0, le=86_400)


class AdjudicateRequest(_Body):
    """The final labels of an answer, and why."""

    by: _Name | None = None
    labels: dict[str, _Label] = Field(min_length=1, examples=[{"answers_question": "met"}])
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]
    unclear: list[_Name] = Field(
        default_factory=list, description="Criteria whose wording let people differ."
    )


class PairView(msgspec.Struct, frozen=True, kw_only=True):
    """Two answers to one prompt; nothing in it tells which arm is which."""

    pair_id: str
    token: str
    left_s: float
    lease_s: float
    rubric: str
    history: tuple[dict[str, str], ...]
    prompt: str
    a: str
    b: str


class PairResult(msgspec.Struct, frozen=True):
    """The pair, None when there is nothing left for this reviewer."""

    pair: PairView | None


class Preferred(msgspec.Struct, frozen=True):
    """The preference was stored."""

    done: bool = True


class FinalView(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided: the labels by their names."""

    sample_id: str
    decided_by: str
    at_s: float
    labels: dict[str, str]
    unclear: tuple[str, ...]


ANSWERS: dict[str, Any] = {
    "claim_pair": PairResult,
    "prefer": Preferred,
    "report_pairs": PairReport,
    "adjudicate": FinalView,
}


@router.post("/pairs/claim")
def claim_pair(body: ClaimPairRequest, services: Services, caller: Reviewer) -> Response:
    """Return the next pair for the reviewer; the one that they hold already, where they do."""
    pairs = Pairs(services.engine, services.clock)
    who = reviewer_name(caller, body.reviewer)
    name = pairs.claim(body.rubric, who)
    return answer(PairResult(None if name is None else _view(pairs.open(name, who))))


@router.post("/pairs/{pair_id}/prefer")
def prefer(pair_id: str, body: PreferRequest, services: Services, caller: Reviewer) -> Response:
    """Store which answer is better; 409 when the pair is another reviewer's by now.

    `cannot_assess` gives the pair to others.
    """
    choice = Choice(body.preferred, body.criteria, body.comment, body.seconds_active)
    who = reviewer_name(caller, body.reviewer)
    rubric = Pairs(services.engine, services.clock).prefer(pair_id, who, body.token, choice)
    services.audit.note(caller, "pair.prefer", pair_id, {"rubric": rubric, "reviewer": who})
    return answer(Preferred())


@router.get("/pairs/report")
def report_pairs(rubric: str, services: Services, _: Operator) -> Response:
    """Return how often the canary is preferred, with Wilson's interval, and the pull of the side.

    A pair counts once, by the majority of its reviewers; ties stand beside the rate.
    """
    return answer(Pairs(services.engine, services.clock).report(rubric))


@router.post("/{sample_id}/adjudicate")
def adjudicate(
    sample_id: str, body: AdjudicateRequest, services: Services, caller: Operator
) -> Response:
    """Make labels final: they are the answer's human score, and no gate waits for it any more."""
    by = actor_name(caller, body.by)
    final = Adjudications(services.engine, services.clock).decide(
        sample_id, body.labels, by=by, reason=body.reason, unclear=body.unclear
    )
    services.audit.note(caller, "review.adjudicate", sample_id, {"unclear": list(final.unclear)})
    return answer(
        FinalView(
            sample_id=final.sample_id,
            decided_by=final.decided_by,
            at_s=final.at.timestamp(),
            labels=final.labels,
            unclear=final.unclear,
        )
    )


def _view(opened: OpenedPair) -> PairView:
    rubric = opened.rubric.rubric
    turns = rubric.inputs.history_turns
    return PairView(
        pair_id=opened.id,
        token=opened.token or "",
        left_s=opened.left_s or 0.0,
        lease_s=opened.lease_s,
        rubric=rubric.id,
        history=tuple(dict(turn) for turn in opened.prompt.history[-turns:]) if turns else (),
        prompt=opened.prompt.prompt,
        a=opened.first,
        b=opened.second,
    )
