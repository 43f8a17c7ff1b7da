"""The planner: what a plan will take of a given traffic, were canary and control truly equal.

Sizes come from `stats.power` with the error rate of the planned looks. Chances use the looks
themselves: their times, their bounds, the floors below which no look counts, and the evidence of
earlier stages, which the engine pools. Left out are always-valid evidence, which may settle a gate
between two looks, and what may stop an equal canary: a segment flagged by chance, and a last stage
whose own difference alone exceeds the margin.
"""

from __future__ import annotations

from math import log, prod

import msgspec

from llm_canary.decision.gates import least_units, look_times_s
from llm_canary.decision.plan import Gate, Grading, MetricKind, Plan, Stage
from llm_canary.decision.proof import DAY_S, POWER, Proof, Spell, inflation
from llm_canary.decision.rules import AV_PART, alpha_promote, graded_by, measured
from llm_canary.decision.traffic import Assumption, Scored, Traffic, scored, written_margin
from llm_canary.decision.words import value_text
from llm_canary.metrics.spec import Scale, Unit
from llm_canary.stats.power import full_cycles

_NANO = 1e9


class GateForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One gate in one stage; sizes are the stage's own, days whole traffic cycles."""

    metric: str
    kind: MetricKind
    margin: float  # on the scored scale, the ladder's factor applied
    written: str  # the same as the file writes it
    is_measured: bool
    is_rate: bool
    needed_responses: float | None = None  # canary responses with a value; None: not in a year
    needed_units: float | None = None
    days: float | None = None
    chances: tuple[float, ...] = ()  # of being shown by each look, if equal
    smallest: float | None = None  # effect that the stage's maximum shows with 90 %
    smallest_text: str = ""
    floor_units: float = 0.0  # effective canary units below which nothing counts
    units_at_max: float = 0.0  # effective canary units at the stage's end
    is_floor_reached: bool = True
    wider_factor: float | None = None  # of the margin, which would do
    share_needed: float | None = None  # which would do, if any up to a half


class StageForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One measured stage."""

    name: str
    share: float
    looks_days: tuple[float, ...]
    chances: tuple[float, ...]  # of having passed by each look, if equal
    days_min: float
    days_expected: float
    days_max: float
    binding: str | None  # the gate that takes longest
    gates: tuple[GateForecast, ...]
    canary_responses: float  # expected, as all below
    exposed_units: float  # that have met the canary when the stage ends
    canary_usd: float | None = None
    extra_usd: float | None = None  # above what the control would cost; None: not known


class GradingForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What one rubric asks of judges and people until the canary is at full, as expected."""

    rubric: str
    judge: str | None  # None: programs decide
    judged: float  # answers of both arms
    reviews: float


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan takes."""

    plan: str
    stages: tuple[StageForecast, ...]
    days_min: float
    days_expected: float
    days_max: float
    chance: float  # of reaching full without a person, if equal; gates taken as independent
    chance_at_least: float  # whatever their dependence (Bonferroni)
    units_daily: float
    independent_daily: float  # responses of different units that a day's responses are worth
    canary_usd: float | None
    standby_days: float
    standby_usd: float | None
    assumptions: tuple[Assumption, ...]
    unknown: tuple[str, ...]  # deciding metrics of which nothing is known or can be assumed
    grading: tuple[GradingForecast, ...] = ()


def forecast(plan: Plan, traffic: Traffic, *, attempt: int = 1) -> Forecast:
    """Return what `plan` takes of `traffic`; `attempt` counts tries with the same canary."""
    names = dict.fromkeys(gate.metric for stage in measured(plan) for gate in _deciding(stage))
    known = {name: scored(plan, name, traffic) for name in names}
    stages: list[StageForecast] = []
    spells: tuple[Spell, ...] = ()
    for stage in measured(plan):
        one = _Stage(plan, stage, traffic, spells, attempt).forecast(known)
        stages.append(one)
        spells = (*spells, Spell(stage.share, one.days_expected))
    chance = prod(stage.chances[-1] for stage in stages) * (1.0 - plan.alpha_rollback)
    missed = sum(1.0 - gate.chances[-1] for stage in stages for gate in stage.gates)
    standby = [stage for stage in plan.stages if not stage.is_measured and stage.for_s > 0.0]
    usd = [stage.canary_usd for stage in stages if stage.canary_usd is not None]
    cost = _canary_cost(traffic)
    standby_days = sum(stage.for_s for stage in standby) / DAY_S
    return Forecast(
        plan=plan.name,
        stages=tuple(stages),
        days_min=sum(stage.days_min for stage in stages),
        days_expected=sum(stage.days_expected for stage in stages),
        days_max=sum(stage.days_max for stage in stages),
        chance=chance,
        chance_at_least=min(max(1.0 - missed - plan.alpha_rollback, 0.0), chance),
        units_daily=traffic.units_daily,
        independent_daily=traffic.daily.value / inflation(traffic, 1.0, traffic.icc.value, 1.0),
        canary_usd=sum(usd) if len(usd) == len(stages) else None,
        standby_days=standby_days,
        standby_usd=None
        if cost is None
        else sum(stage.for_s / DAY_S * stage.share for stage in standby)
        * traffic.daily.value
        * cost
        / _NANO,
        assumptions=(
            *_shared(traffic),
            *(a for one in known.values() if one for a in one.assumptions),
        ),
        unknown=tuple(name for name, one in known.items() if one is None),
        grading=tuple(
            _grading(name, terms, traffic, spells) for name, terms in graded_by(plan).items()
        ),
    )


def _grading(
    rubric: str, terms: Grading, traffic: Traffic, spells: tuple[Spell, ...]
) -> GradingForecast:
    judged = sum(
        2.0
        * spell.days
        * min(terms.samples_per_day, traffic.daily.value * min(spell.share, 1.0 - spell.share))
        for spell in spells
    )
    return GradingForecast(
        rubric=rubric,
        judge=terms.judge if terms.needs_judge else None,
        judged=judged,
        reviews=judged * terms.review_rate * (1.0 + terms.double_review_rate),
    )


def _deciding(stage: Stage) -> tuple[Gate, ...]:
    return tuple(gate for gate in stage.gates if gate.kind is not MetricKind.SECONDARY)


class _Stage:
    """One stage after the spells of those before it."""

    def __init__(
        self,
        plan: Plan,
        stage: Stage,
        traffic: Traffic,
        before: tuple[Spell, ...],
        attempt: int,
    ) -> None:
        self._plan = plan
        self._stage = stage
        self._traffic = traffic
        self._before = before
        self._alpha = alpha_promote(plan, attempt) * (1.0 - AV_PART)
        self._looks = tuple(time / DAY_S for time in look_times_s(plan, stage))

    def forecast(self, known: dict[str, Scored | None]) -> StageForecast:
        gates = [
            self._gate(gate, found)
            for gate in _deciding(self._stage)
            if (found := known[gate.metric]) is not None
        ]
        is_complete = len(gates) == len(_deciding(self._stage)) > 0
        chances = tuple(
            prod(gate.chances[k] for gate in gates) if is_complete else 0.0
            for k in range(len(self._looks))
        )
        expected = self._mean_days(chances)
        slowest = max(gates, key=lambda gate: self._mean_days(gate.chances), default=None)
        responses = expected * self._traffic.daily.value * self._stage.share
        cost, control = _canary_cost(self._traffic), self._traffic.cost
        return StageForecast(
            name=self._stage.name,
            share=self._stage.share,
            looks_days=self._looks,
            chances=chances,
            days_min=self._looks[0],
            days_expected=expected,
            days_max=self._looks[-1],
            binding=None if slowest is None else slowest.metric,
            gates=tuple(gates),
            canary_responses=responses,
            exposed_units=self._exposed(expected),
            canary_usd=None if cost is None else responses * cost / _NANO,
            extra_usd=responses * (cost - control.value) / _NANO
            if cost is not None and control is not None and self._traffic.canary_cost is not None
            else None,
        )

    def _mean_days(self, chances: tuple[float, ...]) -> float:
        """Return the mean days to a pass; what has not passed at the end counts as the maximum."""
        days, passed = 0.0, 0.0
        for look, chance in zip(self._looks, chances, strict=True):
            days += look * (chance - passed)
            passed = chance
        return days + self._looks[-1] * (1.0 - passed)

    def _exposed(self, days: float) -> float:
        """Count units once: who is in a small share stays in the larger ones."""
        spells = (*self._before, Spell(self._stage.share, days))
        met, share = 0.0, 0.0
        for index, spell in enumerate(spells):
            since = sum(each.days for each in spells[index:])
            met += max(spell.share - share, 0.0) * self._traffic.units_within(since)
            share = max(share, spell.share)
        return met

    def _gate(self, gate: Gate, found: Scored) -> GateForecast:
        margin = found.margins.get(self._stage.name, 0.0)
        base = GateForecast(
            metric=gate.metric,
            kind=gate.kind,
            margin=margin,
            written=written_margin(found.spec, self._stage, gate),
            is_measured=found.is_measured,
            is_rate=found.spec.scale is Scale.RATE,
            chances=(0.0,) * len(self._looks),
        )
        if margin <= 0.0:
            return msgspec.structs.replace(base, is_floor_reached=False)
        proof = Proof(self._traffic, found, self._stage, self._before, margin, self._alpha)
        floor = max(
            least_units(self._stage, found.spec),
            -log(self._plan.alpha_promote) * found.span / margin,
        )
        last = self._looks[-1]
        days = proof.days(floor)
        smallest = proof.smallest(last)
        chances = proof.chances(self._looks, floor) if found.is_measured else base.chances
        is_short = chances[-1] < POWER
        return msgspec.structs.replace(
            base,
            needed_responses=None if days is None else proof.responses(days),
            needed_units=None
            if days is None
            else self._traffic.units_within(days) * self._stage.share,
            days=self._days(days, chances, found),
            chances=chances,
            smallest=smallest,
            smallest_text=""
            if smallest is None
            else written_margin(found.spec, self._stage, gate, smallest / margin),
            floor_units=floor,
            units_at_max=proof.effective_units(last),
            is_floor_reached=proof.effective_units(last) >= floor,
            wider_factor=smallest / margin if smallest is not None and is_short else None,
            share_needed=proof.share_needed(last) if is_short else None,
        )

    def _days(
        self, collecting: float | None, chances: tuple[float, ...], found: Scored
    ) -> float | None:
        """Return the first look that shows it with 90 %, else the days that one would need."""
        for look, chance in zip(self._looks, chances, strict=True):
            if chance >= POWER:
                return look
        return None if collecting is None else max(self._whole(collecting, found), self._looks[-1])

    def _whole(self, days: float, found: Scored) -> float:
        cycle = self._plan.full_cycle_s / DAY_S
        wait = (found.wait_s + found.warmup_s) / DAY_S
        return full_cycles(days, window_days=wait, cycle_days=cycle) if cycle > 0.0 else days + wait


def _canary_cost(traffic: Traffic) -> float | None:
    cost = traffic.canary_cost or traffic.cost
    return None if cost is None else cost.value


def _shared(traffic: Traffic) -> list[Assumption]:
    rows = [
        ("requests a day", f"{traffic.daily.value:,.0f}", traffic.daily.source),
        (
            "requests of a user on a day",
            f"{traffic.per_unit.value:.3g}",
            traffic.per_unit.source,
        ),
        (
            "users of one day who come on another",
            f"{traffic.returning.value * 100:.3g} %",
            traffic.returning.source,
        ),
        ("likeness of one user's responses (ICC)", f"{traffic.icc.value:.2g}", traffic.icc.source),
    ]
    if traffic.cost is not None:
        text = value_text(Unit.NANOUSD, traffic.cost.value)
        rows.append(("cost of a control response", text, traffic.cost.source))
        canary = traffic.canary_cost
        rows.append(
            ("cost of a canary response", "as the control's", "default")
            if canary is None
            else (
                "cost of a canary response",
                value_text(Unit.NANOUSD, canary.value),
                canary.source,
            )
        )
    return [Assumption(*row) for row in rows]
