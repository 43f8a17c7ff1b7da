"""Evidence made from simulated responses, without a database."""

from __future__ import annotations

from llm_canary.config.rollout_spec import RolloutSpec
from llm_canary.decision.evidence import Evidence, Progress
from llm_canary.decision.plan import Gate, Margin, MarginUnit, MetricKind, Plan, Stage
from llm_canary.decision.rules import rules_of, specs_of
from llm_canary.metrics.accumulate import Response, Settings, enter, look, mature
from llm_canary.metrics.spec import ResponseFacts
from llm_canary.metrics.state import Rollup, UnitState
from llm_canary.rollout.analysis import evidence_of
from llm_canary.routing.table import Variant
from llm_canary.storage.repositories.rollouts import RolloutRecord, State

START_S = 1_800_000_000.0


def gate(metric="error_rate", kind=MetricKind.GUARDRAIL, margin=0.05, *, relative=False, **more):
    unit = MarginUnit.RELATIVE if relative else MarginUnit.ABSOLUTE
    return Gate(metric=metric, kind=kind, margin=Margin(margin, unit), **more)


def plan(*gates, min_s=60.0, max_s=180.0, min_units=20, last=("broad", 0.5), **more):
    own = gates or (gate(),)
    stages = (
        Stage(name="initial", share=0.1, min_s=min_s, max_s=max_s, min_units=min_units, gates=own),
        Stage(
            name=last[0], share=last[1], min_s=min_s, max_s=max_s, min_units=min_units, gates=own
        ),
        Stage(name="full", share=0.99, is_measured=False),
        Stage(name="standby", share=0.99, for_s=3_600.0, is_measured=False),
    )
    options = {"full_cycle_s": 0.0, "warmup_s": 0.0} | more
    return Plan(name="test", stages=stages, **options)


def respond(*, bad=False, rated=None, **known):
    """The facts of one response; `rated` is a thumb."""
    values = {"terminal": "upstream_error" if bad else "completed", "latency_ms": 500.0}
    outcomes = {} if rated is None else {"thumbs": float(rated)}
    return ResponseFacts(**(values | {"outcomes": outcomes} | known))


def gather(
    of: Plan,
    responses,
    *,
    stage="initial",
    age_s=100.0,
    progress=None,
    segments=(),
    last_age_s=1.0,
    attempt=1,
    mature_outcomes=True,
    max_per_unit_day=10_000,
) -> Evidence:
    """Return the evidence of (unit, canary, facts[, segments]) tuples at the stage's share."""
    share = next(each.share for each in of.stages if each.name == stage)
    now_s = START_S + age_s
    how = Settings(rules=rules_of(of), started_at_s=START_S, max_per_unit_day=max_per_unit_day)
    specs, rollup, units = specs_of(of), Rollup(), {}
    for unit, canary, facts, *values in responses:
        response = Response(
            at_s=now_s - last_age_s,
            canary=canary,
            share=share,
            stage=stage,
            facts=facts,
            segments=values[0] if values else {},
        )
        state = units.setdefault(unit, UnitState())
        enter(rollup, state, response, specs, how)
        if mature_outcomes:
            for spec in specs.values():
                if spec.outcome is not None:
                    mature(rollup, state, response, spec, how)
    look(rollup, specs, START_S)
    look(rollup, specs, now_s)
    record = RolloutRecord(
        id="r1",
        name="next",
        attempt=attempt,
        build_attempt=attempt,
        route="bot",
        state=State.RUNNING,
        salt="salt",
        spec=RolloutSpec(name="next", route="bot", canary=Variant("sim", "new"), plan=of),
        created_at_s=START_S,
        stage=stage,
        share=share,
        segments=tuple(segments),
        progress=progress or Progress(),
        started_at_s=START_S,
        stage_started_at_s=START_S,
    )
    return evidence_of(record, rollup, now_s)


def arms(control, canary, *, bad=(0, 0), **known):
    """`control` and `canary` units with one response each, the first `bad` of each arm failed."""
    rows = []
    for arm, (n, failed) in enumerate(((control, bad[0]), (canary, bad[1]))):
        rows += [(f"{arm}-{k}", bool(arm), respond(bad=k < failed, **known)) for k in range(n)]
    # Interleaved, as they would come.
    return sorted(rows, key=lambda row: (hash_of(row[0]), row[0]))


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[::-1], "big") * 2_654_435_761 % 2**32
