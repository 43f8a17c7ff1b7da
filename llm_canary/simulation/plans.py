"""The plans that a rehearsal can take: the built-in one, or a rollout's of a configuration file."""

from __future__ import annotations

from pathlib import Path

from llm_canary.config.load import load
from llm_canary.config.plans import STANDARD, Outcomes, drafts, to_plan
from llm_canary.decision.plan import Plan
from llm_canary.documents.problems import Problems
from llm_canary.errors import NotFound


def standard_plan() -> Plan:
    """Return the built-in plan as a file without plans has it."""
    problems = Problems("the built-in plan")
    draft = drafts({}, (), problems)[STANDARD]
    return to_plan(draft, problems, outcomes=Outcomes({}, {}))


def plan_of(path: Path, *, rollout: str | None, plan: str) -> Plan:
    """Return the plan of a rollout, or the plan with that name, of the file."""
    config = load(path)
    if rollout is not None:
        spec = config.rollouts.get(rollout)
        if spec is None:
            known = ", ".join(sorted(config.rollouts)) or "none"
            raise NotFound(f"{path} has no rollout {rollout!r}; it has {known}")
        return spec.plan
    found = config.plans.get(plan)
    if found is None:
        known = ", ".join(sorted(config.plans))
        raise NotFound(f"{path} has no plan {plan!r}; it has {known}")
    return found
