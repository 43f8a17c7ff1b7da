"""What a metric is: which number a response contributes, and how that number is scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

# Before a rollout has data of its own a rate is centred here; a wrong centre costs precision only.
PRIOR_RESPONSES = 50


class ResponseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one response when a metric reads it; `None` is missing, never zero."""

    terminal: str  # telemetry.events.Terminal
    share: float = 0.0  # canary share in force when it was routed
    stream: bool = False
    latency_ms: float | None = None
    ttft_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_nanousd: int | None = None
    uncached_cost_nanousd: int | None = None
    schema_expected: bool = False
    output_valid: bool | None = None
    empty: bool | None = None
    refusal: bool | None = None
    outcomes: dict[str, float] = {}  # metric -> last value not revoked


class Scale(StrEnum):
    """How the value becomes the number that is scored; fixed before the first one is."""

    RATE = "rate"  # 0 or 1 as it is
    QUANTILE = "quantile"  # 1 when above the control's frozen quantile plus margin
    WINSORISED = "winsorised"  # the value, cut at the control's frozen 99.9th percentile
    RIDIT = "ridit"  # its rank among the control's frozen values, 0-1
    POINTS = "points"  # rubric points as they are, 0-1 before people's corrections
    RATIO = "ratio"  # value - R0 denominator, R0 the control's frozen ratio; cut likewise


class Missing(StrEnum):
    """What the absence of an outcome means once its window has closed."""

    NOT_OBSERVED = "not_observed"
    ZERO = "zero"


class Unit(StrEnum):
    """What a value counts, for display."""

    RATE = "rate"
    POINTS = "points"  # of a rubric, 0-1
    MILLISECONDS = "ms"
    NANOUSD = "nanousd"
    TOKENS = "tokens"
    NUMBER = "number"  # of what, only the app knows


class Declared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An outcome metric that the configuration declares."""

    amount: bool = False  # a number, else yes or no
    larger_is_better: bool = True
    missing: Missing = Missing.ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """One metric; `value` is oriented so that LARGER IS WORSE and is None when not observed."""

    name: str
    unit: Unit
    scale: Scale
    value: Callable[[ResponseFacts], float | None]
    applies: Callable[[ResponseFacts], bool] = lambda _: True  # e.g. a schema was asked for
    quantile: float | None = None
    hard_failure: bool = False  # also tested by the exact ratio of first events; tolerance 0
    skips_warm_up: bool = False  # a cold cache after a ramp would be blamed on the canary
    larger_is_better: bool = False  # displayed as 1 - value, amounts as -value
    is_signed: bool = False  # the value may be negative
    denominator: Callable[[ResponseFacts], float] | None = None  # ratios only; >= 0
    uncut: Callable[[ResponseFacts], float] | None = (
        None  # the part of the value that is kept whole
    )
    outcome: str | None = None  # read when its window closes, else at once
    window_s: float = 0.0
    missing: Missing = Missing.NOT_OBSERVED
    prior: float = 0.0  # a rate to centre on before there is data
    is_unknown: bool = False  # no prior is worth using: the control is watched first
    planned_effect: float = 0.02  # tunes the test when no gate gives a margin

    # Derived once, because they are asked for with every response.
    is_binary: bool = field(init=False)  # the scored number is 0 or 1
    needs_baseline: bool = field(init=False)  # the control is watched before anything is scored
    is_counted: bool = field(init=False)  # values go into bins, from which quantiles are shown

    def __post_init__(self) -> None:
        is_binary = self.scale in (Scale.RATE, Scale.QUANTILE)
        needs_baseline = self.scale not in (Scale.RATE, Scale.POINTS) or self.is_unknown
        is_counted = not self.is_signed and (needs_baseline or not is_binary)
        object.__setattr__(self, "is_binary", is_binary)
        object.__setattr__(self, "needs_baseline", needs_baseline)
        object.__setattr__(self, "is_counted", is_counted)

    @property
    def scored_unit(self) -> Unit:
        """The unit of differences and margins: a rate for 0/1 numbers and ranks."""
        is_amount = self.scale in (Scale.WINSORISED, Scale.RATIO, Scale.POINTS)
        return self.unit if is_amount else Unit.RATE

    @property
    def is_conditional(self) -> bool:
        """Whether the metric exists only where somebody answered, so that arms may select."""
        return self.outcome is not None and self.missing is Missing.NOT_OBSERVED
