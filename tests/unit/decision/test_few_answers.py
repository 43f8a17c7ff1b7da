"""What only some people say decides from thirty answers on, not from the floor of all responses."""

from __future__ import annotations

import pytest

from llm_canary.decision.engine import decide
from llm_canary.decision.gates import MIN_ANSWERS, GateStatus
from llm_canary.decision.plan import MetricKind
from tests.support.evidence import gate, gather, plan, respond


def judged(answers, *, min_units=200, silent=2_000):
    """The thumbs gate after so many canary answers, nine times as many control ones."""
    of = plan(gate("thumbs_up_rate", MetricKind.GOAL, 0.45), min_units=min_units)
    responses = [
        (f"{arm}-{number}", arm == "canary", respond(rated=number % 10 != 0))
        for arm, n in (("canary", answers), ("control", 9 * answers))
        for number in range(n)
    ]
    responses += [(f"silent-{k}", k % 10 == 0, respond()) for k in range(silent)]
    (found,) = decide(of, gather(of, responses)).gates
    return found


def test_a_gate_of_people_passes_with_few_answers_but_not_with_fewer():
    enough, few = judged(60), judged(20)

    assert enough.status is GateStatus.PASS
    assert few.status is GateStatus.INCONCLUSIVE
    assert f"of at least {MIN_ANSWERS} effective canary units" in few.lacks
    assert few.lacks in few.reason


@pytest.mark.parametrize("min_units", [10, 15])
def test_a_plan_may_ask_for_fewer(min_units):
    assert judged(20, min_units=min_units).status is GateStatus.PASS
