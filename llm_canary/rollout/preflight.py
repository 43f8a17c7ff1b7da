"""Checks that must be green before a rollout starts."""

from __future__ import annotations

import hashlib

import msgspec
from sqlmodel import Session

from llm_canary.config.rollout_spec import RolloutSpec
from llm_canary.errors import Conflict
from llm_canary.routing.table import Variant
from llm_canary.storage.repositories.grading import latest_check

GREEN = "pass"


def variant_identity(variant: Variant) -> str:
    """Return what tells the answers of two variants apart: upstream, model, prompt, parameters."""
    facts = [variant.upstream, variant.model, variant.prompt_hash, variant.params]
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()


def refuse_unchecked(session: Session, spec: RolloutSpec) -> None:
    """Raise Conflict unless each preflight check has passed this very canary."""
    identity = variant_identity(spec.canary)
    for name in spec.preflight:
        found = latest_check(session, name, identity)
        way_out = f"`llm-canary check {name} --candidate {spec.name} --record`"
        if found is None:
            raise Conflict(
                f"rollout {spec.name!r} needs the check {name!r} of this canary: run {way_out}"
            )
        if found.verdict != GREEN:
            raise Conflict(
                f"the check {name!r} of this canary ended with {found.verdict!r} at "
                f"{found.at:%Y-%m-%d %H:%M} UTC; it has to pass: run {way_out}"
            )
