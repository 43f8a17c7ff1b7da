"""Reaches a stored decision again from its stored evidence, bit for bit."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from llm_canary.decision import evidence as evidence_form
from llm_canary.decision.engine import Decision, decide
from llm_canary.decision.plan import Plan
from llm_canary.errors import DataError
from llm_canary.ids import uuid7
from llm_canary.storage.repositories.rollouts import DecisionRecord


class Replay(NamedTuple):
    """The decision as it comes out now, and whether that is what was stored."""

    decision: Decision
    is_same: bool


def record_of(
    plan: Plan, evidence: evidence_form.Evidence, decision: Decision, *, applied: bool
) -> DecisionRecord:
    """Return the decision in its stored form."""
    plan_bytes, evidence_bytes = evidence_form.encode_plan(plan), evidence_form.encode(evidence)
    return DecisionRecord(
        id=uuid7(),
        rollout_id=evidence.rollout_id,
        at_s=evidence.now_s,
        stage=evidence.stage,
        verdict=decision.verdict,
        reasons=decision.reasons,
        plan=plan_bytes,
        evidence=evidence_bytes,
        evidence_hash=evidence_form.digest(plan_bytes, evidence_bytes),
        result=encode(decision),
        applied=applied,
    )


def replay(record: DecisionRecord) -> Replay:
    """Decide again; raise DataError when plan or evidence are not those of the decision."""
    found = evidence_form.digest(record.plan, record.evidence)
    if found != record.evidence_hash:
        raise DataError(
            f"decision {record.id}: the evidence has hash {found[:12]}, the decision was made from "
            f"{record.evidence_hash[:12]}; it has been altered and is not replayed"
        )
    plan = msgspec.json.decode(record.plan, type=Plan)
    decision = decide(plan, evidence_form.decode(record.evidence))
    return Replay(decision, is_same=encode(decision) == record.result)


def encode(decision: Decision) -> bytes:
    """Return the canonical JSON of the decision."""
    return msgspec.json.encode(decision, order="sorted")


def decode(data: bytes) -> Decision:
    """Return the decision of `data`."""
    return msgspec.json.decode(data, type=Decision)
