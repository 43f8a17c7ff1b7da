"""The textbook tests of a comparison, from the same sums; not a stopping rule (STATISTICS 2.6)."""

from __future__ import annotations

from llm_canary.metrics.spec import MetricSpec, Scale
from llm_canary.metrics.state import MetricState
from llm_canary.stats.fixed import FixedTest, Moments, chi_squared, mann_whitney, welch
from llm_canary.stats.score import ScoreState


def textbook_tests(
    spec: MetricSpec, score: ScoreState, counted: MetricState
) -> tuple[FixedTest, ...]:
    """Return the tests that people know for a metric of this scale; none without data."""
    if spec.is_binary:
        bad = round(score.sum_canary), round(score.sum_control)
        found = [
            chi_squared(
                (bad[0], max(score.n_canary - bad[0], 0)),
                (bad[1], max(score.n_control - bad[1], 0)),
            )
        ]
        return tuple(each for each in found if each is not None)
    canary = Moments(score.n_canary, score.sum_canary, score.sumsq_canary)
    control = Moments(score.n_control, score.sum_control, score.sumsq_control)
    tests = [welch(canary, control)]
    if spec.is_counted and spec.scale is not Scale.RATIO:
        tests.append(_ranks(counted))
    return tuple(each for each in tests if each is not None)


def _ranks(counted: MetricState) -> FixedTest | None:
    bins = sorted({*counted.bins[0], *counted.bins[1]})
    control, canary = (
        [counted.zeros[arm], *(counted.bins[arm].get(at, 0) for at in bins)] for arm in (0, 1)
    )
    return mann_whitney(canary, control)
