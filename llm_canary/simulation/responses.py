"""Draws responses: a batch of them in the order of arrival, as arrays."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llm_canary.errors import DataError
from llm_canary.metrics.builtin import response_rate_of
from llm_canary.metrics.spec import MetricSpec
from llm_canary.simulation.laws import Amount, Law, Rate, World, law_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]
_TABLE = 65_536  # entries from which a returning user is drawn


class Seen(NamedTuple):
    """One metric in a batch; larger is worse, as in `MetricSpec.value`."""

    value: Floats
    at: Ints | None = None  # positions of the responses that show it; None: all of them
    applies: Bools | None = None  # of every response; None: to all


@dataclass(slots=True)
class Batch:
    """Responses in the order of arrival, evenly spread over [start_s, end_s)."""

    start_s: float
    end_s: float
    stage: str
    share: float
    canary: Bools
    unit: Ints | None  # None: each response is of a unit that comes once
    seen: dict[str, Seen]

    def at_s(self, position: int) -> float:
        """Return when the response at `position` came."""
        return self.start_s + (self.end_s - self.start_s) * (position + 0.5) / len(self.canary)


class Source:
    """Who asks, and what they get, in one run."""

    def __init__(
        self, world: World, specs: Collection[MetricSpec], rng: np.random.Generator
    ) -> None:
        self._world = world
        self._rng = rng
        answered = {response_rate_of(spec.name): spec for spec in specs if spec.is_conditional}
        self._companions = set(answered)
        self._metrics = {spec.name: law_of(answered.get(spec.name, spec).name) for spec in specs}
        for name, law in self._metrics.items():
            if law not in world.control or law not in world.canary:
                known = ", ".join(sorted(world.control))
                raise DataError(
                    f"the simulation does not know how {name!r} answers; it knows {known}. "
                    "Give the plan other gates, or rehearse another plan"
                )
        self._users = _Users(world, rng) if world.returning else None

    def draw(self, n: int, *, start_s: float, end_s: float, stage: str, share: float) -> Batch:
        """Return a batch of `n` responses routed at `share`."""
        if self._users is None:
            unit, canary = None, self._rng.random(n, dtype=np.float32) < share
        else:
            unit = self._users.ask(n)
            canary = self._users.hash[unit] < share
        failed = self._bad("error_rate", canary, unit)
        done = np.flatnonzero(~failed)
        drawn: dict[str, Seen] = {}
        seen = {}
        for name, law in self._metrics.items():
            if law not in drawn:
                drawn[law] = self._draw(law, canary, unit, failed, done)
            seen[name] = _who_answers(drawn[law], n) if name in self._companions else drawn[law]
        return Batch(start_s, end_s, stage, share, canary, unit, seen)

    def _draw(self, law: str, canary: Bools, unit: Ints | None, failed: Bools, done: Ints) -> Seen:
        control = self._world.control[law]
        if law == "error_rate":
            return Seen(failed.astype(float))
        if isinstance(control, Amount):
            return Seen(self._amount(law, canary[done], None if unit is None else unit[done]), done)
        if law == "timeout_rate":
            return Seen((failed & self._timed_out(canary)).astype(float))
        at, applies = self._asked(law, canary, done)
        own = None if unit is None else unit if at is None else unit[at]
        bad = self._bad(law, canary if at is None else canary[at], own)
        return Seen(bad.astype(float), at, applies)

    def _asked(self, law: str, canary: Bools, done: Ints) -> tuple[Ints | None, Bools | None]:
        """Return the positions that show the rate, and to which responses it applies."""
        control, other = _rate(self._world.control[law]), _rate(self._world.canary[law])
        n = len(canary)
        asked = None
        if control.asked < 1.0 or other.asked < 1.0:
            share = control.asked
            if other.asked != control.asked:
                share = np.where(canary, other.asked, control.asked)  # type: ignore[assignment]
            asked = self._rng.random(n, dtype=np.float32) < share
        if law in _OF_ANSWERS:  # a failed response has no answer to look at
            at = done if asked is None else done[asked[done]]
            return at, asked if law == "invalid_output" else None
        return (None if asked is None else np.flatnonzero(asked)), None

    def _bad(self, law: str, canary: Bools, unit: Ints | None) -> Bools:
        control, other = _rate(self._world.control[law]).bad, _rate(self._world.canary[law]).bad
        u = self._rng.random(len(canary), dtype=np.float32)
        if self._users is None or unit is None:
            if control == other:
                return u < control
            return u < np.where(canary, other, control)
        own = self._users.level(law, control)[unit]
        if control != other:
            # Where the control is never bad nothing can be scaled.
            worse = own * (other / control) if control > 0.0 else np.full(len(own), other)
            own = np.where(canary, np.minimum(worse, 1.0), own)
        return u < own

    def _timed_out(self, canary: Bools) -> Bools:
        parts = []
        for answers in (self._world.control, self._world.canary):
            failed, late = _rate(answers["error_rate"]).bad, _rate(answers["timeout_rate"]).bad
            parts.append(min(late / failed, 1.0) if failed > 0.0 else 0.0)
        return self._rng.random(len(canary), dtype=np.float32) < np.where(canary, *parts[::-1])

    def _amount(self, law: str, canary: Bools, unit: Ints | None) -> Floats:
        control, other = _amount(self._world.control[law]), _amount(self._world.canary[law])
        z = self._rng.standard_normal(len(canary), dtype=np.float32).astype(float)
        if self._users is not None and unit is not None:
            icc = self._world.icc
            z = sqrt(icc) * self._users.latent(law)[unit] + sqrt(1.0 - icc) * z
        if control == other:
            alike: Floats = np.exp(log(control.median) + control.sigma * z)
            return alike
        medians = np.where(canary, log(other.median), log(control.median))
        values: Floats = np.exp(medians + np.where(canary, other.sigma, control.sigma) * z)
        return values


_OF_ANSWERS = ("invalid_output", "empty_rate", "refusal_rate")


class _Users:
    """A fixed population of unequal activity (gamma, shape 2), each with levels of its own."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self._rng = rng
        self._icc = world.icc
        units = world.returning
        activity = rng.gamma(2.0, size=units)
        copies = np.round(activity / activity.sum() * max(_TABLE, 8 * units)).astype(int)
        self._table = np.repeat(np.arange(units), np.maximum(copies, 1))
        self.hash = rng.random(units, dtype=np.float32)
        self._levels: dict[str, Floats] = {}

    def ask(self, n: int) -> Ints:
        """Return who asks the next `n` requests."""
        return self._table[self._rng.integers(0, len(self._table), n)]

    def level(self, law: str, rate: float) -> Floats:
        """Return each unit's own rate: Beta around `rate` with the intra-class correlation."""
        if law not in self._levels:
            many = (1.0 - self._icc) / self._icc
            own = np.full(len(self.hash), rate)
            if 0.0 < rate < 1.0:
                own = self._rng.beta(rate * many, (1.0 - rate) * many, len(self.hash))
            self._levels[law] = own
        return self._levels[law]

    def latent(self, law: str) -> Floats:
        """Return each unit's own part of the logarithm of an amount."""
        if law not in self._levels:
            self._levels[law] = self._rng.standard_normal(len(self.hash))
        return self._levels[law]


def _who_answers(seen: Seen, n: int) -> Seen:
    """Return the companion of a metric: 1 where nobody answered."""
    silent = np.zeros(n) if seen.at is None else np.ones(n)
    if seen.at is not None:
        silent[seen.at] = 0.0
    return Seen(silent)


def _rate(law: Law) -> Rate:
    if not isinstance(law, Rate):
        raise DataError(f"{law!r} is no rate")
    return law


def _amount(law: Law) -> Amount:
    if not isinstance(law, Amount):
        raise DataError(f"{law!r} is no amount")
    return law
