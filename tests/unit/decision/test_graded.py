"""A rubric decides only while its judge is known to be right; whatever is in doubt waits or holds."""

from __future__ import annotations

import msgspec
import pytest

from llm_canary.decision.engine import Verdict, decide
from llm_canary.decision.evidence import GradingEvidence, Progress
from llm_canary.decision.gates import GateStatus
from llm_canary.decision.plan import Grading, MetricKind
from tests.support.evidence import gate, gather, plan, respond

NAME = "rubric:helpful"
TERMS = Grading(rubric_text_id="t", needs_judge=True, judge="openai/j", window_s=1.0)
SOUND = GradingEvidence(
    rubric="helpful",
    eligible=(500, 500),
    drawn=(300, 300),
    judged=(300, 300),
    labelled=(60, 60),
    judges=("j1",),
    models=("j-2026-01-01",),
    standing="trusted",
    labels=150,
    calibrated_age_s=3_600.0,
    drift="stable",
)


def graded_plan(**terms):
    gates = (gate(margin=0.2), gate(NAME, MetricKind.GOAL, 0.1))
    return plan(*gates, graded={"helpful": msgspec.structs.replace(TERMS, **terms)})


def evidence(of, *, canary=0.8, age_s=100.0, n=2_000, **known):
    """Answers with points around 0.8 in the control, and the grading facts of SOUND but for `known`."""
    rows = []
    for k in range(n):
        is_canary = k % 10 == 0
        points = (canary if is_canary else 0.8) + 0.2 * ((k // 10 * 7 % 11) / 5.0 - 1.0)
        facts = respond(outcomes={NAME: points, f"{NAME}:judge": points})
        rows.append((f"u-{k}", is_canary, facts))
    found = gather(of, rows, age_s=age_s)
    grading = msgspec.structs.replace(SOUND, **known)
    metrics = tuple(
        msgspec.structs.replace(each, grading=grading) if each.metric.startswith(NAME) else each
        for each in found.metrics
    )
    return msgspec.structs.replace(found, metrics=metrics)


def test_an_equal_canary_under_a_trusted_judge_is_promoted():
    of = graded_plan()

    assert decide(of, evidence(of)).verdict is Verdict.PROMOTE


def test_a_worse_one_is_rolled_back_on_its_points():
    of = graded_plan()
    decision = decide(of, evidence(of, canary=0.5))

    assert decision.verdict is Verdict.ROLLBACK
    assert NAME in decision.reasons[0]
    assert "points, canary 0.499" in decision.reasons[0]


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        pytest.param(
            {"standing": "not_enough", "labels": 40}, "40 of 100 human labels", id="few-labels"
        ),
        pytest.param(
            {"standing": "not_enough", "labels": 407, "reason": "kappa 0.42 [0.38, 0.46]"},
            "407 human labels do not tell yet whether the judge is right (kappa 0.42 [0.38, 0.46])",
            id="many-labels-that-do-not-tell",
        ),
        pytest.param({"labelled": (60, 29)}, "29 of 30 answers of the canary", id="few-of-one-arm"),
        pytest.param({"lately": (40, 2)}, "graded 2 of the 40 answers", id="people-have-stopped"),
        pytest.param({"lately": (300, 6)}, "people grade 0.40 %", id="people-hardly-reply"),
        pytest.param(
            {"drawn": (0, 0), "without_text": (500, 500), "judges": ()},
            "none keeps its text",
            id="no-text",
        ),
    ],
)
def test_what_is_missing_waits_and_asks_a_person_in_the_end(known, reason):
    of = graded_plan()
    early, late = decide(of, evidence(of, **known)), decide(of, evidence(of, age_s=200.0, **known))

    assert early.verdict is Verdict.WAIT
    assert late.verdict is Verdict.HOLD
    for decision in (early, late):
        assert any(reason in text for text in decision.reasons), decision.reasons
        [own] = [each for each in decision.gates if each.metric == NAME]
        assert own.status is GateStatus.NO_DATA


@pytest.mark.parametrize(
    ("known", "code"),
    [
        pytest.param({"standing": "untrusted", "reason": "kappa 0.1"}, "judge_untrusted", id="un"),
        pytest.param({"calibrated_age_s": 15 * 86_400.0}, "judge_stale", id="stale"),
        pytest.param(
            {"drift": "judge_drift", "drift_models": ("j-1",), "moved": (20, 100)},
            "judge_drift:judge_drift:j-1:16",
            id="drift",
        ),
        pytest.param(
            {"drift": "system_change"}, "judge_drift:system_change::2", id="system-change"
        ),
        pytest.param({"judges": ("j1", "j2")}, "judge_changed:j1+j2", id="another-version"),
        pytest.param({"models": ("j-1", "j-2")}, "judge_model:j-1+j-2", id="another-model"),
        pytest.param(
            {"second_models": ("b-1", "b-2")}, "second_judge_model:b-1+b-2", id="second-judge"
        ),
        pytest.param({"failed": (9, 9)}, "judge_fails:2", id="fails"),
    ],
)
def test_a_judge_in_doubt_holds_at_once_and_never_rolls_back(known, code):
    of = graded_plan()
    for canary in (0.8, 0.5):
        decision = decide(of, evidence(of, canary=canary, **known))

        assert decision.verdict is Verdict.HOLD
        assert decision.codes == (f"{code}:{NAME}",)


@pytest.mark.parametrize(
    ("known", "then"),
    [
        pytest.param(
            {"models": ("j-1", "j-2")}, {"models": ("j-1", "j-2", "j-3")}, id="another-model"
        ),
        pytest.param({"judges": ("j1", "j2")}, {"judges": ("j1", "j2", "j3")}, id="version"),
        pytest.param({"failed": (9, 9)}, {"failed": (15, 15)}, id="fails"),
        pytest.param(
            {"drift": "system_change", "drift_models": ("j-2",), "moved": (3, 100)},
            {"drift": "system_change", "drift_models": ("j-3",), "moved": (3, 100)},
            id="another-model-of-the-anchors",
        ),
        pytest.param(
            {"drift": "judge_drift", "moved": (12, 100)},
            {"drift": "judge_drift", "moved": (40, 100)},
            id="moved-on",
        ),
    ],
)
def test_a_change_that_was_accepted_is_not_asked_about_again_and_a_second_one_is(known, then):
    of = graded_plan()
    accepted = Progress(accepted=decide(of, evidence(of, **known)).codes)
    again = msgspec.structs.replace(evidence(of, **known), progress=accepted)
    more = msgspec.structs.replace(evidence(of, **then), progress=accepted)

    assert decide(of, again).verdict is Verdict.PROMOTE
    assert decide(of, more).verdict is Verdict.HOLD


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ({"failed": (90, 90)}, {"failed": (9, 9)}),
        (
            {"drift": "judge_drift", "moved": (40, 100)},
            {"drift": "judge_drift", "moved": (9, 100)},
        ),
    ],
)
def test_who_accepted_more_accepted_less(worse, better):
    of = graded_plan()
    accepted = Progress(accepted=decide(of, evidence(of, **worse)).codes)
    found = msgspec.structs.replace(evidence(of, **better), progress=accepted)

    assert decide(of, found).verdict is Verdict.PROMOTE


def test_a_secondary_rubric_is_shown_and_holds_nothing():
    of = plan(gate(margin=0.2), gate(NAME, MetricKind.SECONDARY, 0.1), graded={"helpful": TERMS})

    assert decide(of, evidence(of, standing="untrusted")).verdict is Verdict.PROMOTE


def test_programs_need_no_trust():
    of = graded_plan(needs_judge=False, judge=None)
    known = {"standing": "not_enough", "labels": 0, "labelled": (0, 0)}

    assert decide(of, evidence(of, **known)).verdict is Verdict.PROMOTE


def test_a_rubric_without_a_judge_says_so():
    of = graded_plan(judge=None)
    decision = decide(of, evidence(of, age_s=200.0))

    assert decision.verdict is Verdict.HOLD
    assert any("names no judge" in text for text in decision.reasons)


def test_a_gate_whose_outcomes_are_all_still_to_come_is_no_data_not_a_pass():
    of = plan(gate(), gate("thumbs_up_rate", MetricKind.GOAL, 0.1))
    rows = [(f"u-{k}", k % 10 == 0, respond()) for k in range(2_000)]
    decision = decide(of, gather(of, rows, mature_outcomes=False))

    [own] = [each for each in decision.gates if each.metric == "thumbs_up_rate"]
    assert own.status is GateStatus.NO_DATA
    assert decision.verdict is Verdict.WAIT


def test_evidence_with_grading_travels_bit_for_bit():
    from llm_canary.decision import evidence as form

    found = evidence(graded_plan())

    assert form.decode(form.encode(found)) == found
