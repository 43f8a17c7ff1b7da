"""Whether a rubric's numbers may decide: enough human labels, a trusted judge, the same judge."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec

from llm_canary.decision.evidence import Evidence, GradingEvidence, MetricEvidence
from llm_canary.decision.plan import Grading, Plan
from llm_canary.decision.problem import Problem
from llm_canary.decision.rules import deciding, graded_by
from llm_canary.decision.words import duration_text
from llm_canary.sampling import MIN_ANSWERED
from llm_canary.stats.aipw import MIN_PROBABILITY

MIN_ARM_LABELS = 30
_MAX_FAILED, _MIN_FAILED = 0.02, 5
_PERCENT = (2, 4, 8, 16, 32, 64)  # a person is asked again where it has got twice as bad
TRUSTED, UNTRUSTED = "trusted", "untrusted"
_STABLE = "stable"


class _Doubt(NamedTuple):
    """What makes grades doubtful: whoever accepts it accepts this `code` at no greater `share`."""

    code: str
    text: str
    share: float | None = None


class _Graded(msgspec.Struct, frozen=True):
    """A metric with what is known of its grading."""

    metric: str
    grading: Grading
    found: GradingEvidence


def lacking(plan: Plan, found: MetricEvidence) -> str | None:
    """Return why a rubric's gate has to wait, None when it need not, or is of no rubric."""
    if found.grading is None:
        return None
    graded = _Graded(found.metric, graded_by(plan)[found.grading.rubric], found.grading)
    return _no_text(graded) or _no_labels(graded)


def judge_problems(plan: Plan, evidence: Evidence) -> list[Problem]:
    """Return what makes the grades of a deciding rubric doubtful; each needs a person."""
    terms, decides = graded_by(plan), set(deciding(plan))
    accepted = set(evidence.progress.accepted)
    return [
        Problem(
            code=_code(doubt, each.metric, accepted),
            text=doubt.text,
            needs_person=True,
            metric=each.metric,
        )
        for each in evidence.metrics
        if each.grading is not None and each.metric in decides
        for doubt in _doubts(_Graded(each.metric, terms[each.grading.rubric], each.grading))
    ]


def _code(doubt: _Doubt, metric: str, accepted: Collection[str]) -> str:
    """Return the code: with the percentage that the share has passed, or an accepted higher one."""
    if doubt.share is None:
        return f"{doubt.code}:{metric}"
    passed = [each for each in _PERCENT if 100.0 * doubt.share >= each]
    steps = _PERCENT[max(len(passed) - 1, 0) :]
    codes = [f"{doubt.code}:{each}:{metric}" for each in steps]
    return next((code for code in codes if code in accepted), codes[0])


def _no_text(graded: _Graded) -> str | None:
    found = graded.found
    if sum(found.eligible) and not sum(found.drawn) and sum(found.without_text):
        return (
            f"no answer can be graded: of {sum(found.eligible)} none keeps its text; set "
            "`content: {store: redacted}` on the route, or make the gate secondary"
        )
    return None


def _no_labels(graded: _Graded) -> str | None:
    terms, found = graded.grading, graded.found
    if terms.needs_judge and terms.judge is None:
        return "the rubric names no judge, so nobody grades; add `judges:` to it"
    if not terms.needs_judge or not found.judges:
        return None
    if found.standing not in (TRUSTED, UNTRUSTED):
        if found.labels < terms.min_labels:
            return (
                f"the judge has {found.labels} of {terms.min_labels} human labels, so nobody knows "
                "whether it is right; grade answers in the review queue, or `review import` labels"
            )
        why = f" ({found.reason})" if found.reason else ""
        return (
            f"{found.labels} human labels do not tell yet whether the judge is right{why}; more "
            "reviews narrow it down"
        )
    for arm, labelled in zip(("control", "canary"), found.labelled, strict=True):
        if labelled < MIN_ARM_LABELS:
            return (
                f"people have graded {labelled} of {MIN_ARM_LABELS} answers of the {arm} in this "
                "rollout; the review queue has more"
            )
    return _few_replies(terms, found)


def _few_replies(terms: Grading, found: GradingEvidence) -> str | None:
    if found.lately is None:
        return None
    asked, answered = found.lately
    if answered < MIN_ANSWERED:
        return (
            f"people have graded {answered} of the {asked} answers that they were asked about "
            "last on one arm, so nobody knows whether the judge is still right; the review queue "
            "has more"
        )
    part = terms.review_rate * answered / asked
    if part < MIN_PROBABILITY:
        return (
            f"people grade {part * 100.0:.2f} % of the drawn answers, and below "
            f"{MIN_PROBABILITY * 100.0:.1f} % each would speak for too many; the review queue has "
            "more, and `judging.reviews` asks about more"
        )
    return None


def _doubts(graded: _Graded) -> Iterator[_Doubt]:
    terms, found, name = graded.grading, graded.found, graded.metric
    failed, judged = sum(found.failed), sum(found.judged)
    if failed >= _MIN_FAILED and failed > _MAX_FAILED * (failed + judged):
        text = (
            f"{name}: the judge failed on {failed} of {failed + judged} answers, and more than 2 % "
            "may be no accident"
        )
        yield _Doubt("judge_fails", text, failed / (failed + judged))
    if not terms.needs_judge:
        return
    if len(found.judges) > 1:
        text = (
            f"{name}: {len(found.judges)} judge versions have graded this rollout; their grades "
            "cannot be put together"
        )
        yield _Doubt(f"judge_changed:{_names([each[:12] for each in found.judges])}", text)
    for code, whose, models in (
        ("judge_model", "the judge's provider", found.models),
        ("second_judge_model", "the provider of the second judge", found.second_models),
    ):
        if len(models) > 1:
            text = f"{name}: {whose} reports another model than before ({', '.join(models)})"
            yield _Doubt(f"{code}:{_names(models)}", text)
    if found.standing == UNTRUSTED:
        text = (
            f"{name}: the judge does not agree with people ({found.reason}); improve the rubric or "
            "the judge and start a new rollout, or decide by hand"
        )
        yield _Doubt("judge_untrusted", text)
    age_s = found.calibrated_age_s
    if found.standing == TRUSTED and age_s is not None and age_s > terms.max_age_s:
        text = f"{name}: the judge was last compared with people {duration_text(age_s)} ago"
        yield _Doubt("judge_stale", text)
    if found.drift not in (None, _STABLE):
        text = (
            f"{name}: the judge no longer says what it said about the same answers ({found.drift})"
        )
        changed, anchors = found.moved
        share = changed / anchors if anchors else 0.0
        yield _Doubt(f"judge_drift:{found.drift}:{_names(found.drift_models)}", text, share)


def _names(of: Sequence[str]) -> str:
    return "+".join(of)
