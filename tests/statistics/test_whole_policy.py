"""The shipped plan from its start to its end: 50,000 requests a day, six gates, hourly looks.

Traffic is drawn, everything else is the product: sums, evidence, verdicts, transitions. The bars
were set by Brownian paths of independent metrics with another alpha; where the shipped plan does
not reach one, the test says what it reaches and why.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import msgspec
import numpy as np
import pytest
from canary_sim import allowed, required

from llm_canary.decision.plan import Gate, Margin, MarginUnit, MetricKind, Plan
from llm_canary.rollout import replay
from llm_canary.simulation.laws import USUAL, World, changed, usual
from llm_canary.simulation.plans import standard_plan
from llm_canary.simulation.rehearsal import End, Rehearsal

HOUR_S = 3_600.0
# metric -> its margin in the shipped plan; task completion is added to it.
MARGINS = {
    "error_rate": (0.005, False),
    "latency_p95": (0.10, True),
    "cost_per_request": (0.10, True),
    "invalid_output": (0.01, False),
    "thumbs_up_rate": (0.05, False),
    "task_completion": (0.05, False),
}
# Each gate errs in up to 5 % at its exact margin. In metrics that every response shows the alarm
# rings first; of thumbs, which 3 % give, there are too few for it.
PROMOTED_AT_MARGIN = dict.fromkeys(MARGINS, 0.02) | {"thumbs_up_rate": 0.05}


@cache
def plan() -> Plan:
    shipped = standard_plan()
    gate = Gate(
        metric="task_completion",
        kind=MetricKind.GOAL,
        margin=Margin(MARGINS["task_completion"][0], MarginUnit.ABSOLUTE),
    )
    stages = [
        msgspec.structs.replace(each, gates=(*each.gates, gate)) if each.is_measured else each
        for each in shipped.stages
    ]
    return msgspec.structs.replace(shipped, stages=tuple(stages))


def world(margins: float, *metrics: str) -> World:
    """A canary that is worse by so many of the plan's margins in the metrics."""
    canary = dict(USUAL)
    for name in metrics:
        margin, relative = MARGINS[name]
        canary = changed(canary, name, margins * margin, relative=relative)
    return World(canary=canary)


def rehearse(runs, seed, of, *, to_full=True):
    rehearsal = Rehearsal(plan(), of, to_full=to_full)
    return [rehearsal.run([*seed, number]) for number in range(runs)]


def figures(found):
    """Shares of runs by end, times and exposures."""
    ends, runs = Counter(run.end for run in found), len(found)
    promoted = [run.promoted_s / HOUR_S for run in found if run.promoted_s is not None]
    back = [run for run in found if run.end is End.ROLLED_BACK]
    hours = [run.ended_s / HOUR_S for run in back]
    requests = [run.canary_requests for run in back]
    return {
        "runs": runs,
        **{end.value: ends[end] / runs for end in End},
        "promoted_hours": quantiles(promoted),
        "rollback_hours": quantiles(hours),
        "rollback_requests": quantiles(requests),
        "held_for": dict(
            Counter(code for run in found for code in run.codes if run.end is End.HELD)
        ),
    }


def quantiles(values):
    return [float(np.quantile(values, q)) for q in (0.5, 0.9)] if values else None


def reached(found, hours):
    """How many were promoted within `hours`."""
    return sum(run.promoted_s is not None and run.promoted_s <= hours * HOUR_S for run in found)


def test_an_equal_canary_is_promoted_in_five_days(length, seed, record):
    runs = length(60)
    found = rehearse(runs, (seed, 60), world(0.0), to_full=False)
    ends = Counter(run.end for run in found)
    full = sum(run.promoted_s is not None for run in found)
    record(**figures(found), reached_full=full / runs)

    assert full >= required(0.93, runs)
    assert ends[End.ROLLED_BACK] <= allowed(0.01, runs)
    assert reached(found, 120) >= required(0.5 * 0.93, runs)
    assert reached(found, 144) >= required(0.9 * 0.93, runs)


def test_a_canary_better_by_half_a_margin_is_promoted_sooner(length, seed, record):
    runs = length(60)
    found = rehearse(runs, (seed, 61), world(-0.5, *MARGINS))
    ends = Counter(run.end for run in found)
    record(**figures(found))

    assert ends[End.PROMOTED] >= required(0.98, runs)
    assert ends[End.ROLLED_BACK] <= allowed(0.001, runs)
    assert reached(found, 108) >= required(0.9 * 0.98, runs)


def test_users_who_come_back_raise_no_more_false_alarms(length, seed, record):
    """6,250 users, four requests a day each, alike (correlation .2); three in ten give a thumb.

    The guarantee with returning users is one of each metric; together they are simulated.
    """
    runs = length(6, 1_000)
    control = usual(observed=[("thumbs_up_rate", 0.3)])
    of = World(control=control, canary=control, daily=25_000.0, requests_per_user=4.0, icc=0.2)
    found = rehearse(runs, (seed, 65), of, to_full=False)
    record(**figures(found))

    assert Counter(run.end for run in found)[End.ROLLED_BACK] <= allowed(0.01, runs)


@pytest.mark.parametrize("margins", [1, 2, 4])
@pytest.mark.parametrize("metric", MARGINS)
def test_a_canary_worse_in_one_metric_is_rarely_promoted(metric, margins, length, seed, record):
    if margins == 4 and metric == "thumbs_up_rate":
        margins = 3.9  # four margins and the usual rate still leave a rate
    runs = length(40 if margins == 1 else 25, 2_000 if margins > 2 else 10_000)
    index = list(MARGINS).index(metric)
    found = rehearse(runs, (seed, 62, index, int(margins * 10)), world(margins, metric))
    ends = Counter(run.end for run in found)
    accused = sum(run.accused[:1] == (metric,) for run in found if run.end is End.ROLLED_BACK)
    record(**figures(found), metric=metric, margins=margins)

    assert ends[End.PROMOTED] <= allowed(
        PROMOTED_AT_MARGIN[metric] if margins == 1 else 0.002, runs
    )
    assert accused >= required(0.97, ends[End.ROLLED_BACK])
    if metric != "thumbs_up_rate":
        assert ends[End.ROLLED_BACK] >= required(0.85 if margins == 1 else 0.999, runs)


@pytest.mark.parametrize("margins", [0.0, 2.0])
def test_every_decision_of_a_rollout_comes_out_again_bit_for_bit(margins, seed):
    of, looks = plan(), []

    def watch(evidence, decision):
        looks.append(replay.record_of(of, evidence, decision, applied=False))

    end = Rehearsal(of, world(margins, "cost_per_request"), watch=watch).run((seed, 63))

    assert len(looks) == end.ended_s / HOUR_S
    assert all(replay.replay(stored).is_same for stored in looks)


@pytest.mark.parametrize("margins", [0.0, 1.0])
def test_leaving_out_what_is_only_shown_changes_no_rollout(margins, seed):
    of = world(margins, "error_rate")
    quick = Rehearsal(plan(), of)
    full = Rehearsal(plan(), of, watch=lambda _evidence, _decision: None)

    for number in range(3):
        assert quick.run((seed, 64, number)) == full.run((seed, 64, number))
