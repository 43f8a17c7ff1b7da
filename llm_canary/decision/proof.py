"""How the evidence for one gate grows with the days of its stage, were the arms truly equal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import sqrt

import msgspec
from scipy.special import ndtri

from llm_canary.decision.gates import LOOKS
from llm_canary.decision.plan import Stage
from llm_canary.decision.traffic import Scored, Traffic
from llm_canary.stats.boundaries import crossing, obrien_fleming
from llm_canary.stats.power import (
    Target,
    binary_variance,
    canary_size,
    days_with_returning_units,
    smallest_effect,
)

POWER = 0.9
KAPPA = 1.04  # price of the looks
DAY_S = 86_400.0
_MOST_PERCENT = 50  # a canary of more has less control to be compared with


@dataclass(frozen=True, slots=True)
class Spell:
    """Days at one share."""

    share: float
    days: float


@dataclass(frozen=True, slots=True)
class Proof:
    """How the evidence for one gate grows with the days of its stage."""

    traffic: Traffic
    found: Scored
    stage: Stage
    before: tuple[Spell, ...]
    margin: float
    alpha: float

    def chances(self, looks: tuple[float, ...], floor: float) -> tuple[float, ...]:
        """Return the chance, if equal, that one of the looks so far has shown it.

        A look compares S with V, which grants the canary the margin; S itself varies by W only.
        """
        bounds = obrien_fleming(self.alpha, LOOKS)[-len(looks) :]
        taken: list[tuple[float, float, float]] = []  # bound on S / sqrt(W), W, mean of S
        shown: list[float] = []
        for look, bound in zip(looks, bounds, strict=True):
            information, v, w = self._evidence(look)
            if self.effective_units(look) >= floor and w > (taken[-1][1] if taken else 0.0):
                taken.append((bound * sqrt(v / w), w, self.margin * information))
            shown.append(crossing(*zip(*taken, strict=True)) if taken else 0.0)
        return tuple(shown)

    def days(self, floor: float) -> float | None:
        """Return the days of collecting after which a look shows it with 90 %."""
        found = [
            days_with_returning_units(
                size, share=self.stage.share, daily=self._daily(self.stage.share)
            )
            for size in (self._missing_size, partial(self._missing_units, floor))
        ]
        return None if None in found else max(each for each in found if each is not None)

    def responses(self, days: float) -> float:
        """Return the canary responses with a value that the stage collects within `days`."""
        return self._daily(self.stage.share) * self.stage.share * days

    def smallest(self, look: float) -> float | None:
        """Return the effect that a look after `look` days shows with 90 %."""
        size = self._earlier() + self.responses(self._collected(look))
        if size <= 0.0:
            return None
        return smallest_effect(
            self._target(self._total(look)),
            variance=self._size_variance(),
            share=self.stage.share,
            size=size,
        )

    def share_needed(self, look: float) -> float | None:
        """Return the smallest share, in whole percent, at which `look` days would do."""
        for percent in range(1, _MOST_PERCENT + 1):
            stage = msgspec.structs.replace(self.stage, share=percent / 100.0)
            found = replace(self, stage=stage).smallest(look)
            if found is not None and found <= self.margin:
                return stage.share
        return None

    def effective_units(self, look: float) -> float:
        """Return the canary units, unequal activity discounted, in this stage and before it."""
        spells = (*self.before, Spell(self.stage.share, self._collected(look)))
        responses = sum(self._daily(spell.share) * spell.share * spell.days for spell in spells)
        return responses / self._clumping(self._total(look))

    def _daily(self, share: float) -> float:
        return self.found.daily(self.traffic.daily.value, share)

    def _collected(self, look: float) -> float:
        return max(look - (self.found.wait_s + self.found.warmup_s) / DAY_S, 0.0)

    def _total(self, days: float) -> float:
        return days + sum(spell.days for spell in self.before)

    def _evidence(self, look: float) -> tuple[float, float, float]:
        """Return I, V and W after `look` days, as the score process sums them over shares."""
        spells = (*self.before, Spell(self.stage.share, self._collected(look)))
        parts = [
            (self._daily(spell.share) * spell.days * spell.share * (1.0 - spell.share), spell.share)
            for spell in spells
        ]
        information = sum(part for part, _ in parts)
        v = sum(part * self._variance(share) for part, share in parts)
        clustered = inflation(self.traffic, self._total(look), self.found.icc, self.found.observed)
        return information, v * clustered, information * self.found.variance * clustered

    def _earlier(self) -> float:
        """Return what was collected before, in canary responses at this stage's share."""
        part = sum(
            self._daily(spell.share) * spell.days * spell.share * (1.0 - spell.share)
            for spell in self.before
        )
        return part / (1.0 - self.stage.share)

    def _missing_size(self, days: float) -> float:
        size = canary_size(
            self._target(self._total(days)),
            variance=self._size_variance(),
            share=self.stage.share,
        )
        return max(size - self._earlier(), 0.0)

    def _missing_units(self, floor: float, days: float) -> float:
        before = sum(self._daily(spell.share) * spell.days * spell.share for spell in self.before)
        return max(floor * self._clumping(self._total(days)) - before, 0.0)

    def _clumping(self, days: float) -> float:
        """Return E[n^2]/E[n] of the responses of a unit that have a value."""
        return 1.0 + self.found.observed * (self.traffic.clumping(days) - 1.0)

    def _variance(self, share: float) -> float:
        """Return v of V, which grants the canary the margin: the larger of the two that can be."""
        own = self.found.variance
        robust = own + self.margin**2 * (1.0 - share)
        if not self.found.spec.is_binary or not self.found.is_measured:
            return robust
        effect = max(min(self.margin, 0.999 - self.found.centre), 0.0)
        return max(binary_variance(self.found.centre, effect, share), robust)

    def _size_variance(self) -> float:
        """Return the variance that gives the size: v at the bound, the arms' own for the power."""
        at_bound, at_truth = float(ndtri(1.0 - self.alpha)), float(ndtri(POWER))
        v, own = self._variance(self.stage.share), self.found.variance
        return ((at_bound * sqrt(v) + at_truth * sqrt(own)) / (at_bound + at_truth)) ** 2

    def _target(self, days: float) -> Target:
        clustered = inflation(self.traffic, days, self.found.icc, self.found.observed)
        return Target(
            effect=self.margin,
            alpha=self.alpha,
            power=POWER,
            kappa=KAPPA,
            design_effect=clustered,
        )


def inflation(traffic: Traffic, days: float, icc: float, observed: float) -> float:
    """Return the design effect of units that return, of responses seen with chance `observed`."""
    return 1.0 + observed * (traffic.clumping(days) - 1.0) * icc
