"""The health of the process, and what is known of one request."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Depends, Response

from llm_canary import __version__
from llm_canary.api.deps import Reader, Services, require_database
from llm_canary.api.openapi import answer
from llm_canary.api.schemas import RequestRecord, Status
from llm_canary.errors import NotFound, NotReady
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories import inferences, outcomes

router = APIRouter(tags=["system"])
ANSWERS = {"get_status": Status, "get_request": RequestRecord}


@router.get("/status")
def get_status(services: Services, _: Reader) -> Response:
    """Return the health of telemetry, loops, configuration and database, also in trouble."""
    facts = dict(services.status())
    telemetry = facts.get("telemetry")
    if telemetry is not None:
        facts["dropped"] = telemetry["dropped_full"] + telemetry["dropped_error"]
    try:
        services.ready()
    except NotReady as error:
        facts["database_problem"] = error.message
    facts |= {"version": __version__, "now_s": services.clock.now_s()}
    return answer(msgspec.convert(facts, Status))


@router.get("/requests/{request_id}", dependencies=[Depends(require_database)])
def get_request(request_id: str, services: Services, _: Reader) -> Response:
    """Return one inference, by our `x-request-id` or the provider's id, with its outcomes.

    Prompt and answer are there only when the route's `content` policy stored them.
    """
    with read_session(services.engine) as session:
        inference = inferences.by_request_id(session, request_id)
        inference = inference or inferences.by_response_id(session, request_id)
        if inference is None:
            raise NotFound(
                f"no request {request_id!r} is stored; new ones take a second to arrive, and old "
                "ones leave with their retention",
                param="request_id",
            )
        said = outcomes.about(session, inference)
    return answer(RequestRecord(inference=inference, outcomes=said))
