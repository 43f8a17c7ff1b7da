"""What the outlook says of a stage is what `decide` says when its time has come."""

import pytest

from llm_canary.decision.engine import Verdict, decide
from llm_canary.decision.evidence import Progress
from llm_canary.decision.outlook import outlook
from tests.support.evidence import arms, gate, gather, plan

OF = plan(gate(margin=0.15), min_units=5)
STAGE = OF.stages[0]


def evidence(times, *, of=OF, **known):
    """Equal arms, `times` times 30 seconds of them."""
    rows = arms(90 * times, 10 * times, bad=(9 * times, times))
    return gather(of, rows, age_s=30.0 * times, **known)


def test_the_look_that_is_foretold_is_the_one_that_promotes():
    ahead = outlook(OF, STAGE, evidence(1), ["error_rate"])

    assert (ahead.expected_s, ahead.binding) == (120.0, "error_rate")
    assert decide(OF, evidence(2)).verdict is Verdict.WAIT
    assert decide(OF, evidence(4)).verdict is Verdict.PROMOTE


def test_a_look_that_was_taken_is_not_foretold_again():
    taken = evidence(4, progress=Progress(looks_done=2))

    assert outlook(OF, STAGE, taken, ["error_rate"]).expected_s == 180.0


def test_a_margin_that_the_traffic_cannot_show_is_not_expected():
    narrow = plan(gate(margin=0.02), min_units=5)

    ahead = outlook(narrow, narrow.stages[0], evidence(1, of=narrow), ["error_rate"])

    assert (ahead.expected_s, ahead.binding, ahead.is_known) == (None, "error_rate", True)
    assert decide(narrow, evidence(6, of=narrow)).verdict is Verdict.HOLD


def test_too_few_units_keep_a_proof_from_counting():
    many = plan(gate(margin=0.15), min_units=500)

    assert outlook(many, many.stages[0], evidence(1, of=many), ["error_rate"]).expected_s is None


def test_a_canary_beyond_the_margin_is_not_expected_to_pass():
    bad = gather(OF, arms(90, 10, bad=(1, 5)), age_s=30.0)

    assert outlook(OF, STAGE, bad, ["error_rate"]).expected_s is None


@pytest.mark.parametrize("rows", [[], arms(90, 0)], ids=["nothing", "no-canary"])
def test_without_data_nothing_is_foretold(rows):
    ahead = outlook(OF, STAGE, gather(OF, rows, age_s=30.0), ["error_rate"])

    assert (ahead.expected_s, ahead.is_known, ahead.binding) == (None, False, "error_rate")


def test_once_every_gate_has_passed_only_the_stages_least_time_is_lacking():
    ahead = outlook(OF, STAGE, evidence(1), [])

    assert (ahead.expected_s, ahead.binding) == (60.0, None)


def test_a_stage_that_compares_nothing_lasts_its_time():
    standby = OF.stages[-1]

    ahead = outlook(OF, standby, evidence(1), [])

    assert (ahead.earliest_s, ahead.expected_s, ahead.latest_s) == (3_600.0, 3_600.0, 3_600.0)


def test_an_extended_stage_ends_later():
    longer = evidence(1, progress=Progress(extended_until_s=900.0))

    assert outlook(OF, STAGE, longer, ["error_rate"]).latest_s == 900.0
