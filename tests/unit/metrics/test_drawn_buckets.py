"""Of drawn answers there are few: their centre follows the control all the same."""

from __future__ import annotations

import pytest

from llm_canary.metrics.accumulate import Response, Settings, mature
from llm_canary.metrics.freeze import Rule, StageMargin
from llm_canary.metrics.graded import rubric_metrics
from llm_canary.metrics.spec import ResponseFacts
from llm_canary.metrics.state import Rollup, UnitState
from llm_canary.rollout.scoring import settings_of_drawn

START_S = 1_800_000_000.0
HOURLY = Settings(rules={"rubric:x": Rule(stages={"s": StageMargin(0.03, relative=False)})})


def centres(settings: Settings) -> list[float]:
    """Feed two days of 250 control answers each, which miss 0.4 points."""
    spec, rollup = rubric_metrics("x", 86_400.0)[0], Rollup()
    for k in range(500):
        facts = ResponseFacts(terminal="completed", outcomes={"rubric:x": 0.6})
        response = Response(
            at_s=START_S + k * 86_400 / 250, canary=False, share=0.5, stage="s", facts=facts
        )
        mature(rollup, UnitState(), response, spec, settings)
    return [mean for _, mean in rollup.metric("rubric:x").centres]


def test_the_centre_of_drawn_answers_is_taken_from_the_control() -> None:
    found = centres(settings_of_drawn(HOURLY, 250.0))

    assert len(found) >= 4
    assert found == pytest.approx([0.4] * len(found))
    assert centres(HOURLY) == []  # ten answers an hour are too few


def test_where_many_are_drawn_buckets_stay_as_they_are() -> None:
    assert settings_of_drawn(HOURLY, 1e7) == HOURLY
