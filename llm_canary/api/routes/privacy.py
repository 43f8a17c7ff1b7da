"""Erase what is stored of a user, of a request, or beyond an age."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from llm_canary.api.deps import Admin, Services, require_database
from llm_canary.api.openapi import answer
from llm_canary.api.schemas import ErasureView
from llm_canary.api.services import ApiServices
from llm_canary.auth import Principal
from llm_canary.storage.repositories.erasures import ErasureKind, ErasureRecord

router = APIRouter(tags=["privacy"], prefix="/privacy", dependencies=[Depends(require_database)])
ANSWERS = {
    "erase_user": ErasureView,
    "erase_request": ErasureView,
    "erase_before": ErasureView,
    "list_erasures": list[ErasureView],
    "get_erasure": ErasureView,
}
_WAIT_S = 5.0  # what is not done by then goes on in the background


@router.delete("/users/{user:path}")
def erase_user(user: str, services: Services, caller: Admin, *, dry_run: bool = False) -> Response:
    """Make all facts of a user nobody's and remove their texts; `user` is the id that apps send."""
    return _erase(services, caller, ErasureKind.USER, user, dry_run=dry_run)


@router.delete("/requests/{request_id}")
def erase_request(
    request_id: str, services: Services, caller: Admin, *, dry_run: bool = False
) -> Response:
    """Do the same with one request, named by its x-request-id or by the id of its answer."""
    return _erase(services, caller, ErasureKind.REQUEST, request_id, dry_run=dry_run)


@router.delete("/texts")
def erase_before(
    before: str, services: Services, caller: Admin, *, dry_run: bool = False
) -> Response:
    """Remove all texts that are older than an age (30d) or a date."""
    return _erase(services, caller, ErasureKind.BEFORE, before, dry_run=dry_run)


@router.get("/erasures")
def list_erasures(services: Services, _: Admin) -> Response:
    """Return what was asked to be erased, the newest first."""
    return answer([_view(record) for record in services.eraser.list()])


@router.get("/erasures/{erasure_id}")
def get_erasure(erasure_id: str, services: Services, _: Admin) -> Response:
    """Return how far an erasure has come."""
    return answer(_view(services.eraser.get(erasure_id)))


def _erase(
    services: ApiServices, caller: Principal, kind: ErasureKind, text: str, *, dry_run: bool
) -> Response:
    target = services.eraser.target(kind, text)
    if dry_run:
        found = services.eraser.preview(target)
        return answer(
            ErasureView(
                id=None,
                kind=kind.value,
                state="preview",
                inferences=found.inferences,
                texts=found.texts,
                comments=found.comments,
            )
        )
    record = services.eraser.start(target, caller.name)
    # The erasure's id, not its target: the log of acts must not name whom it was about.
    services.audit.note(caller, f"privacy.erase_{kind.value}", record.id)
    return answer(_view(services.eraser.run(record.id, _WAIT_S)))


def _view(record: ErasureRecord) -> ErasureView:
    return ErasureView(
        id=record.id,
        kind=record.kind.value,
        state=record.state.value,
        inferences=record.inferences,
        comments=record.comments,
        requested_at_s=record.requested_at.timestamp(),
        requested_by=record.requested_by,
        done_at_s=record.done_at.timestamp() if record.done_at is not None else None,
    )
