"""Rollouts in every state, as the service shows them, with numbers that could be real."""

from llm_canary.decision.compare import Comparison
from llm_canary.decision.gates import GateResult, GateStatus
from llm_canary.decision.plan import MetricKind
from llm_canary.metrics.builtin import BUILT_IN
from llm_canary.rollout.views import DecisionView, RolloutView, StageView
from llm_canary.routing.table import Variant

NOW_S = 1_790_000_000.0
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


def stages(current=None, *, left=0):
    """The plan `standard`; the first `left` stages are done."""
    names = ["initial", "expanded", "broad", "full", "standby"]
    shares = [0.05, 0.25, 0.50, 0.99, 0.99]
    result = []
    for index, (name, share) in enumerate(zip(names, shares, strict=True)):
        status = "done" if index < left else "current" if name == current else "ahead"
        entered = NOW_S - (left - index) * 26 * HOUR_S - 6.2 * HOUR_S
        is_measured = index < 3
        result.append(
            StageView(
                name=name,
                share=share,
                status=status,
                min_s=DAY_S if is_measured else 0.0,
                max_s=3 * DAY_S if is_measured else 0.0,
                for_s=2 * DAY_S if name == "standby" else 0.0,
                started_s=entered if status != "ahead" else None,
                ended_s=entered + 26 * HOUR_S if status == "done" else None,
                is_measured=is_measured,
            )
        )
    return tuple(result)


def comparison(name="error_rate", kind="guardrail", **changes):
    facts = {
        "n_control": 38_220,
        "n_canary": 12_801,
        "units_control": 12_410,
        "units_canary": 4_120,
        "effective_units": 3_480.0,
        "control": 0.0042,
        "canary": 0.0047,
        "difference": 0.0005,
        "low": -0.0021,
        "high": 0.0037,
        "margin": 0.01,
        "is_rough": False,
    }
    spec = BUILT_IN[name]
    units = {
        "unit": spec.unit,
        "scored_unit": spec.scored_unit,
        "larger_is_better": spec.larger_is_better,
    }
    return Comparison(metric=name, kind=MetricKind(kind), **(units | facts | changes))


def gate(compared, status, reason="", **changes):
    return GateResult(
        metric=compared.metric,
        kind=compared.kind,
        status=GateStatus(status),
        comparison=compared,
        reason=f"{compared.metric}: {reason}",
        **changes,
    )


def standard_gates():
    """Every status that a gate can have while a stage runs."""
    return (
        gate(comparison(), "pass", "shown not worse", shown="always-valid"),
        gate(
            comparison(
                "latency_p95",
                control=930.0,
                canary=968.0,
                difference=0.009,
                low=-0.004,
                high=0.027,
                margin=0.021,
                threshold=1023.0,
            ),
            "inconclusive",
        ),
        gate(
            comparison(
                "invalid_output",
                n_control=0,
                n_canary=0,
                control=None,
                canary=None,
                difference=None,
                low=None,
                high=None,
                margin=None,
                is_rough=True,
            ),
            "not_applicable",
            "no request asked for it",
        ),
        gate(
            comparison(
                "thumbs_up_rate",
                "goal",
                n_control=1_140,
                n_canary=388,
                control=0.812,
                canary=0.806,
                difference=0.006,
                low=-0.071,
                high=0.088,
                margin=0.10,
            ),
            "inconclusive",
        ),
        gate(
            comparison(
                "cost_per_request",
                "goal",
                control=420_000.0,
                canary=361_000.0,
                difference=-59_000.0,
                low=-74_000.0,
                high=-43_000.0,
                margin=84_000.0,
            ),
            "pass",
            shown="look 1",
        ),
    )


def rollout(name="support-v13", **changes):
    facts = {
        "id": f"id-of-{name}",
        "name": name,
        "route": "support-bot",
        "plan": "standard",
        "state": "running",
        "control": Variant(
            "openai", "gpt-5-mini", prompt="support/v12", params={"temperature": 0.2}
        ),
        "canary": Variant(
            "openai", "gpt-5-mini", prompt="support/v13", params={"temperature": 0.2}
        ),
        "stages": stages("expanded", left=1),
        "stage": "expanded",
        "share": 0.25,
        "started_s": NOW_S - 32.2 * HOUR_S,
        "stage_started_s": NOW_S - 6.2 * HOUR_S,
        "units": (12_410, 4_120),
        "responses": (38_220, 12_801),
        "min_units": 200,
        "gates": standard_gates(),
        "decision": DecisionView(
            id="019a3f6b2c1d7e8fa0b1c2d3e4f50617",
            stage="expanded",
            verdict="wait",
            at_s=NOW_S - 95,
            reasons=(
                "latency_p95: not proven yet: difference +0.9 pp of responses above 1023 ms",
                "thumbs_up_rate: 96 of at least 200 effective canary units",
                "stage 'expanded' lasts at least 1 d",
            ),
        ),
    }
    facts |= changes
    facts["comparisons"] = tuple(each.comparison for each in facts["gates"])
    return RolloutView(**facts)


def every_state():
    """One rollout in each state that a page can show."""
    held = rollout(
        "search-rerank",
        route="search-answers",
        state="held",
        canary=Variant(
            "local",
            "qwen3-30b-a3b",
            prompt="search/v4",
            params={"temperature": 0.0, "max_tokens": 400},
        ),
        control=Variant("openai", "gpt-5-mini", prompt="search/v4"),
        stages=stages("initial"),
        stage="initial",
        share=0.05,
        started_s=NOW_S - 6.2 * HOUR_S,
        units=(2_904, 41),
        responses=(5_101, 66),
        hold_by="robot",
        hold_reason="the canary got 41 users where 153 were expected (split broken, E = 2,310)",
        gates=(
            gate(
                comparison(
                    control=0.0039,
                    canary=0.0152,
                    difference=0.0113,
                    low=-0.004,
                    high=None,
                    margin=0.015,
                    n_control=5_101,
                    n_canary=66,
                    is_rough=True,
                ),
                "inconclusive",
            ),
            gate(
                comparison(
                    "latency_p95",
                    control=1210.0,
                    canary=811.0,
                    difference=-0.031,
                    low=-0.09,
                    high=0.011,
                    margin=0.021,
                    n_control=5_101,
                    n_canary=66,
                    threshold=1331.0,
                    is_rough=True,
                ),
                "inconclusive",
            ),
        ),
        decision=DecisionView(
            id="019a3f6b2c1d7e8fa0b1c2d3e4f50a11",
            stage="initial",
            verdict="hold",
            at_s=NOW_S - 2.4 * HOUR_S,
            reasons=(
                "sample ratio: 41 of 2,945 users on the canary, 5 % expected (E = 2,310 >= 1,000)",
            ),
        ),
    )
    standby = rollout(
        "triage-small",
        route="ticket-triage",
        state="standby",
        stages=stages("standby", left=4),
        stage="standby",
        share=0.99,
        stage_started_s=NOW_S - 6.2 * HOUR_S,
        started_s=NOW_S - 110 * HOUR_S,
        gates=tuple(each for each in standard_gates() if each.status == "pass"),
        decision=DecisionView(
            id="019a3f6b2c1d7e8fa0b1c2d3e4f50b22",
            stage="initial",
            verdict="promote",
            at_s=NOW_S - 6.2 * HOUR_S,
            reasons=("every gate of stage broad is passed", "share 50 % for 26 h of at least 24 h"),
        ),
    )
    rolled_back = rollout(
        "support-json",
        state="rolled_back",
        canary=Variant("local", "smollm2-135m-instruct", prompt="support/v12"),
        stages=stages("initial"),
        stage="initial",
        share=0.0,
        stage_started_s=NOW_S - 27 * HOUR_S,
        started_s=NOW_S - 27 * HOUR_S,
        ended_s=NOW_S - 26.7 * HOUR_S,
        units=(902, 38),
        responses=(902, 41),
        gates=(
            gate(
                comparison(
                    "invalid_output",
                    control=0.0,
                    canary=1.0,
                    n_control=902,
                    n_canary=41,
                    difference=1.0,
                    low=0.52,
                    high=None,
                    margin=0.03,
                    is_rough=True,
                ),
                "fail",
            ),
            gate(
                comparison(
                    control=0.001,
                    canary=0.0,
                    n_control=902,
                    n_canary=41,
                    difference=-0.001,
                    low=-0.02,
                    high=0.021,
                    is_rough=True,
                ),
                "inconclusive",
            ),
        ),
        decision=DecisionView(
            id="019a3f6b2c1d7e8fa0b1c2d3e4f50c33",
            stage="initial",
            verdict="rollback",
            at_s=NOW_S - 26.7 * HOUR_S,
            reasons=("global_harm: invalid_output is worse; control 0.00 %, canary 100.0 %",),
        ),
    )
    finished = rollout(
        "support-v12",
        state="finished",
        stages=stages(left=5),
        stage="standby",
        share=1.0,
        started_s=NOW_S - 20 * DAY_S,
        ended_s=NOW_S - 13 * DAY_S,
        stage_started_s=None,
        decision=DecisionView(
            id="019a3f6b2c1d7e8fa0b1c2d3e4f50d44",
            stage="initial",
            verdict="promote",
            at_s=NOW_S - 15 * DAY_S,
            reasons=("every gate of stage broad is passed",),
        ),
    )
    draft = rollout(
        "summaries-v2",
        route="summaries",
        state="draft",
        stages=stages(),
        stage=None,
        share=0.0,
        started_s=None,
        stage_started_s=None,
        units=(0, 0),
        responses=(0, 0),
        gates=(),
        decision=None,
    )
    return (rollout(), held, standby, rolled_back, finished, draft)
