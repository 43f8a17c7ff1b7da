"""What a forecast knows of a route's traffic, and what it assumes where it knows nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import exp, fsum, log, sqrt

import msgspec
from scipy.special import ndtri

from llm_canary.decision.plan import Gate, MarginUnit, Plan, Stage
from llm_canary.decision.rules import rules_of, specs_of, window_s
from llm_canary.decision.words import value_text
from llm_canary.errors import DataError
from llm_canary.metrics.freeze import MIN_BASELINE, Rule, freeze
from llm_canary.metrics.graded import RUBRIC
from llm_canary.metrics.spec import MetricSpec, Scale, Unit

GIVEN, DEFAULT = "given", "default"
_RATED = 0.03  # of responses that get a thumb
_ASKED = 0.1  # of responses of which another outcome is told
_VARIATION = 0.95  # standard deviation / mean of costs, tokens and times
_RESOLVED = 0.7
_RUBRIC_SD = 0.25
_JUDGE_CORRELATION = 0.7
_GRID = 400  # points that stand for a distribution
_LEAST_RATE = 1e-6


class Number(msgspec.Struct, frozen=True):
    """A number and where it comes from."""

    value: float
    source: str = GIVEN


class MetricTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the control's values of one metric."""

    rate: Number | None = None  # of a 0/1 metric, as it is displayed
    mean: Number | None = None  # in the metric's own unit, as it is displayed
    sd: Number | None = None
    values: tuple[float, ...] = ()  # as observed, larger is worse; they win over the numbers above
    denominators: tuple[float, ...] = ()  # of the values of a ratio
    source: str = DEFAULT  # of the values
    observed: Number | None = None  # part of the route's responses that have a value
    icc: Number | None = None  # correlation of two responses of one unit


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """A route's traffic, both arms together, and its control's values."""

    daily: Number  # responses
    per_unit: Number = Number(1.0, DEFAULT)  # responses of a unit on a day on which it comes
    spread: Number | None = None  # mean of their squares / mean; None: a geometric distribution
    returning: Number = Number(0.3, DEFAULT)  # chance that a unit of one day comes on another
    repeat: Number | None = None  # on any other day by a response's unit; None: as on its own day
    icc: Number = Number(0.1, DEFAULT)
    cost: Number | None = None  # of a control response, nano-dollars
    canary_cost: Number | None = None  # None: as much as the control's
    quietest: Number | None = None  # responses on the quietest weekday / on the mean one
    metrics: dict[str, MetricTraffic] = {}

    def __post_init__(self) -> None:
        """Refuse numbers from which nothing can be forecast."""
        if not self.daily.value > 0.0:
            raise DataError(f"{self.daily.value:g} responses a day; there must be some")
        if not self.per_unit.value >= 1.0:
            raise DataError(
                f"{self.per_unit.value:g} requests for each unit and day; a unit that comes makes "
                "at least one"
            )

    @property
    def units_daily(self) -> float:
        """Units on one day."""
        return self.daily.value / self.per_unit.value

    def units_within(self, days: float) -> float:
        """Return the number of different units that come within `days`."""
        again = self.returning.value
        stay = 1.0 - again
        if again <= 0.0:
            return self.units_daily * days
        return self.units_daily * (1.0 - (0.0 if stay <= 0.0 else stay**days)) / again

    def clumping(self, days: float) -> float:
        """Return E[n^2]/E[n] of the responses n that a unit makes within `days`."""
        mean = self.per_unit.value
        own_day = max(2.0 * mean - 1.0 if self.spread is None else self.spread.value, 1.0)
        other_day = self.returning.value * own_day if self.repeat is None else self.repeat.value
        return own_day + max(days - 1.0, 0.0) * other_day


class Assumption(msgspec.Struct, frozen=True):
    """One number that the forecast rests on."""

    what: str
    text: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One metric on the scale on which it is scored."""

    metric: str
    spec: MetricSpec  # for texts; of what nothing measures yet, only that
    is_measured: bool
    margins: dict[str, float]  # stage -> margin
    centre: float
    variance: float
    span: float
    observed: float
    icc: float
    wait_s: float  # from a response to its score
    warmup_s: float
    samples_per_day: float | None = None  # of each arm, where only drawn answers have a value
    assumptions: tuple[Assumption, ...] = field(default=())

    def daily(self, responses: float, share: float) -> float:
        """Return the responses a day, of both arms, that tell as much as those with a value.

        Where as many of each arm are drawn, n of each weigh like n / (2 share (1 - share))
        responses of which all have a value.
        """
        if self.samples_per_day is None:
            return responses * self.observed
        drawn = min(self.samples_per_day, responses * min(share, 1.0 - share) * self.observed)
        return drawn / (2.0 * share * (1.0 - share))


def scored(plan: Plan, name: str, traffic: Traffic) -> Scored | None:
    """Return what the plan's metric `name` will look like, or None when nothing can be assumed."""
    spec = specs_of(plan).get(name)
    known = traffic.metrics.get(name, MetricTraffic())
    if spec is None:
        return _unmeasured(plan, name, traffic, known)
    rule = rules_of(plan)[name]
    if spec.scale is Scale.POINTS:
        return _points(plan, spec, rule, traffic, known)
    found = _rate(spec, rule, known) if spec.scale is Scale.RATE else _amount(spec, rule, known)
    if found is None:
        return None
    observed = known.observed or Number(_usually_observed(spec), DEFAULT)
    icc = known.icc or traffic.icc
    assumed = [*found.assumptions, _part(name, observed)]
    if known.icc is not None:
        assumed.append(Assumption(f"{name}: ICC", f"{icc.value:.2f}", icc.source))
    return replace(
        found,
        observed=observed.value,
        icc=icc.value,
        wait_s=window_s(plan, spec),
        warmup_s=plan.warmup_s if spec.skips_warm_up else 0.0,
        assumptions=tuple(assumed),
    )


def written_margin(spec: MetricSpec, stage: Stage, gate: Gate, factor: float = 1.0) -> str:
    """Return the gate's margin in this stage, `factor` times as wide, as the file writes it."""
    value = gate.margin.value * stage.margin_factor * factor
    if gate.margin.unit is MarginUnit.RELATIVE:
        return f"{value * 100:.3g} %"
    if spec.scale in (Scale.RATE, Scale.RIDIT):
        return f"{value * 100:.3g} pp"
    return value_text(spec.unit, value)


def _rate(spec: MetricSpec, rule: Rule, known: MetricTraffic) -> Scored:
    if known.values:
        centre = fsum(known.values) / len(known.values)
        source = known.source
    elif known.rate is not None:
        centre = 1.0 - known.rate.value if spec.larger_is_better else known.rate.value
        source = known.rate.source
    else:
        centre, source = spec.prior, DEFAULT
    centre = min(max(centre, _LEAST_RATE), 1.0 - _LEAST_RATE)
    shown = value_text(spec.unit, 1.0 - centre if spec.larger_is_better else centre)
    margins = {
        stage: each.value * centre if each.relative else each.value
        for stage, each in rule.stages.items()
    }
    return _scored(
        spec,
        margins,
        (centre, centre * (1.0 - centre), 1.0),
        Assumption(f"{spec.name}: control", shown, source),
    )


def _amount(spec: MetricSpec, rule: Rule, known: MetricTraffic) -> Scored | None:
    values, denominators = known.values, known.denominators
    if len(values) >= MIN_BASELINE:
        mean = fsum(values) / (fsum(denominators) if denominators else len(values))
        mean = -mean if spec.larger_is_better else mean
        text, source = f"{value_text(spec.unit, mean)} on average", known.source
    else:
        needs_mean = spec.is_signed and spec.scale is not Scale.RATIO
        needs_mean |= spec.scale is not Scale.RIDIT and not all(
            margin.relative for margin in rule.stages.values()
        )
        if known.mean is None and needs_mean:
            return None
        values, denominators = _made_up(spec, known)
        deviation = _deviation(known)
        text = f"standard deviation {deviation:.0%} of the mean"
        if known.mean is not None:
            text = f"{value_text(spec.unit, known.mean.value)}, {text}"
        source = (known.sd or Number(0.0, DEFAULT)).source
    frozen = freeze(spec, rule, values, denominators)
    return _scored(
        spec,
        frozen.margins,
        (frozen.centre, frozen.variance, frozen.span),
        Assumption(f"{spec.name}: control", text, source),
    )


def _scored(
    spec: MetricSpec,
    margins: dict[str, float],
    moments: tuple[float, float, float],
    assumption: Assumption,
) -> Scored:
    centre, variance, span = moments
    return Scored(
        metric=spec.name,
        spec=spec,
        is_measured=True,
        margins=margins,
        centre=centre,
        variance=variance,
        span=span,
        observed=1.0,
        icc=0.0,
        wait_s=0.0,
        warmup_s=0.0,
        assumptions=(assumption,),
    )


def _points(
    plan: Plan, spec: MetricSpec, rule: Rule, traffic: Traffic, known: MetricTraffic
) -> Scored:
    """Return a rubric's scores as judges usually spread them, and people usually correct them.

    Corrected scores vary by sd^2 (r^2 + (1 - r^2) / q): r the correlation of judge and people, q
    the chance that people are asked (STATISTICS A.5).
    """
    terms = plan.graded[spec.name.removeprefix(f"{RUBRIC}:")]
    deviation = known.sd or Number(_RUBRIC_SD, DEFAULT)
    centre = 1.0 - known.rate.value if known.rate is not None else spec.prior
    variance = deviation.value**2
    assumed = [
        Assumption(f"{spec.name}: control", f"standard deviation {deviation.value:.2f}",
                   deviation.source),
        Assumption(f"{spec.name}: judged", f"{terms.samples_per_day:,.0f} answers of each arm a "
                   "day at most", "canary.yaml"),
    ]  # fmt: skip
    if terms.needs_judge and terms.review_rate > 0.0:
        known_part = _JUDGE_CORRELATION**2
        variance *= known_part + (1.0 - known_part) / terms.review_rate
        text = (
            f"people grade {terms.review_rate:.0%} of them; judge and people correlate "
            f"{_JUDGE_CORRELATION:g}"
        )
        assumed.append(Assumption(f"{spec.name}: reviews", text, DEFAULT))
    return Scored(
        metric=spec.name,
        spec=spec,
        is_measured=True,
        margins={
            stage: each.value * (1.0 - centre) if each.relative else each.value
            for stage, each in rule.stages.items()
        },
        centre=centre,
        variance=variance,
        span=1.0,
        observed=1.0,
        icc=(known.icc or traffic.icc).value,
        wait_s=window_s(plan, spec),
        warmup_s=0.0,
        samples_per_day=terms.samples_per_day,
        assumptions=tuple(assumed),
    )


def _unmeasured(plan: Plan, name: str, traffic: Traffic, known: MetricTraffic) -> Scored:
    """Return scores, 0-1, of what no release measures yet, as judges usually spread them."""
    deviation = known.sd or Number(_RUBRIC_SD, DEFAULT)
    observed = known.observed or Number(_ASKED, DEFAULT)
    margins = {
        stage.name: gate.margin.value * stage.margin_factor
        for stage in plan.stages
        for gate in stage.gates
        if gate.metric == name
    }
    return Scored(
        metric=name,
        spec=_GRADE,
        is_measured=False,
        margins=margins,
        centre=0.5,
        variance=deviation.value**2,
        span=0.5,
        observed=observed.value,
        icc=(known.icc or traffic.icc).value,
        wait_s=0.0,
        warmup_s=0.0,
        assumptions=(
            Assumption(
                f"{name}: control", f"standard deviation {deviation.value:.2f}", deviation.source
            ),
            _part(name, observed),
        ),
    )


def _made_up(spec: MetricSpec, known: MetricTraffic) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return values of a log-normal metric, of a normal one where they may be negative."""
    mean = 1.0 if known.mean is None else known.mean.value
    steps = [float(ndtri((k + 0.5) / _GRID)) for k in range(_GRID)]
    if spec.is_signed and spec.scale is not Scale.RATIO:
        centre = -mean if spec.larger_is_better else mean
        width = _deviation(known) * abs(mean)
        return tuple(centre + width * step for step in steps), ()
    if not mean > 0.0:
        raise DataError(f"{spec.name} has a mean of {mean:g}; it must be positive")
    sigma = sqrt(log(1.0 + _deviation(known) ** 2))
    values = tuple(mean * exp(sigma * step - 0.5 * sigma**2) for step in steps)
    if spec.scale is not Scale.RATIO:
        return values, ()
    # In turn, so that success goes with no value in particular.
    done = tuple(float(k * 7 % 10 < round(_RESOLVED * 10)) for k in range(_GRID))
    return tuple(value * _RESOLVED for value in values), done


def _deviation(known: MetricTraffic) -> float:
    if known.sd is None or known.mean is None or known.mean.value == 0.0:
        return _VARIATION
    return abs(known.sd.value / known.mean.value)


def _usually_observed(spec: MetricSpec) -> float:
    if not spec.is_conditional:
        return 1.0
    return _RATED if spec.outcome == "thumbs" else _ASKED


def _part(name: str, observed: Number) -> Assumption:
    text = f"{observed.value * 100:.3g} % of responses"
    return Assumption(f"{name}: observed on", text, observed.source)


_GRADE = MetricSpec(
    name="rubric",
    unit=Unit.RATE,
    scale=Scale.RATE,
    value=lambda _: None,
)
