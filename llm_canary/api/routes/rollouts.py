"""Read rollouts, their decisions and their history; act on them."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from llm_canary.api.deps import Operator, Reader, Services, actor_name, require_database
from llm_canary.api.openapi import answer
from llm_canary.api.schemas import Act, ActRequest, ReplayResult
from llm_canary.rollout.views import DecisionView, RolloutView, TransitionView

router = APIRouter(tags=["rollouts"], dependencies=[Depends(require_database)])
ANSWERS = {
    "list_rollouts": list[RolloutView],
    "get_rollout": RolloutView,
    "act_on_rollout": RolloutView,
    "list_decisions": list[DecisionView],
    "get_decision": DecisionView,
    "replay_decision": ReplayResult,
    "list_history": list[TransitionView],
}


@router.get("/rollouts")
def list_rollouts(services: Services, _: Reader) -> Response:
    """Return every rollout that the file or the database knows."""
    return answer(services.rollouts.list())


@router.get("/rollouts/{name}")
def get_rollout(name: str, services: Services, _: Reader) -> Response:
    """Return one rollout: state, stage, share, sample sizes, every metric, the last decision."""
    return answer(services.rollouts.status(name))


@router.post("/rollouts/{name}/{act}")
def act_on_rollout(
    name: str, act: Act, body: ActRequest, services: Services, caller: Operator
) -> Response:
    """Create, start, hold, resume, promote or roll back; return the rollout as it is afterwards."""
    apply = {
        Act.CREATE: services.rollouts.create,
        Act.START: services.rollouts.start,
        Act.HOLD: services.rollouts.hold,
        Act.RESUME: services.rollouts.resume,
        Act.PROMOTE: services.rollouts.promote,
        Act.ROLLBACK: services.rollouts.rollback,
    }[act]
    actor = actor_name(caller, body.actor)
    apply(name, actor=actor, reason=body.reason)
    services.audit.note(caller, f"rollout.{act.value}", name, {"reason": body.reason})
    return answer(services.rollouts.status(name))


@router.get("/rollouts/{name}/decisions")
def list_decisions(name: str, services: Services, _: Reader) -> Response:
    """Return the decisions of one rollout, newest first."""
    return answer(services.rollouts.decisions(name))


@router.get("/decisions/{decision_id}")
def get_decision(decision_id: str, services: Services, _: Reader) -> Response:
    """Return one decision with the plan and the evidence it was made from."""
    return answer(services.rollouts.get_decision(decision_id))


@router.get("/decisions/{decision_id}/replay")
def replay_decision(decision_id: str, services: Services, _: Reader) -> Response:
    """Decide again from the stored evidence; refused when plan or evidence were altered."""
    stored = services.rollouts.decision_record(decision_id)
    again = services.rollouts.replay(decision_id)
    return answer(
        ReplayResult(
            id=stored.id,
            stored_verdict=stored.verdict,
            verdict=again.decision.verdict,
            reasons=again.decision.reasons,
            is_same=again.is_same,
        )
    )


@router.get("/history")
def list_history(services: Services, _: Reader) -> Response:
    """Return every change that was applied to any rollout, newest first."""
    return answer(services.rollouts.history())
