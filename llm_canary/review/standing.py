"""Where a sample stands after whatever people have said of it: its human score and its state.

Every act that changes what counts ends here, so that score and state always follow from the rows
alone: final labels where somebody has adjudicated, else the reviews that count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from statistics import fmean
from typing import Any

from sqlmodel import Session

from llm_canary.errors import Conflict, DataError, NotFound
from llm_canary.judging.labels import HumanLabel, Labelled, people_grades
from llm_canary.judging.material import stored_sample
from llm_canary.rubric.checks import Checks
from llm_canary.rubric.grades import Score, grade, score
from llm_canary.rubric.keep import restore
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.prompt import CANNOT_ASSESS
from llm_canary.rubric.sample import Sample
from llm_canary.storage.repositories import counted
from llm_canary.storage.repositories import reviews as queue
from llm_canary.storage.repositories.rubrics import rubric_text
from llm_canary.storage.repositories.samples import texts

_PAIR = 2


def settle(
    session: Session,
    sample: Any,  # noqa: ANN401 - a row of `sample`, whose class is the storage's own
    *,
    to_adjudicate: bool = False,
) -> str:
    """Make the sample's human score and state what the rows say; return the state.

    `adjudicate` ends by final labels only. A sample without any label that counts has no score,
    and counts as not reviewed.
    """
    final = counted.final_of(session, sample.id)
    given = counted.counted_reviews(session, [sample.id]).get(sample.id, {})
    labelled: dict[str, Mapping[str, Any]] = {who: row.labels for who, row in given.items()}
    state = _state(sample, is_final=final is not None, n=len(labelled))
    if to_adjudicate and final is None:
        state = queue.ADJUDICATE
    if final is not None:
        labelled = {final.decided_by: final.labels}
    value, passed = _human(session, sample, labelled)
    if not labelled:
        sample.reviewed_at = None
    said_at = (
        final.at if final is not None else max((row.at for row in given.values()), default=None)
    )
    queue.set_human(session, sample, score=value, passed=passed, state=state, at=said_at)
    return state


def checked_labels(rubric: LoadedRubric, labels: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels by their names, as judges' grades have them, so that they compare.

    Raise DataError unless every criterion that is asked has a label, and nothing else.
    """
    asked = {each.id: each for each in rubric.rubric.asked}
    if unknown := sorted(labels.keys() - asked.keys()):
        raise DataError(
            f"{unknown[0]!r} is no criterion that people grade; expected {', '.join(asked)}"
        )
    if absent := [name for name in asked if name not in labels]:
        raise DataError(
            f"{absent[0]!r} has no label; give one of every criterion, {CANNOT_ASSESS!r} included"
        )
    return {
        name: CANNOT_ASSESS if label == CANNOT_ASSESS else grade(asked[name], label).label
        for name, label in labels.items()
    }


def refuse_excluded(session: Session, reviewer: str) -> None:
    """Raise Conflict when the reviewer's labels count for nothing: nobody should work in vain."""
    if counted.exclusion_of(session, reviewer) is not None:
        raise excluded(reviewer)


def excluded(reviewer: str) -> Conflict:
    """Return why somebody is given nothing to review."""
    return Conflict(
        f"the reviews of {reviewer!r} do not count at present; ask who runs the reviews",
        code="reviewer_excluded",
    )


def known_sample(session: Session, sample_id: str, *, lock: bool = False) -> Any:  # noqa: ANN401
    """Return the row of the sample; raise NotFound."""
    sample = queue.sample_of(session, sample_id, lock=lock)
    if sample is None:
        raise NotFound(
            f"there is no sample {sample_id!r}; `review export --open` lists those to review"
        )
    return sample


def stored_rubric(session: Session, text_id: str) -> LoadedRubric:
    """Return the rubric that a sample was drawn under; raise NotFound.

    An id is the hash of its text, so that what was read once need not be read again.
    """
    known = _known(text_id)
    if not known:
        text = rubric_text(session, text_id)
        if text is None:
            raise NotFound("the rubric that the sample was drawn under is not stored")
        known.append(restore(text))
    return known[0]


def material(session: Session, inference_id: str) -> Sample | None:
    """Return the recorded exchange; None where its text is not kept any more."""
    return stored_sample(inference_id, texts(session, [inference_id]).get(inference_id))


@lru_cache(maxsize=32)
def _known(text_id: str) -> list[LoadedRubric]:
    """Return where the rubric is kept once it was read; a text that is not stored is none."""
    del text_id
    return []


def _state(sample: Any, *, is_final: bool, n: int) -> str:  # noqa: ANN401
    if is_final:
        return queue.DONE
    if sample.review_state == queue.ADJUDICATE:
        return queue.ADJUDICATE
    return queue.DONE if n >= sample.reviews_wanted else queue.OPEN


def _human(
    session: Session,
    sample: Any,  # noqa: ANN401
    labelled: Mapping[str, Mapping[str, Any]],
) -> tuple[float | None, bool | None]:
    """Return score and verdict of what most of the reviewers say.

    The points of two are the mean of both: where they are divided there is no majority, and without
    any points just the hard answers would count as unanswered.
    """
    if not labelled:
        return None, None
    found = material(session, sample.inference_id)
    if found is None:  # its text is not kept any more; what was known by it stays
        return sample.human_score, sample.human_passed
    rubric = stored_rubric(session, sample.rubric_text_id)
    checks = Checks(rubric.rubric, rubric.schemas)

    def said(names: Iterable[str]) -> Score:
        labels = tuple(
            HumanLabel(name, criterion, label)
            for name in names
            for criterion, label in labelled[name].items()
        )
        return score(rubric.rubric, people_grades(Labelled(found, labels), rubric.rubric, checks))

    together = said(labelled)
    if len(labelled) != _PAIR:
        return together.value, together.passed
    alone = [value for name in labelled if (value := said([name]).value) is not None]
    return fmean(alone) if alone else None, together.passed
