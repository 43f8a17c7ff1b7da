"""Whether a judge may decide: its agreement with people, against the rubric's `trust:` block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import combinations
from math import sqrt
from typing import NamedTuple

from msgspec import Struct

from llm_canary.rubric.schema import TrustEntry
from llm_canary.stats.agreement import (
    Agreement,
    Coefficient,
    Level,
    Weights,
    agreement,
    cohen_kappa,
    confusion,
    krippendorff_alpha,
)

MIN_SHARED = 20  # items that two people both rated, below which their kappa says nothing
MAX_RATERS = 6  # with more, the crowd's alpha stands for the kappa between people
OVERALL = "passed"
ARM_TAG = "arm"
_Z_ARMS = 2.575829  # 99 %, two-sided
MIN_STRATUM = 10


class Standing(StrEnum):
    """What a calibration comes to."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    NOT_ENOUGH = "not_enough"  # labels to tell


class Rated(NamedTuple):
    """One item: what people and the judge say, as numbers of one scale."""

    human: float
    judge: float
    raters: Mapping[str, float] = {}  # each person by themselves
    tags: Mapping[str, str] = {}


class Subject(Struct, frozen=True):
    """The agreement about one thing that is graded: a criterion, the whole, or a preference."""

    name: str
    n: int
    agreement: Coefficient | None
    kappa: Coefficient | None
    ac1: Coefficient | None
    human_kappa: float | None  # between people; None: one person, or too few shared items
    alpha: float | None  # Krippendorff's, between people
    relative_kappa: float | None  # kappa with people over kappa between people
    standing: Standing
    reasons: tuple[str, ...] = ()


def assess(
    name: str,
    rated: Sequence[Rated],
    trust: TrustEntry,
    *,
    weights: Weights = "none",
    level: Level = "nominal",
) -> Subject:
    """Return the agreement of judge and people on one scale, and what it comes to."""
    found = agreement(
        [each.human for each in rated], [each.judge for each in rated], weights=weights
    )
    people, alpha = _between_people(rated, weights, level)
    kappa = found.kappa if found else None
    relative = kappa.value / people if kappa and people is not None and people > 0.0 else None
    standing, reasons = _standing(len(rated), found, relative, trust)
    return Subject(
        name,
        len(rated),
        found.agreement if found else None,
        kappa,
        found.ac1 if found else None,
        people,
        alpha,
        relative,
        standing,
        reasons,
    )


def by_stratum(
    rated: Sequence[Rated], trust: TrustEntry, *, weights: Weights = "none"
) -> dict[str, Subject]:
    """Return the agreement within each value of each tag that has enough items."""
    groups: dict[str, list[Rated]] = defaultdict(list)
    for each in rated:
        for tag, value in each.tags.items():
            groups[f"{tag}={value}"].append(each)
    return {
        name: assess(name, group, trust, weights=weights)
        for name, group in sorted(groups.items())
        if len(group) >= MIN_STRATUM
    }


def arms_differ(strata: Mapping[str, Subject]) -> str | None:
    """Return why the judge errs differently on the two arms, None when nothing shows that.

    The one error that fakes a win: a judge that under-rates one arm agrees with people on average.
    The agreements differ when their score intervals (Wilson 1927) of 99 % lie apart: it is asked
    again with every label, and a bootstrap of few labels that all agree has no width at all.
    """
    arms = [
        (name, each.agreement.value, _score_interval(each.agreement.value, each.n))
        for name, each in strata.items()
        if name.startswith(f"{ARM_TAG}=") and each.agreement is not None
    ]
    for (first, a, of_first), (second, b, of_second) in combinations(arms, 2):
        if of_first[1] < of_second[0] or of_second[1] < of_first[0]:
            return f"agreement is {a:.2f} on {first} and {b:.2f} on {second}"
    return None


def _score_interval(share: float, n: int) -> tuple[float, float]:
    z2 = _Z_ARMS**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = sqrt(z2 * share * (1 - share) / n + z2**2 / (4 * n**2)) / (1 + z2 / n)
    return centre - half, centre + half


def worst(standings: Iterable[Standing]) -> Standing:
    """Return the one that counts for all."""
    order = [Standing.UNTRUSTED, Standing.NOT_ENOUGH, Standing.TRUSTED]
    return min(standings, key=order.index, default=Standing.NOT_ENOUGH)


def _standing(
    n: int, found: Agreement | None, relative: float | None, trust: TrustEntry
) -> tuple[Standing, tuple[str, ...]]:
    if n < trust.min_labels:
        return Standing.NOT_ENOUGH, (f"{n} labels; {trust.min_labels} are needed",)
    if found is None or found.kappa is None:
        return Standing.NOT_ENOUGH, ("all labels are alike, so agreement cannot be told from luck",)
    kappa, bar = found.kappa, trust.min_kappa_low
    reasons = []
    standing = Standing.TRUSTED
    if kappa.lower < bar:
        reasons.append(
            f"kappa {kappa.value:.2f} [{kappa.lower:.2f}, {kappa.upper:.2f}]; "
            f"its lower end has to reach {bar:g}"
        )
        standing = Standing.NOT_ENOUGH if kappa.value >= bar else Standing.UNTRUSTED
    if relative is not None and relative < trust.min_relative_kappa:
        reasons.append(
            f"kappa is {relative:.2f} of that between people; "
            f"{trust.min_relative_kappa:g} is needed"
        )
        standing = Standing.UNTRUSTED
    return standing, tuple(reasons)


def _between_people(
    rated: Sequence[Rated], weights: Weights, level: Level
) -> tuple[float | None, float | None]:
    names = sorted({name for each in rated for name in each.raters})
    if len(names) < 2:
        return None, None
    alpha = krippendorff_alpha(
        [[each.raters.get(name) for name in names] for each in rated], level=level
    )
    if len(names) > MAX_RATERS:
        shared = sum(len(each.raters) > 1 for each in rated)
        return (alpha if shared >= MIN_SHARED else None), alpha
    kappas = []
    for first, second in combinations(names, 2):
        both = [each.raters for each in rated if first in each.raters and second in each.raters]
        if len(both) < MIN_SHARED:
            continue
        table = confusion([each[first] for each in both], [each[second] for each in both])
        kappa = cohen_kappa(table, weights=weights)
        if kappa is not None:
            kappas.append(kappa)
    return (sum(kappas) / len(kappas) if kappas else None), alpha
