"""How long a wanted number of canary responses takes, and whether so many are wanted."""

from __future__ import annotations

from math import ceil, sqrt

import msgspec

from llm_canary.stats.power import (
    Target,
    binary_variance,
    canary_size,
    days_for,
    equal_arm_size,
    full_cycles,
    z_squared,
)

TEXTBOOK_ALPHA, TEXTBOOK_POWER = 0.05, 0.8  # two-sided
_RATES = (0.5, 0.1)  # the worst case, and what fails one time in ten
_LARGEST_EFFECT = 0.25  # above it the rate of a half no longer stands for others


class Size(msgspec.Struct, frozen=True):
    """Canary responses that suffice at one rate, and the whole days they take."""

    rate: float
    responses: int
    days: float


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """The days until `needed` canary responses are there."""

    daily: float
    share: float
    needed: float
    canary_daily: float
    days: float
    effect: float | None = None  # that a textbook's two equal arms of about that size show
    equal_arm: int | None = None  # exact size of each of them
    with_large_control: tuple[Size, ...] = ()  # for the same effect, the control having the rest


def collection(*, daily: float, share: float, needed: float) -> Collection:
    """Return how long `needed` canary responses take at `share` of `daily`."""
    days = days_for(needed, share=share, daily=daily)
    base = Collection(
        daily=daily, share=share, needed=needed, canary_daily=share * daily, days=days
    )
    z2 = z_squared(TEXTBOOK_ALPHA / 2.0, TEXTBOOK_POWER)
    effect = _two_digits(sqrt(z2 * 0.5 / needed)) if needed > 0.0 else 1.0
    if effect > _LARGEST_EFFECT:
        return base
    target = Target(effect, alpha=TEXTBOOK_ALPHA / 2.0, power=TEXTBOOK_POWER)
    sizes = []
    for rate in _RATES:
        variance = binary_variance(rate, effect, share)
        size = canary_size(target, variance=variance, share=share)
        sizes.append(Size(rate, ceil(size), full_cycles(days_for(size, share=share, daily=daily))))
    return msgspec.structs.replace(
        base,
        effect=effect,
        equal_arm=ceil(equal_arm_size(0.5, effect, alpha=TEXTBOOK_ALPHA, power=TEXTBOOK_POWER)),
        with_large_control=tuple(sizes),
    )


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")
