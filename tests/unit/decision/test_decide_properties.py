"""What holds of every decision under the shipped plan, whatever the evidence."""

from __future__ import annotations

from dataclasses import astuple, replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_canary.decision import evidence as form
from llm_canary.decision.engine import Verdict, decide
from llm_canary.decision.gates import GateStatus
from llm_canary.decision.plan import MetricKind
from llm_canary.errors import DataError
from llm_canary.metrics.freeze import Rule, StageMargin, freeze
from llm_canary.metrics.spec import MetricSpec, Scale, Unit
from llm_canary.metrics.state import SliceState, merge
from llm_canary.rollout import replay as replaying
from llm_canary.stats.score import UnitRow, update, variance
from tests.support.evidence import gate, gather, plan, respond

changed = msgspec.structs.replace
GATES = ("error_rate", "latency_p95", "thumbs_up_rate", "cost_per_request")


def scored(found, **changes):
    return changed(found, score=replace(found.score, **changes))


def margin_of(found):
    return found.frozen.margins["broad"]


BREAKS = {
    "not measured": lambda _: None,
    "not observed on the canary": lambda each: changed(each, observed=(each.observed[0], 0)),
    "not observed on the control": lambda each: changed(each, observed=(0, each.observed[1])),
    "numbers not fixed": lambda each: changed(each, frozen=None),
    "not scored on the canary": lambda each: scored(each, n_canary=0),
    "not scored on the control": lambda each: scored(each, n_control=0),
    "not gated in this stage": lambda each: changed(each, stage_v=None),
    "no margin": lambda each: changed(each, frozen=changed(each.frozen, margins={})),
    "worse than the margin": lambda each: scored(each, s=1.01 * margin_of(each) * each.score.i),
    "much worse": lambda each: scored(each, s=20.0 * margin_of(each) * each.score.i),
    "unclear": lambda each: changed(each, stage_v=1e9 * (each.stage_v or 1.0)),
    "few effective units": lambda each: scored(each, qq=each.score.i**2 / 29.0),
    "few units": lambda each: scored(each, units_canary=10),
    "no canary of the last stage": lambda each: changed(each, stage_i=0.0),
    "worse in the last stage": lambda each: changed(
        each, stage_s=1.01 * margin_of(each) * each.stage_i
    ),
}
TROUBLES = {
    "split": {"new_units": (form.Counts(share=0.5, canary=3_000, total=9_000),)},
    "both arms": {"in_both_arms": 1},
    "idle canary": {"stage_units": (4_500, 0)},
    "idle control": {"stage_units": (0, 4_500)},
    "stale control": {"last_age_s": (901.0, 1.0)},
    "stale canary": {"last_age_s": (1.0, 901.0)},
    "no data of the canary": {"stage_responses": (4_500, 0)},
    "backlog": {"backlog_s": 121.0},
    "telemetry loss": {"telemetry_accepted": 1_000, "telemetry_dropped": 20},
    "another model": {"new_models": ("canary: new-2",)},
}


def with_metric(evidence, name, change):
    metrics = [change(each) if each.metric == name else each for each in evidence.metrics]
    return changed(evidence, metrics=tuple(each for each in metrics if each is not None))


def test_the_healthy_evidence_is_promoted(standard, healthy):
    decision = decide(standard, healthy)

    assert decision.verdict is Verdict.PROMOTE
    assert {each.metric for each in decision.gates} >= set(GATES)


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize("metric", GATES)
def test_one_gate_that_is_missing_unclear_or_failed_is_enough(standard, healthy, metric, broken):
    decision = decide(standard, with_metric(healthy, metric, BREAKS[broken]))

    assert decision.verdict is not Verdict.PROMOTE
    status = {each.metric: each.status for each in decision.gates}[metric]
    assert status not in (GateStatus.PASS, GateStatus.NOT_APPLICABLE)


@pytest.mark.parametrize("metric", GATES)
def test_what_was_shown_does_not_excuse_an_estimate_beyond_the_margin(standard, healthy, metric):
    def unproven(each):
        v = 100.0 * each.harm_v[0]
        return changed(BREAKS["worse than the margin"](each), harm_v=(v, v), final_v=v, stage_v=v)

    worse = with_metric(healthy, metric, unproven)
    shown = changed(worse, progress=form.Progress(shown=dict.fromkeys(GATES, "look 1")))

    decision = decide(standard, shown)

    assert decision.verdict is Verdict.HOLD
    assert decision.reasons[1].startswith(f"{metric}: not proven yet")


@pytest.mark.parametrize("trouble", TROUBLES)
def test_one_problem_is_enough(standard, healthy, trouble):
    sick = changed(healthy, health=changed(healthy.health, **TROUBLES[trouble]))

    assert decide(standard, sick).verdict in (Verdict.HOLD, Verdict.WAIT)


CHANGES = st.fixed_dictionaries(
    {
        "metrics": st.dictionaries(
            st.sampled_from(GATES),
            st.tuples(st.floats(-3, 3), st.floats(0.2, 5), st.sampled_from([None, *BREAKS])),
            max_size=4,
        ),
        "health": st.dictionaries(st.sampled_from(list(TROUBLES)), st.just(True), max_size=1),
        "stage": st.sampled_from(["initial", "expanded", "broad"]),
        "stage_age_s": st.floats(-1e4, 4e5),
        "looks_done": st.integers(0, 3),
        "shown": st.booleans(),
        "attempt": st.integers(1, 4),
    }
)


def vary(healthy, drawn):
    """Shift each estimate by so many standard errors, stretch V, break a gate, spoil the health."""
    evidence = healthy
    for name, (z, stretch, broken) in drawn["metrics"].items():

        def change(each, z=z, stretch=stretch, broken=broken):
            v = each.harm_v[0] * stretch
            s = z * v**0.5
            moved = changed(
                each, harm_v=(v, v), stage_v=v, final_v=v, stage_s=s,
                score=replace(each.score, s=s),
            )  # fmt: skip
            return moved if broken is None else BREAKS[broken](moved)

        evidence = with_metric(evidence, name, change)
    health = evidence.health
    for trouble in drawn["health"]:
        health = changed(health, **TROUBLES[trouble])
    shown = dict.fromkeys(GATES, "look 1") if drawn["shown"] else {}
    return changed(
        evidence,
        health=health,
        stage=drawn["stage"],
        stage_age_s=drawn["stage_age_s"],
        attempt=drawn["attempt"],
        progress=form.Progress(looks_done=drawn["looks_done"], shown=shown),
    )


@given(CHANGES)
@settings(max_examples=150)
def test_whatever_is_promoted_has_proven_every_gate(standard, healthy, drawn):
    decision = decide(standard, vary(healthy, drawn))

    if decision.verdict is Verdict.PROMOTE:
        deciding = [each for each in decision.gates if each.kind is not MetricKind.SECONDARY]
        assert {each.metric for each in deciding} >= set(GATES)
        for each in deciding:
            if each.status is not GateStatus.NOT_APPLICABLE:
                assert each.status is GateStatus.PASS
                assert each.comparison.difference <= each.comparison.margin
                least = 30 if each.metric == "thumbs_up_rate" else 200  # few are rated
                assert each.comparison.effective_units >= least
        assert not decision.problems
        assert drawn["stage_age_s"] >= 86_400.0


@given(CHANGES)
@settings(max_examples=60)
def test_a_stored_decision_is_reached_again_bit_for_bit(standard, healthy, drawn):
    evidence = vary(healthy, drawn)
    record = replaying.record_of(standard, evidence, decide(standard, evidence), applied=False)

    assert replaying.replay(record).is_same
    assert form.encode(form.decode(record.evidence)) == record.evidence


def numbers(node, path=()):
    """Return the path of each number of a JSON document."""
    if isinstance(node, bool) or node is None or isinstance(node, str):
        return []
    if isinstance(node, int | float):
        return [path]
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    return [found for key, each in pairs for found in numbers(each, (*path, key))]


def altered(data, path, by):
    document = msgspec.json.decode(data)
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = by(node[path[-1]])
    return msgspec.json.encode(document, order="sorted")


@given(st.data())
@settings(max_examples=60)
@pytest.mark.parametrize("part", ["plan", "evidence"])
def test_one_number_altered_is_refused(standard, healthy, part, data):
    record = replaying.record_of(standard, healthy, decide(standard, healthy), applied=True)
    stored = getattr(record, part)
    path = data.draw(st.sampled_from(numbers(msgspec.json.decode(stored))))
    by = data.draw(st.sampled_from([lambda x: x + 1, lambda x: -x - 1, lambda x: x * 1.5 + 1]))
    forged = changed(record, **{part: altered(stored, path, by)})

    assert form.digest(forged.plan, forged.evidence) != record.evidence_hash
    with pytest.raises(DataError, match="altered"):
        replaying.replay(forged)


def test_a_verdict_altered_is_noticed(standard, healthy):
    record = replaying.record_of(standard, healthy, decide(standard, healthy), applied=True)
    forged = changed(record, result=record.result.replace(b'"promote"', b'"rollback"'))

    assert not replaying.replay(forged).is_same


COUNTS = st.tuples(
    st.integers(50, 400), st.integers(5, 60), st.integers(0, 20), st.integers(0, 30),
    st.integers(1, 30), st.sampled_from([10.0, 70.0, 181.0, 1_000.0]),
)  # fmt: skip


@given(COUNTS, st.sampled_from(["error_rate", "thumbs_up_rate", "refusal_rate"]))
@settings(max_examples=60)
def test_more_harm_never_turns_a_rollback_into_something_milder(counts, metric):
    control, canary, bad_control, bad, more, age_s = counts
    of = plan(gate(metric, MetricKind.GOAL, 0.1), gate("empty_rate"), alpha_rollback=0.05)

    def verdict(bad_canary):
        rows = []
        for arm, n, failed in ((0, control, bad_control), (1, canary, bad_canary)):
            for k in range(n):
                is_bad = k < min(failed, n)
                facts = {
                    "error_rate": lambda worse: respond(bad=worse),
                    "thumbs_up_rate": lambda worse: respond(rated=not worse),
                    "refusal_rate": lambda worse: respond(refusal=worse),
                }[metric](is_bad)
                rows.append((f"{arm}-{k}", bool(arm), facts))
        rows.sort(key=lambda row: hash_of(row[0]))
        return decide(of, gather(of, rows, age_s=age_s)).verdict

    if verdict(bad) is Verdict.ROLLBACK:
        assert verdict(bad + more) is Verdict.ROLLBACK


def hash_of(text):
    return int.from_bytes(text.encode()[::-1], "big") * 2_654_435_761 % 2**32


RATE = MetricSpec(name="rate", unit=Unit.RATE, scale=Scale.RATE, value=lambda _: None)
FROZEN = freeze(RATE, Rule(stages={"broad": StageMargin(0.05, relative=False)}), [])
SHARDS = st.lists(
    st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from([0.05, 0.25, 0.5]), st.booleans()),
    max_size=40,
)


def shard(responses):
    state, rows = SliceState(), {}
    for unit, canary, share, is_bad in responses:
        row = rows.setdefault(unit, UnitRow())
        if is_bad and not row.n:
            first = state.first.setdefault(share, [0, 0])
            first[0] += canary
            first[1] += 1
        update(
            state.score, row, canary=canary, share=share, value=float(is_bad), centre=0.1,
            binary=True,
        )  # fmt: skip
    return state


def sums(state):
    return [*astuple(state.score), *state.harm_v, *state.margin_v.values(), state.final_v]


@given(SHARDS, SHARDS, SHARDS)
def test_merging_slices_is_associative_and_commutative(one, two, three):
    def both(a, b):
        return merge(a, b, FROZEN, binary=True)

    a, b, c = shard(one), shard(two), shard(three)
    left, right = both(both(a, b), c), both(a, both(b, c))

    assert sums(left) == pytest.approx(sums(right), rel=1e-9, abs=1e-9)
    assert left.first == right.first
    assert both(a, b) == both(b, a)
    v = variance(a.score + b.score, 0.0, noninferiority=False, binary=True)
    assert both(a, b).harm_v[0] == v
