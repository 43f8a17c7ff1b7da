"""Asks a judge about every anchor."""

from __future__ import annotations

from collections.abc import Callable

from llm_canary.judging.bounded import each_bounded
from llm_canary.judging.drift import Anchors
from llm_canary.judging.grader import CONCURRENCY, Grader
from llm_canary.judging.judgement import Judge, Pair
from llm_canary.judging.labels import Labelled, LabelSet, people_grades
from llm_canary.judging.pairwise import compare
from llm_canary.rubric.checks import Checks
from llm_canary.rubric.grades import score
from llm_canary.rubric.load import LoadedRubric


async def anchor_verdicts(
    labels: LabelSet,
    judge: Judge,
    grader: Grader,
    note: Callable[[], None] = lambda: None,
    *,
    second: Judge | None = None,
) -> Anchors:
    """Return the judge's verdict on each anchor; anchors without one are left out.

    `second` is the judge that the grader asks where the first is in doubt; of pairs it never does.
    """
    verdicts: dict[str, str] = {}
    models: set[str] = set()
    second_models: set[str] = set()
    second_asked = 0

    async def ask(item: Labelled) -> None:
        nonlocal second_asked
        if item.responses is not None:
            compared = await compare(judge, Pair(item.sample, *item.responses))
            if compared.best_known is not None:
                verdicts[item.sample.id] = compared.best_known
        else:
            result = await grader.grade(item.sample)
            second_asked += len(result.judgements) > 1
            for seen, each in zip((models, second_models), result.judgements, strict=False):
                if each.reported_model:
                    seen.add(each.reported_model)
            if result.score.passed is not None:
                verdicts[item.sample.id] = str(result.score.passed)
        note()

    async for _ in each_bounded(ask, labels.items, CONCURRENCY):
        pass
    return Anchors(
        labels.hash,
        (grader.version or judge.version).id,
        tuple(sorted(models)),
        verdicts,
        second_id=second.version.id if second is not None else "",
        second_models=tuple(sorted(second_models)),
        second_asked=second_asked,
    )


def people_verdicts(rubric: LoadedRubric, labels: LabelSet) -> dict[str, str]:
    """Return people's verdict on each anchor, in the same words."""
    checks = Checks(rubric.rubric, rubric.schemas)
    found = {}
    for item in labels.items:
        if item.responses is not None:
            found[item.sample.id] = str(item.majority)
        else:
            grades = people_grades(item, rubric.rubric, checks)
            found[item.sample.id] = str(score(rubric.rubric, grades).passed)
    return found
