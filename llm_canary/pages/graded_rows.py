"""Graded answers in words: judge and people beside their combination, and what became of all."""

from __future__ import annotations

from dataclasses import dataclass

from llm_canary.metrics.graded import human_metric, judge_metric, rubric_metric
from llm_canary.pages.metric_row import MetricRow, metric_row
from llm_canary.pages.quantity import count_text, duration_text, money_text
from llm_canary.pages.states import Word
from llm_canary.rollout.detail import RolloutDetail
from llm_canary.rollout.views import GradingView

_STANDINGS = {
    "trusted": Word("Trusted", "good"),
    "untrusted": Word("Not trusted", "bad"),
    "not_enough": Word("Too few labels", "quiet"),
}
_DRIFTS = {
    "stable": "no drift of the judge on its anchors",
    "judge_drift": "the judge has moved on its anchors",
    "system_change": "answers to the anchors have moved",
}


@dataclass(frozen=True)
class Funnel:
    """One step of what became of the answers."""

    name: str
    control: str
    canary: str


@dataclass(frozen=True)
class GradedRubric:
    """One rubric of the rollout."""

    rubric: str
    anchor: str
    rows: tuple[tuple[str, MetricRow], ...]  # who says it, and what
    standing: Word | None  # None: programs grade, nobody has to be trusted
    judges: str
    notes: tuple[str, ...]
    funnel: tuple[Funnel, ...]


def graded_rubrics(found: RolloutDetail) -> tuple[GradedRubric, ...]:
    """Return the rubrics that gates read."""
    return tuple(_rubric(found, each) for each in found.view.grading)


def _rubric(found: RolloutDetail, grading: GradingView) -> GradedRubric:
    compared = {each.metric: each for each in found.view.comparisons}
    gates = {each.metric: each for each in found.view.gates}
    needs_judge = judge_metric(grading.rubric) in compared
    names = {
        "Corrected by people" if needs_judge else "By programs": rubric_metric(grading.rubric),
        "Judge alone": judge_metric(grading.rubric),
        "People alone": human_metric(grading.rubric),
    }
    return GradedRubric(
        rubric=grading.rubric,
        anchor=f"rubric-{grading.rubric}",
        rows=tuple(
            (who, metric_row(compared[name], gates.get(name)))
            for who, name in names.items()
            if name in compared
        ),
        standing=_STANDINGS.get(grading.standing),
        judges=", ".join(grading.judges),
        notes=_notes(grading),
        funnel=_funnel(grading),
    )


def _notes(grading: GradingView) -> tuple[str, ...]:
    notes = [grading.reason] if grading.reason else []
    if grading.standing:
        notes.append(f"compared with {count_text(grading.labels)} human labels")
    control, canary = grading.judge_points
    if grading.standing and control is not None and canary is not None:
        notes.append(f"the judge's own points, uncorrected: {control:.2f} and {canary:.2f}")
    if grading.drift is not None:
        notes.append(_DRIFTS.get(grading.drift, grading.drift))
    if grading.judge_calls:
        cost = (
            "cost unknown" if grading.judge_nanousd is None else money_text(grading.judge_nanousd)
        )
        notes.append(f"{count_text(grading.judge_calls)} calls of judges, {cost}")
    if grading.reviews:
        spent = "" if grading.review_s is None else f", {duration_text(grading.review_s)} of work"
        notes.append(f"{count_text(grading.reviews)} reviews of people{spent}")
    return tuple(notes)


def _funnel(grading: GradingView) -> tuple[Funnel, ...]:
    steps = {
        "Eligible answers": grading.eligible,
        "of these without text": grading.without_text,
        "not drawn": grading.not_sampled,
        "waiting": grading.waiting,
        "judged": grading.judged,
        "failed": grading.failed,
        "not judged: too many waited, or it was too late": grading.shed,
        "Labelled by people in time": grading.labelled,
        "Drawn as worth a look; decide nothing": grading.targeted,
    }
    return tuple(
        Funnel(name, count_text(pair[0]), count_text(pair[1])) for name, pair in steps.items()
    )
