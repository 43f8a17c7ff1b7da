"""What a rollout's arms have come to over time, read from the rollups; never from inferences.

A bin in which nothing happened is absent, which is not the same as zero.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

from sqlalchemy import case, extract, func, select
from sqlmodel import Session, col

from llm_canary.clock import utc
from llm_canary.routing.table import Role
from llm_canary.sampling import Stream
from llm_canary.stats.histogram import LogHistogram, packed_quantile, packed_quantiles
from llm_canary.storage import rollups
from llm_canary.storage.models.grading import Sample
from llm_canary.storage.models.rollups import RollupBin

MOST_POINTS = 300
MOST_SCORED = 8_000  # the newest ones: reading 20,000 takes 30 ms
_READ = ("starts_s", "arm", *rollups.COUNTS, *rollups.HISTOGRAMS)
_TENTHS = tuple(number / 10 for number in range(1, 10))


@dataclass(frozen=True)
class Window:
    """From when until when, in UTC seconds, and how wide a bin is."""

    since_s: float
    until_s: float
    step_s: int


@dataclass(frozen=True)
class Point:
    """What one arm comes to within some time; histograms as they are stored."""

    counts: Mapping[str, int]
    histograms: tuple[bytes, ...]

    def quantile(self, name: str, q: float) -> float | None:
        """Return a quantile of "latency", "ttft" or "output_tokens"."""
        return packed_quantile(self.histograms[rollups.HISTOGRAMS.index(name)], q)

    def histogram(self, name: str) -> LogHistogram:
        """Return the distribution of "latency", "ttft" or "output_tokens"."""
        return LogHistogram.unpacked(self.histograms[rollups.HISTOGRAMS.index(name)])


class Spent(NamedTuple):
    """Money as it was charged for the compared responses of one arm whose cost is known."""

    nanousd: int = 0
    responses: int = 0


@dataclass
class Scores:
    """Scores 0 to 1 of drawn answers: how many, their sum, how many in each tenth."""

    count: int = 0
    total: float = 0.0
    tenths: list[int] = field(default_factory=lambda: [0] * 10)


def window(
    session: Session, rollout_id: str, since_s: float, until_s: float, *, began_s: float = -inf
) -> Window:
    """Return the window with the finest step that is still kept and makes few enough points.

    Its first bin is whole, but for what lies before the rollout began.
    """
    span_s, fine_since_s = max(until_s - since_s, 0.0), _fine_since_s(session, rollout_id)
    for step in rollups.STEPS_S:
        is_kept = step not in rollups.FINE_STEPS_S or since_s >= fine_since_s
        if is_kept and span_s / step < MOST_POINTS:
            return whole_bins(since_s, until_s, step, began_s)
    coarsest = rollups.STEPS_S[-1]
    step = (int(span_s / coarsest / MOST_POINTS) + 1) * coarsest
    return whole_bins(since_s, until_s, step, began_s)


def whole_bins(since_s: float, until_s: float, step_s: int, began_s: float) -> Window:
    """Return the window from the start of the bin that `since_s` lies in, or from `began_s` on."""
    return Window(max(since_s // step_s * step_s, began_s), until_s, step_s)


def _fine_since_s(session: Session, rollout_id: str) -> float:
    """Return since when fine bins are there; older ones have been dropped."""
    fine, coarse = (
        session.execute(
            select(func.min(RollupBin.starts_s)).where(
                col(RollupBin.rollout_id) == rollout_id, col(RollupBin.step_s) == step
            )
        ).scalar()
        for step in (rollups.FINE_STEPS_S[-1], rollups.COARSE_STEPS_S[0])
    )
    if coarse is None or (fine is not None and fine < coarse + rollups.COARSE_STEPS_S[0]):
        return -inf
    return inf if fine is None else float(fine)


def arms_over_time(
    session: Session, rollout_id: str, shown: Window
) -> dict[Role, dict[int, Point]]:
    """Return what both arms come to by the start of the bin."""
    stored_s = min(shown.step_s, rollups.STEPS_S[-1])
    columns: list[Any] = [getattr(RollupBin, name) for name in _READ]
    query = select(*columns).where(
        col(RollupBin.rollout_id) == rollout_id,
        col(RollupBin.step_s) == stored_s,
        col(RollupBin.starts_s) > shown.since_s - stored_s,
        col(RollupBin.starts_s) < shown.until_s,
        col(RollupBin.arm).in_([role.value for role in Role]),
    )
    found: dict[Role, dict[int, list[Point]]] = {role: {} for role in Role}
    for starts_s, arm, *rest in session.execute(query.order_by(col(RollupBin.starts_s))):
        counts = dict(zip(rollups.COUNTS, rest, strict=False))
        point = Point(counts, tuple(rest[len(rollups.COUNTS) :]))
        found[Role(arm)].setdefault(starts_s // shown.step_s * shown.step_s, []).append(point)
    return {
        role: {
            starts_s: points[0] if len(points) == 1 else total(points)
            for starts_s, points in arm.items()
        }
        for role, arm in found.items()
    }


def quantiles(
    points: Mapping[int, Point], name: str, qs: Sequence[float]
) -> dict[float, dict[int, float | None]]:
    """Return by quantile and start of the bin what `Point.quantile` returns, all read in one go."""
    place = rollups.HISTOGRAMS.index(name)
    found = packed_quantiles([point.histograms[place] for point in points.values()], qs)
    return {q: dict(zip(points, own, strict=True)) for q, own in zip(qs, found, strict=True)}


def total(points: Collection[Point]) -> Point:
    """Return what the points come to together."""
    return Point(
        {name: sum(point.counts[name] for point in points) for name in rollups.COUNTS},
        tuple(
            LogHistogram.sum_of(point.histograms[place] for point in points).packed()
            for place in range(len(rollups.HISTOGRAMS))
        ),
    )


def spent(session: Session, rollout_id: str) -> tuple[Spent, Spent]:
    """Return what both arms, control and canary, have cost since the rollout began."""
    sums = func.sum(RollupBin.cost_nanousd), func.sum(RollupBin.cost_known)
    query = select(col(RollupBin.arm), *sums).where(
        col(RollupBin.rollout_id) == rollout_id,
        col(RollupBin.step_s) == rollups.STEPS_S[-1],
    )
    found = {
        arm: Spent(int(nanousd), int(responses))
        for arm, nanousd, responses in session.execute(query.group_by(col(RollupBin.arm)))
    }
    return found.get(Role.CONTROL, Spent()), found.get(Role.CANARY, Spent())


def scores_over_time(
    session: Session, rollout_id: str, shown: Window
) -> dict[str, dict[Role, dict[int, Scores]]]:
    """Return the scores by rubric, arm and bin: of judges, of people where no judge grades.

    Only answers drawn by chance: those drawn because they are worth a look say nothing of the rest.
    """
    score = func.coalesce(Sample.judge_score, Sample.human_score)
    second = extract("epoch", col(Sample.drawn_at)).label("second")  # once for each row
    read: list[Any] = [Sample.rubric_id, Sample.arm, second, score.label("score")]
    newest = (
        select(*read)
        .where(
            col(Sample.rollout_id) == rollout_id,
            col(Sample.drawn_at) >= utc(shown.since_s),
            col(Sample.drawn_at) <= utc(shown.until_s),
            col(Sample.stream) == Stream.PROBABILITY.value,
            score.is_not(None),
        )
        .order_by(col(Sample.drawn_at).desc())
        .limit(MOST_SCORED)
        .subquery()
    )
    starts = newest.c.second - newest.c.second % shown.step_s
    below = [func.sum(case((newest.c.score < tenth, 1), else_=0)) for tenth in _TENTHS]
    key = (newest.c.rubric_id, newest.c.arm, starts)
    columns: list[Any] = [*key, func.count(), func.sum(newest.c.score), *below]
    query = select(*columns).group_by(*reversed(key))  # rows come by time: the least to sort
    found: dict[str, dict[Role, dict[int, Scores]]] = {}
    for rubric, arm, starts_s, count, summed, *upto in session.execute(query):
        if arm not in {role.value for role in Role}:
            continue
        edges = [0, *upto, count]
        tenths = [edges[place + 1] - edges[place] for place in range(10)]
        of_rubric = found.setdefault(rubric, {role: {} for role in Role})
        of_rubric[Role(arm)][int(starts_s)] = Scores(count, float(summed), tenths)
    return found
