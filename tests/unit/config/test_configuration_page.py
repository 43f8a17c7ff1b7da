"""docs/configuration.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llm_canary.config.reference import renew
from tests.unit.config.texts import MINIMAL, ROLLOUT

PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_reference_is_up_to_date():
    current = renew(PAGE)

    assert current == PAGE, "run: python -m llm_canary.config.reference docs/configuration.md"


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_loads_without_a_warning(loads, text):
    assert loads(text).warnings == ()


def test_the_plan_written_out_is_the_built_in_one(loads):
    (text,) = [text for text in EXAMPLES if "written-out" in text]

    plans = loads(text).plans

    assert plans["written-out"].stages == plans["standard"].stages
    assert plans["written-out"].alpha_rollback == plans["standard"].alpha_rollback
    assert plans["written-out"].alpha_promote == plans["standard"].alpha_promote
    assert plans["written-out"].full_cycle_s == plans["standard"].full_cycle_s


def test_the_error_it_shows_is_the_one_that_comes(refuses):
    (shown,) = re.findall(r"^canary\.yaml:\d+: (.*)$", PAGE, re.MULTILINE)
    text = MINIMAL + ROLLOUT.replace("next", "support-v13") + "    plan: standart\n"

    (problem,) = refuses(text + "plans: {careful: {extends: standard}}\n")

    assert problem.split(": ", 1)[1] == shown
