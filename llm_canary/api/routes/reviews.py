"""The review queue: claim an answer, hold it, submit, skip; and what came of it."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Response
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
from llm_canary.clock import utc
from llm_canary.review import views
from llm_canary.review.queue import Submission
from llm_canary.storage.engine import read_session

router = APIRouter(prefix="/reviews", tags=["reviews"], dependencies=[Depends(require_database)])
_Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
_Who = Annotated[
    _Name | None,
    Field(examples=["mara"], description="Who reviews; a reviewer's key reviews as itself only."),
]
_Text = Annotated[str, StringConstraints(max_length=100_000)]
_Limit = Annotated[int, Query(ge=1, le=1_000)]
_Labels = Annotated[
    dict[str, str | int | float | bool],
    Field(
        min_length=1,
        examples=[{"answers_question": "met", "resolution": 2}],
        description="Criterion -> `met`, `unmet`, a level, an option, or `cannot_assess`.",
    ),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClaimRequest(_Body):
    """Who wants an answer to review, by which rubric."""

    rubric: _Name = Field(examples=["support_answer"])
    reviewer: _Who = None


class HoldRequest(_Body):
    """The token of the claim."""

    token: _Name


class SubmitRequest(_Body):
    """What the reviewer says of the answer."""

    reviewer: _Who = None
    token: _Name
    labels: _Labels
    comment: _Text | None = None
    corrected_response: _Text | None = Field(
        default=None, description="A better answer; `review corrections` makes a dataset of them."
    )
    seconds_active: float | None = Field(default=None, ge=0, le=86_400)


class SkipRequest(_Body):
    """Why the reviewer leaves the answer to others."""

    reviewer: _Who = None
    token: _Name
    reason: _Name


class GoldRequest(_Body):
    """The right labels of an answer that is to measure reviewers."""

    by: _Name | None = None
    labels: _Labels
    rationale: _Text = ""


class ClaimResult(msgspec.Struct, frozen=True):
    """The item, None when there is nothing left for this reviewer."""

    item: views.ItemView | None


class HoldResult(msgspec.Struct, frozen=True):
    """Until when the item is held now, UTC seconds."""

    leased_until_s: float


class SubmitResult(msgspec.Struct, frozen=True):
    """The number of this person's review of it, and where the item stands."""

    revision: int
    state: str


class Done(msgspec.Struct, frozen=True):
    """The act was done."""

    done: bool = True


ANSWERS: dict[str, Any] = {
    "list_review_queues": list[views.QueueView],
    "claim_review": ClaimResult,
    "hold_review": HoldResult,
    "submit_review": SubmitResult,
    "skip_review": Done,
    "make_gold": Done,
    "list_disagreements": list[views.Disagreement],
    "list_agreement": list[views.AgreementPoint],
    "list_reviewers": list[views.ReviewerView],
}


@router.get("/queues")
def list_review_queues(services: Services, _: Reviewer) -> Response:
    """Return how many answers wait for people, by rubric."""
    return answer(
        [
            views.QueueView(
                rubric=each.rubric_id,
                open=each.open,
                leased=each.leased,
                done=each.done,
                adjudicate=each.adjudicate,
                oldest_s=each.oldest_at.timestamp() if each.oldest_at else None,
            )
            for each in services.reviews.queues()
        ]
    )


@router.post("/claim")
def claim_review(body: ClaimRequest, services: Services, caller: Reviewer) -> Response:
    """Return the next answer for the reviewer; the one that they hold already, where they do."""
    item = services.reviews.claim(body.rubric, reviewer_name(caller, body.reviewer))
    return answer(ClaimResult(None if item is None else views.item_view(item)))


@router.post("/{sample_id}/hold")
def hold_review(sample_id: str, body: HoldRequest, services: Services, _: Reviewer) -> Response:
    """Hold the item longer; 409 when it is another reviewer's by now."""
    return answer(HoldResult(services.reviews.hold(sample_id, body.token).timestamp()))


@router.post("/{sample_id}/submit")
def submit_review(
    sample_id: str, body: SubmitRequest, services: Services, caller: Reviewer
) -> Response:
    """Store the review; 409 when the item has all its reviews without it."""
    given = Submission(body.labels, body.comment, body.corrected_response, body.seconds_active)
    who = reviewer_name(caller, body.reviewer)
    done = services.reviews.submit(sample_id, who, body.token, given)
    detail = {"reviewer": who, "revision": done.revision}
    services.audit.note(caller, "review.submit", sample_id, detail)
    return answer(SubmitResult(done.revision, done.state))


@router.post("/{sample_id}/skip")
def skip_review(
    sample_id: str, body: SkipRequest, services: Services, caller: Reviewer
) -> Response:
    """Give the item back to others."""
    who = reviewer_name(caller, body.reviewer)
    services.reviews.skip(sample_id, who, body.token, body.reason)
    services.audit.note(caller, "review.skip", sample_id, {"reviewer": who})
    return answer(Done())


@router.post("/{sample_id}/gold")
def make_gold(sample_id: str, body: GoldRequest, services: Services, caller: Operator) -> Response:
    """Let the answer measure reviewers, who are shown it like any other."""
    by = actor_name(caller, body.by)
    services.reviews.make_gold(sample_id, body.labels, by=by, rationale=body.rationale)
    services.audit.note(caller, "review.gold", sample_id)
    return answer(Done())


@router.get("/disagreements")
def list_disagreements(
    rubric: str, services: Services, _: Operator, limit: _Limit = 100
) -> Response:
    """Return what people, or people and the judge, see differently and nobody has decided.

    The newest reviews come first.
    """
    with read_session(services.engine) as session:
        return answer(list(islice(views.disagreements(session, rubric), limit)))


@router.get("/agreement")
def list_agreement(rubric: str, services: Services, _: Operator, limit: _Limit = 100) -> Response:
    """Return how far each judge agreed with people over time: overall, by criterion and arm."""
    with read_session(services.engine) as session:
        return answer(views.agreement(session, rubric, limit))


@router.get("/reviewers")
def list_reviewers(
    services: Services, _: Operator, days: Annotated[int, Query(ge=1, le=3650)] = 7
) -> Response:
    """Return what each reviewer has done in the last days, and how they did on gold items."""
    since = utc(services.clock.now_s()) - timedelta(days=days)
    with read_session(services.engine) as session:
        return answer(views.reviewers(session, since))
