"""Restarts of the watch for harm gain the larger of the two variances, each since the restart."""

from __future__ import annotations

import msgspec
import pytest

from llm_canary.decision.compare import harm_log_e
from llm_canary.decision.evidence import MetricEvidence
from llm_canary.metrics.freeze import Frozen
from llm_canary.stats.global_test import restart_log_e
from llm_canary.stats.score import ScoreState

FROZEN = Frozen(
    n=50, centre=0.01, variance=0.01, span=1.0, margins={}, final_margin=0.005, tolerance=0.0,
    v0_harm=12.0, v0_not_worse=12.0,
)  # fmt: skip
# The robust sum was ahead at the restart and has not grown since, the other has.
FOUND = MetricEvidence(
    metric="error_rate",
    applicable=(1_000, 1_000),
    observed=(1_000, 1_000),
    baseline=0,
    score=ScoreState(s=3.0, pp=100.0, xx=99.0),
    harm_v=(100.0, 100.0),
    snapshots=((0.0, 0.0), (0.0, 100.0)),
    squares=((0.0, 0.0), (100.0, 90.0)),
)


def test_a_lull_in_one_of_the_two_is_no_harm():
    blind = msgspec.structs.replace(FOUND, squares=())

    assert harm_log_e(FOUND, FROZEN) == restart_log_e(((0.0, 0.0), (0.0, 91.0)), 3.0, 100.0, 12.0)
    assert harm_log_e(FOUND, FROZEN) < 1.0 < 10.0 < harm_log_e(blind, FROZEN)


def test_restarts_of_a_rollout_that_began_before_keep_their_variance():
    half = msgspec.structs.replace(
        FOUND, snapshots=((0.0, 0.0), (1.0, 50.0), (0.0, 100.0)), squares=((100.0, 90.0),)
    )
    pairs = ((0.0, 0.0), (1.0, 50.0), (0.0, 91.0))

    assert harm_log_e(half, FROZEN) == pytest.approx(restart_log_e(pairs, 3.0, 100.0, 12.0))
