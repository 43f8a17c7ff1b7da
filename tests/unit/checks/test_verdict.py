"""The verdict of a check: what decides it, and how often it is wrong."""

from __future__ import annotations

import random

import numpy as np
import pytest

from llm_canary.checks.comparison import JudgeFacts, Limits
from llm_canary.checks.outcome import CriterionOutcome, Ended, Outcome
from llm_canary.checks.verdict import EXIT_CODES, CheckVerdict, decide
from llm_canary.stats.corrected import Interval

LIMITS = Limits(min_pass=0.8, max_drop=0.03)


def outcome(name: int, passed: bool | None, **more) -> Outcome:
    fields = {
        "ended": Ended.GRADED if passed is not None else Ended.NO_GRADE,
        "passed": passed,
        "score": None if passed is None else float(passed),
        "criteria": {"right": CriterionOutcome(passed)},
    }
    return Outcome(f"q{name}", **(fields | more))


def outcomes(passes, **more) -> list[Outcome]:
    return [
        outcome(n, None if each is None else bool(each), **more) for n, each in enumerate(passes)
    ]


def by_id(found):
    return {each.id: each for each in found}


def verdict(now, before=None, limits=LIMITS, judge=None):
    return decide(now, limits, baseline=by_id(before) if before is not None else None, judge=judge)


GOOD = outcomes([1] * 190 + [0] * 10)


def test_good_and_unchanged_passes():
    found = verdict(GOOD, GOOD)

    assert found.verdict is CheckVerdict.PASS
    assert found.lines[0].drop.value == 0.0


def test_each_verdict_has_its_own_exit_code():
    assert sorted(EXIT_CODES.values()) == [0, 1, 3, 4, 5]  # 2 is wrong usage


def test_a_drop_that_is_shown_fails():
    found = verdict(outcomes([1] * 160 + [0] * 40), GOOD)

    assert found.verdict is CheckVerdict.FAIL
    assert "passes fell by 15.0 pp" in found.reasons[0]


def test_a_drop_that_is_neither_shown_nor_excluded_is_held():
    found = verdict(outcomes([1] * 186 + [0] * 14), GOOD)

    assert found.verdict is CheckVerdict.HOLD
    assert found.items_needed > 200


def test_the_number_that_would_settle_it_does():
    small = [1] * 38 + [0] * 2
    held = verdict(outcomes(small), outcomes(small))
    again = small * (held.items_needed // len(small) + 1)

    assert held.verdict is CheckVerdict.HOLD
    assert verdict(outcomes(again), outcomes(again)).verdict is CheckVerdict.PASS


@pytest.mark.parametrize(
    ("passes", "expected"),
    [
        ([1] * 100, "pass"),
        ([1] * 82 + [0] * 18, "hold"),
        ([1] * 60 + [0] * 40, "fail"),
        ([0] * 5, "fail"),
    ],
)
def test_the_smallest_share_of_passes(passes, expected):
    assert verdict(outcomes(passes), limits=Limits(min_pass=0.8)).verdict == expected


def test_more_than_two_percent_without_grade_is_operational():
    assert verdict(outcomes([1] * 98 + [None] * 2)).verdict is CheckVerdict.PASS
    assert verdict(outcomes([1] * 97 + [None] * 3)).verdict is CheckVerdict.ERROR
    assert verdict(outcomes([None] * 3)).verdict is CheckVerdict.ERROR
    assert verdict([]).verdict is CheckVerdict.ERROR


def test_a_baseline_without_common_items_is_operational():
    others = [outcome(n + 1000, True) for n in range(200)]

    assert verdict(GOOD, others).verdict is CheckVerdict.ERROR


def test_a_judge_that_is_not_trusted_decides_nothing():
    found = verdict(GOOD, GOOD, judge=JudgeFacts(trusted=False, reasons=("why",)))

    assert found.verdict is CheckVerdict.UNTRUSTED
    assert found.reasons == ("why",)


def test_the_corrected_share_decides_not_the_raw_one():
    low = JudgeFacts(trusted=True, corrected=Interval(0.7, 0.65, 0.75, 200))

    assert verdict(GOOD, judge=low).verdict is CheckVerdict.FAIL


def test_what_cannot_be_assessed_too_often_is_held():
    found = decide(
        [
            outcome(n, True, ended=Ended.CANNOT_ASSESS if n < 50 else Ended.GRADED)
            for n in range(200)
        ],
        Limits(max_cannot_assess=0.2),
    )

    assert found.verdict is CheckVerdict.HOLD


def test_one_lost_must_pass_is_held_and_named_many_fail():
    def with_lost(count):
        lost = [outcome(n, False, must_pass_failed=("right",)) for n in range(count)]
        return lost + [outcome(n, True) for n in range(count, 1000)]

    before = outcomes([1] * 1000)
    one = verdict(with_lost(1), before)

    assert one.verdict is CheckVerdict.HOLD
    assert "q0" in one.reasons[0]
    assert verdict(with_lost(6), before).verdict is CheckVerdict.FAIL
    assert verdict(before, with_lost(6)).verdict is CheckVerdict.PASS


def test_a_harmed_segment_fails_though_the_average_holds():
    def arm(harmed):
        return [
            outcome(
                n,
                n % 10 > 0 if n >= 100 else not harmed,
                segments={"geo": "at" if n < 100 else "de"},
            )
            for n in range(2000)
        ]

    found = verdict(arm(True), arm(False), Limits(max_drop=0.10, segments=("geo",)))

    assert found.verdict is CheckVerdict.FAIL
    assert [reason.split(":")[0] for reason in found.reasons] == ["geo=at"]


def test_a_criterion_is_tested_where_it_is_asked_for():
    def arm(right):
        return [
            outcome(n, True, criteria={"right": CriterionOutcome(n % 10 < right)})
            for n in range(500)
        ]

    assert verdict(arm(5), arm(9)).verdict is CheckVerdict.PASS
    strict = Limits(max_drop=0.03, per_criterion=True)
    assert verdict(arm(5), arm(9), strict).verdict is CheckVerdict.FAIL


def test_conversations_are_not_independent():
    """Twenty conversations of 25 items that pass or fail together are twenty facts, not 500."""

    def arm(lost):
        return [outcome(n, n // 25 >= lost, conversation=f"c{n // 25}") for n in range(500)]

    together = verdict(arm(3), arm(0), Limits(max_drop=0.03))
    alone = verdict(
        [outcome(n, n >= 75) for n in range(500)],
        [outcome(n, True) for n in range(500)],
        Limits(max_drop=0.03),
    )

    assert alone.verdict is CheckVerdict.FAIL
    assert together.verdict is CheckVerdict.HOLD


@pytest.mark.parametrize("flaky", [0.05, 0.5])
def test_a_run_of_the_same_build_again_does_not_fail(flaky):
    """A/A: items of their own chance to pass; overall, per criterion, per segment, must-pass."""
    rng = random.Random(1)
    limits = Limits(max_drop=0.0, per_criterion=True, segments=("geo",))
    fails = 0
    for _ in range(400):
        chances = [1.0 if rng.random() > flaky else rng.random() for _ in range(150)]

        def arm(chances=chances):
            made = []
            for n, chance in enumerate(chances):
                passed = rng.random() < chance
                must = () if passed else ("right",)
                made.append(
                    outcome(n, passed, must_pass_failed=must, segments={"geo": ("at", "de")[n % 2]})
                )
            return made

        fails += verdict(arm(), arm(), limits).verdict is CheckVerdict.FAIL
    assert fails / 400 <= 0.05


def test_a_drop_of_ten_points_is_found():
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(200):
        chance = np.where(rng.random(300) < 0.1, 0.0, 1.0)  # ten in a hundred break
        before = outcomes(rng.random(300) < 0.95)
        after = [outcome(n, bool(each.passed and chance[n])) for n, each in enumerate(before)]
        found += verdict(after, before, Limits(max_drop=0.03)).verdict is CheckVerdict.FAIL
    assert found / 200 > 0.9
