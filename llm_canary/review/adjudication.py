"""Deciding what reviewers and judges see differently: final labels, with a reason.

Final labels become the human score of the sample. They do not enter what judges are compared with:
who decides has seen the judge's grades. Who decides does not see the arm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.engine import Engine

from llm_canary.clock import Clock, utc
from llm_canary.errors import InvalidRequest, NotFound
from llm_canary.review.standing import checked_labels, known_sample, material, settle, stored_rubric
from llm_canary.review.views import Disagreement, disagreements
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.sample import Sample
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories import counted
from llm_canary.storage.repositories import desk as rows
from llm_canary.storage.repositories.counted import Final
from llm_canary.storage.repositories.desk import Given
from llm_canary.storage.repositories.reviews import MAX_SKIPS, SKIPPED, gold_of

PEOPLE, JUDGE, SKIPS, FLAG, REVISED = "people", "judge", "skips", "flag", "revised"


class Case(NamedTuple):
    """A sample about which somebody has to decide, and why: the first reason that applies."""

    sample_id: str
    why: str  # people, judge, skips, flag, revised
    said: tuple[Disagreement, ...]


class OpenedCase(NamedTuple):
    """Everything that was said of a sample; not the arm."""

    sample_id: str
    rubric: LoadedRubric
    sample: Sample
    reviews: tuple[Given, ...]  # every revision, the oldest first
    judge: Mapping[str, Any] | None
    final: Final | None
    is_gold: bool
    state: str | None


class Issue(NamedTuple):
    """A criterion whose wording let people differ, by those who decided."""

    rubric: str
    criterion: str
    times: int
    reasons: tuple[str, ...]


class Adjudications:
    """Lists what is to be decided, and decides."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def cases(self, rubric_id: str) -> list[Case]:
        """Return all that is to be decided: asked for by people first, then what differs."""
        with read_session(self._engine) as session:
            found: dict[str, Case] = {}
            for name, skips in counted.to_adjudicate(session, rubric_id):
                why = SKIPS if skips >= MAX_SKIPS else REVISED
                found[name] = Case(name, why, ())
            for name, _ in counted.flagged(session, rubric_id):
                found.setdefault(name, Case(name, FLAG, ()))
            by_sample: dict[str, list[Disagreement]] = defaultdict(list)
            for each in disagreements(session, rubric_id):
                by_sample[each.sample_id].append(each)
        for name, own in by_sample.items():
            if name in found:
                found[name] = found[name]._replace(said=tuple(own))
            else:
                kind = PEOPLE if any(each.kind == PEOPLE for each in own) else JUDGE
                found[name] = Case(name, kind, tuple(own))
        order = (SKIPS, FLAG, REVISED, PEOPLE, JUDGE)
        return sorted(found.values(), key=lambda case: order.index(case.why))

    def open(self, sample_id: str) -> OpenedCase:
        """Return everything that was said of the sample."""
        with read_session(self._engine) as session:
            sample = known_sample(session, sample_id)
            found = material(session, sample.inference_id)
            if found is None:
                raise NotFound(f"the text of sample {sample_id} is not kept any more")
            return OpenedCase(
                sample_id,
                stored_rubric(session, sample.rubric_text_id),
                found,
                tuple(rows.reviews_of(session, sample_id)),
                rows.judged(session, sample),
                counted.final_of(session, sample_id),
                gold_of(session, sample_id) is not None,
                sample.review_state,
            )

    def decide(
        self,
        sample_id: str,
        labels: Mapping[str, Any],
        *,
        by: str,
        reason: str,
        unclear: Sequence[str] = (),
    ) -> Final:
        """Make the labels final: they are the sample's human score from now on."""
        now = utc(self._clock.now_s())
        with write_session(self._engine) as session:
            sample = known_sample(session, sample_id, lock=True)
            rubric = stored_rubric(session, sample.rubric_text_id)
            known = [each.id for each in rubric.rubric.asked]
            if strange := [each for each in unclear if each not in known]:
                raise InvalidRequest(
                    f"{strange[0][:80]!r} is no criterion of {rubric.rubric.id}; "
                    f"expected {', '.join(known)}",
                    param="unclear",
                )
            final = Final(
                sample_id, by, now, checked_labels(rubric, labels), reason, tuple(unclear)
            )
            counted.add_final(session, final)
            rows.settle_flags(session, sample_id, now)
            settle(session, sample)
        return final

    def look(self, sample_id: str) -> int:
        """Note that the flags of a sample were looked at; return how many there were."""
        with write_session(self._engine) as session:
            known_sample(session, sample_id)
            return rows.settle_flags(session, sample_id, utc(self._clock.now_s()))

    def issues(self, limit: int = 500) -> list[Issue]:
        """Return the criteria that were called unclear, the most often named first."""
        with read_session(self._engine) as session:
            finals = [each for each in counted.finals(session, limit) if each.unclear]
            samples = counted.samples_of(session, [each.sample_id for each in finals])
            found: dict[tuple[str, str], list[str]] = defaultdict(list)
            for each in finals:
                for criterion in each.unclear:
                    found[samples[each.sample_id].rubric_id, criterion].append(each.reason)
        issues = [
            Issue(rubric, criterion, len(reasons), tuple(reasons[:5]))
            for (rubric, criterion), reasons in found.items()
        ]
        return sorted(issues, key=lambda issue: (-issue.times, issue.rubric, issue.criterion))


def skips_of(reviews: Sequence[Given]) -> list[tuple[str, str]]:
    """Return who has skipped the sample, and why."""
    return [(each.reviewer, each.comment or "") for each in reviews if each.status == SKIPPED]
