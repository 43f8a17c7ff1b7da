"""From evidence to verdict, in the order of harm."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_canary.decision import evidence as form
from llm_canary.decision.compare import harm_log_e
from llm_canary.decision.engine import Verdict, decide
from llm_canary.decision.evidence import Progress
from llm_canary.decision.gates import GateStatus
from llm_canary.decision.plan import MetricKind, Plan, Stage
from llm_canary.errors import DataError
from llm_canary.stats.exact import log_e_ratio
from tests.support.evidence import arms, gate, gather, plan, respond

THUMBS = gate("thumbs_up_rate", MetricKind.GOAL, 0.1)
COST = gate("cost_per_request", MetricKind.GOAL, 0.1, relative=True)


def statuses(decision):
    return {each.metric: each.status for each in decision.gates}


def test_equal_arms_are_promoted_at_a_look():
    decision = decide(plan(), gather(plan(), arms(2_000, 240)))

    assert decision.verdict is Verdict.PROMOTE
    assert decision.reasons[0].startswith("error_rate: not worse")


def test_a_failing_canary_is_rolled_back_and_the_culprit_is_named():
    decision = decide(plan(), gather(plan(), arms(900, 100, bad=(0, 30))))

    assert decision.verdict is Verdict.ROLLBACK
    assert decision.culprits[0].metric == "error_rate"
    assert "30 of 30 units with a failure are in the canary, expected 3.0" in decision.reasons[0]


def test_harm_is_seen_before_the_stage_is_old_enough_to_promote():
    decision = decide(plan(), gather(plan(), arms(900, 100, bad=(0, 30)), age_s=3.0, last_age_s=0))

    assert decision.verdict is Verdict.ROLLBACK


def test_a_young_stage_waits_although_every_gate_is_proven():
    decision = decide(plan(), gather(plan(), arms(9_000, 1_000), age_s=59.0))

    assert decision.verdict is Verdict.WAIT
    assert statuses(decision) == {"error_rate": GateStatus.PASS}


def test_a_stage_is_never_shorter_than_a_full_cycle():
    long = plan(full_cycle_s=86_400.0)

    assert decide(long, gather(long, arms(9_000, 1_000))).verdict is Verdict.WAIT


def test_an_unproven_stage_waits_and_at_its_maximum_holds():
    few = arms(90, 25)

    assert decide(plan(), gather(plan(), few, age_s=100.0)).verdict is Verdict.WAIT
    overdue = decide(plan(), gather(plan(), few, age_s=181.0))
    assert overdue.verdict is Verdict.HOLD
    assert overdue.codes == ("overdue",)


def test_an_extended_stage_waits_again():
    progress = Progress(extended_until_s=500.0)
    evidence = gather(plan(), arms(90, 25), age_s=181.0, progress=progress)

    assert decide(plan(), evidence).verdict is Verdict.WAIT


def test_a_look_is_taken_once():
    taken = gather(plan(min_units=1), arms(1_000, 120), progress=Progress(looks_done=1))
    fresh = gather(plan(min_units=1), arms(1_000, 120))

    assert decide(plan(min_units=1), fresh).look == 1
    assert decide(plan(min_units=1), taken).look == 0


def test_a_look_is_not_spent_on_a_stale_comparison():
    evidence = gather(plan(), arms(1_000, 120), age_s=100.0, last_age_s=40.0)

    decision = decide(plan(), evidence)

    assert (decision.verdict, decision.look) == (Verdict.WAIT, 0)


def test_what_was_shown_at_a_look_stays_shown_while_the_estimate_is_within_the_margin():
    few = arms(600, 80)
    lost = gather(plan(), few, progress=Progress(looks_done=1))
    kept = gather(plan(), few, progress=Progress(looks_done=1, shown={"error_rate": "look 1"}))

    assert decide(plan(), lost).verdict is Verdict.WAIT
    assert decide(plan(), kept).verdict is Verdict.PROMOTE


def test_what_was_shown_does_not_count_once_the_estimate_leaves_the_margin():
    kept = Progress(looks_done=1, shown={"error_rate": "look 1"})
    evidence = gather(plan(), arms(300, 60, bad=(15, 8)), progress=kept)

    assert decide(plan(), evidence).verdict is not Verdict.PROMOTE


def test_proof_from_fewer_effective_units_than_the_floor_waits():
    floor = plan(min_units=5_000)

    decision = decide(floor, gather(floor, arms(9_000, 1_000)))

    assert decision.verdict is Verdict.WAIT
    assert "of at least 5000 effective canary units" in decision.reasons[0]


def test_a_dear_answer_not_seen_yet_is_reckoned_with():
    few = plan(COST, min_units=1)
    costs = [respond(uncached_cost_nanousd=100 + k % 7) for k in range(400)]
    rows = [(f"{k}", k % 10 == 0, facts) for k, facts in enumerate(costs)]

    decision = decide(few, gather(few, rows))

    assert decision.verdict is Verdict.WAIT
    assert "canary units for this margin" in decision.reasons[0]


def test_a_stale_comparison_waits_although_everything_is_proven():
    evidence = gather(plan(), arms(9_000, 1_000), last_age_s=40.0)

    decision = decide(plan(), evidence)

    assert statuses(decision) == {"error_rate": GateStatus.PASS}
    assert decision.verdict is Verdict.WAIT


def test_first_failures_speak_beside_the_score():
    found = gather(plan(), arms(900, 100, bad=(0, 6))).metrics[0]
    without = form.msgspec.structs.replace(found, first=())

    score, both = harm_log_e(without, found.frozen), harm_log_e(found, found.frozen)

    exact = log_e_ratio([6], [6], [0.1], 1.0, side="up")
    assert math.exp(both) == pytest.approx((math.exp(score) + math.exp(exact)) / 2)


def test_a_metric_without_data_never_promotes():
    both = plan(gate(), THUMBS)

    decision = decide(both, gather(both, arms(9_000, 1_000), age_s=170.0))

    assert decision.verdict is Verdict.WAIT
    assert statuses(decision)["thumbs_up_rate"] is GateStatus.NO_DATA


def test_a_metric_that_nothing_measures_never_promotes():
    both = plan(gate(), gate("rubric:support_answer", MetricKind.GOAL, 0.03))

    decision = decide(both, gather(both, arms(9_000, 1_000), age_s=181.0))

    assert decision.verdict is Verdict.HOLD


def test_an_unknown_price_never_promotes():
    both = plan(gate(), COST)

    decision = decide(both, gather(both, arms(9_000, 1_000), age_s=181.0))

    assert decision.verdict is Verdict.HOLD
    assert any("give the upstream a price" in reason for reason in decision.reasons)


def test_a_secondary_metric_without_data_does_not_stand_in_the_way():
    both = plan(gate(), gate("thumbs_up_rate", MetricKind.SECONDARY))

    assert decide(both, gather(both, arms(2_000, 240))).verdict is Verdict.PROMOTE


def test_invalid_output_does_not_apply_where_no_json_is_asked_for():
    both = plan(gate(), gate("invalid_output"))

    decision = decide(both, gather(both, arms(2_000, 240)))

    assert statuses(decision)["invalid_output"] is GateStatus.NOT_APPLICABLE
    assert decision.verdict is Verdict.PROMOTE


def test_gates_none_of_which_applies_show_nothing():
    only = plan(gate("invalid_output"))

    assert decide(only, gather(only, arms(2_000, 240))).verdict is Verdict.WAIT


def test_a_stage_without_gates_holds():
    bare = Plan(
        name="bare",
        stages=(
            Stage(name="initial", share=0.1),
            Stage(name="full", share=0.99, is_measured=False),
        ),
        full_cycle_s=0.0,
    )

    decision = decide(bare, gather(bare, arms(2_000, 240)))

    assert (decision.verdict, decision.codes) == (Verdict.HOLD, ("no_gates",))


def test_a_broken_split_holds():
    decision = decide(plan(), gather(plan(), arms(9_000, 500)))

    assert (decision.verdict, decision.codes) == (Verdict.HOLD, ("srm",))


def test_a_broken_split_cannot_be_accepted():
    evidence = gather(plan(), arms(9_000, 500), progress=Progress(accepted=("srm",)))

    assert decide(plan(), evidence).verdict is Verdict.HOLD


def test_a_broken_split_holds_although_a_goal_looks_harmed():
    goals = plan(gate(), gate("refusal_rate", MetricKind.GOAL, 0.05))
    rows = arms(9_000, 300, refusal=False) + [
        (f"x{k}", True, respond(refusal=True)) for k in range(200)
    ]

    decision = decide(goals, gather(goals, rows))

    assert decision.verdict is Verdict.HOLD


def test_hard_failures_roll_back_although_the_split_is_broken():
    decision = decide(plan(), gather(plan(), arms(9_000, 500, bad=(0, 100))))

    assert decision.verdict is Verdict.ROLLBACK


def test_an_idle_canary_holds():
    decision = decide(plan(), gather(plan(), arms(400, 0)))

    assert decision.verdict is Verdict.HOLD
    assert "idle_canary" in decision.codes


@pytest.mark.parametrize(("units", "is_idle"), [(2, False), (4, False), (5, True)])
def test_a_control_without_users_is_idle_once_chance_is_no_explanation(units, is_idle):
    """At 10 % the first two users are the canary's in one rollout of a hundred, five in one of 100,000."""
    decision = decide(plan(), gather(plan(), arms(0, units)))

    assert ("idle_control" in decision.codes) == is_idle


def test_no_traffic_at_all_waits_and_then_holds():
    assert decide(plan(), gather(plan(), [])).verdict is Verdict.WAIT
    assert decide(plan(), gather(plan(), [], age_s=200.0)).verdict is Verdict.HOLD


def test_a_clock_that_goes_backwards_never_promotes():
    assert decide(plan(), gather(plan(), arms(9_000, 1_000), age_s=-5.0)).verdict is Verdict.WAIT


def rated(control, canary):
    """(units, rated, thumbs up) of each arm, interleaved."""
    rows = []
    for arm, (n, answered, up) in enumerate((control, canary)):
        for k in range(n):
            thumb = None if k >= answered else k < up
            rows.append((f"{arm}-{k}", bool(arm), respond(rated=thumb)))
    return sorted(rows, key=lambda row: (row[0][::-1], row[0]))


def test_arms_that_are_rated_unequally_often_hold_with_the_reason():
    goals = plan(gate(), THUMBS)
    rows = rated((5_000, 2_500, 2_000), (556, 160, 128))

    decision = decide(goals, gather(goals, rows))

    assert (decision.verdict, decision.codes) == (Verdict.HOLD, ("selection:thumbs_up_rate",))


def test_arms_that_are_rated_alike_do_not_hold():
    goals = plan(gate(), THUMBS)
    rows = rated((5_000, 2_500, 2_000), (556, 278, 222))

    assert decide(goals, gather(goals, rows)).verdict is Verdict.PROMOTE


def test_harm_once_proven_rolls_back_even_when_it_fades():
    evidence = gather(plan(), arms(2_000, 240), progress=Progress(harm=("it was worse",)))

    assert decide(plan(), evidence).verdict is Verdict.ROLLBACK


def test_small_real_harm_within_margin_is_for_a_person_and_not_rolled_back():
    wide = plan(gate("refusal_rate", MetricKind.GOAL, 0.2, tolerance=0.01))
    rows = [
        (f"{arm}-{k}", bool(arm), respond(refusal=k % 100 < percent))
        for arm, n, percent in ((0, 18_000, 10), (1, 2_000, 18))
        for k in range(n)
    ]

    decision = decide(wide, gather(wide, sorted(rows, key=lambda row: row[0][::-1])))

    assert (decision.verdict, decision.codes) == (Verdict.HOLD, ("small_harm:refusal_rate",))


def test_small_harm_that_a_person_accepted_is_promoted():
    wide = plan(gate("refusal_rate", MetricKind.GOAL, 0.2, tolerance=0.01))
    rows = [
        (f"{arm}-{k}", bool(arm), respond(refusal=k % 100 < percent))
        for arm, n, percent in ((0, 18_000, 10), (1, 2_000, 18))
        for k in range(n)
    ]
    accepted = Progress(accepted=("small_harm:refusal_rate",))

    decision = decide(
        wide, gather(wide, sorted(rows, key=lambda row: row[0][::-1]), progress=accepted)
    )

    assert decision.verdict is Verdict.PROMOTE


def test_the_last_gate_also_asks_the_stage_itself():
    evidence = gather(plan(), arms(2_000, 2_000), stage="broad")
    found = evidence.metrics[0]
    worse = form.msgspec.structs.replace(found, stage_s=0.06 * found.stage_i)
    asked = form.msgspec.structs.replace(evidence, metrics=(worse,))

    assert decide(plan(), evidence).verdict is Verdict.PROMOTE
    decision = decide(plan(), asked)
    assert decision.verdict is Verdict.WAIT
    assert "last stage's own difference" in decision.reasons[0]


def test_a_later_attempt_of_the_same_build_needs_more_proof():
    rows = arms(2_000, 240)

    first = decide(plan(), gather(plan(), rows))
    fourth = decide(plan(), gather(plan(), rows, attempt=4))

    assert first.verdict is Verdict.PROMOTE
    assert fourth.verdict is Verdict.WAIT


def in_segments(of, *, worse):
    rows = [
        (
            f"{k}",
            k % 10 == 0,
            respond(refusal=k % 10 == 0 and k % 3 == 0 and k < worse),
            {"geo": "at" if k % 3 else "de"},
        )
        for k in range(9_000)
    ]
    return gather(of, rows, segments=("geo",))


def test_a_harmed_segment_stops_a_promotion_and_asks_a_person():
    of = plan(gate("refusal_rate", MetricKind.GOAL, 0.2, tolerance=0.1), alpha_rollback=1e-9)

    assert decide(of, in_segments(of, worse=0)).verdict is Verdict.PROMOTE
    decision = decide(of, in_segments(of, worse=700))
    assert (decision.verdict, decision.codes) == (
        Verdict.HOLD,
        ("segment:geo=de:refusal_rate",),
    )


def test_standby_lasts_its_time_and_then_finishes():
    young = gather(plan(), arms(10, 900), stage="standby", age_s=3_000.0)
    old = gather(plan(), arms(10, 900), stage="standby", age_s=3_601.0)

    assert decide(plan(), young).verdict is Verdict.WAIT
    assert decide(plan(), old).verdict is Verdict.PROMOTE


def test_how_long_a_stage_has_lasted_is_its_age_and_not_what_was_asked_for():
    evidence = gather(plan(), arms(10, 900), stage="standby", age_s=9_000.0)

    assert decide(plan(), evidence).reasons == (
        "stage 'standby' has lasted 2.5 h without proven harm",
    )


def test_standby_with_a_silent_canary_does_not_finish():
    evidence = gather(plan(), arms(10, 900), stage="standby", age_s=9_000.0, last_age_s=5_000.0)

    assert decide(plan(), evidence).verdict is Verdict.WAIT


DRAWN = st.tuples(
    st.integers(0, 700), st.integers(0, 200), st.floats(0, 1), st.floats(0, 1),
    st.floats(-10, 400), st.floats(0, 40), st.sampled_from(["initial", "broad"]),
    st.integers(0, 3), st.booleans(),
)  # fmt: skip


def drawn_evidence(drawn):
    control, canary, bad0, bad1, age_s, last_age_s, stage, looks, with_thumbs = drawn
    of = plan(gate(), THUMBS) if with_thumbs else plan()
    rows = arms(control, canary, bad=(int(bad0**4 * control), int(bad1**4 * canary)))
    progress = Progress(looks_done=looks)
    return of, gather(of, rows, age_s=age_s, last_age_s=last_age_s, stage=stage, progress=progress)


@given(DRAWN)
@settings(max_examples=80)
def test_never_promotes_past_a_failed_unclear_or_missing_gate(drawn):
    of, evidence = drawn_evidence(drawn)

    decision = decide(of, evidence)

    if decision.verdict is Verdict.PROMOTE:
        wanted = {each.metric for each in of.stages[0].gates}
        assert {each.metric for each in decision.gates} == wanted
        assert {each.status for each in decision.gates} == {GateStatus.PASS}
        assert not decision.problems
        assert evidence.stage_age_s >= 60.0
        for each in decision.gates:
            assert each.comparison.difference <= each.comparison.margin
            assert each.comparison.effective_units >= 20


@given(DRAWN)
@settings(max_examples=30)
def test_a_decision_is_the_same_from_its_stored_evidence(drawn):
    of, evidence = drawn_evidence(drawn)
    stored = form.encode(evidence)

    again = form.decode(stored)

    assert form.encode(again) == stored
    assert decide(of, again) == decide(of, evidence)


@given(st.integers(0, 30), st.integers(1, 30))
@settings(max_examples=12)
def test_more_failures_of_the_canary_never_quieten_the_alarm(bad, more):
    some = decide(plan(), gather(plan(), arms(900, 100, bad=(5, bad))))
    worse = decide(plan(), gather(plan(), arms(900, 100, bad=(5, bad + more))))

    assert worse.log_e_global >= some.log_e_global - 1e-9


def test_evidence_that_is_none_is_refused():
    with pytest.raises(DataError, match="no evidence"):
        form.decode(b'{"rollout_id": 3}')


def test_a_rate_is_never_shown_to_be_worse_by_more_than_everything():
    rows = [*arms(95, 0), *((f"c{k}", True, respond(bad=True)) for k in range(7))]

    (shown,) = decide(plan(), gather(plan(), rows)).comparisons

    assert shown.difference == 1.0
