"""The form of canary.yaml: every key with its type, default and meaning.

docs/configuration.md is generated from these models, so each field's description is written for
users. Relations between entries are checked in references.py and plans.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from llm_canary.config.content_entry import ContentEntry
from llm_canary.config.limit_entries import UseEntry
from llm_canary.config.upstream_entries import UpstreamEntry
from llm_canary.config.values import (
    Duration,
    MetricName,
    Name,
    PositiveMargin,
    PromptName,
    RouteName,
    SegmentSource,
    Share,
    Tolerance,
    UnitSource,
)
from llm_canary.config.web_entries import FeedbackEntry, KeyEntry, WebEntry
from llm_canary.decision.plan import MetricKind
from llm_canary.documents.entry import Entry, expected
from llm_canary.metrics.spec import Missing
from llm_canary.routing.table import Anonymous, OnDisconnect

DEFAULT_UNIT = (
    "header:x-canary-user",
    "body:safety_identifier",
    "body:user",
    "body:metadata.user_id",
    "header:x-canary-session",
)
_GATEWAY_FIELDS = frozenset({"model", "messages", "stream"})


def _params(value: object) -> object:
    if isinstance(value, dict) and (taken := sorted(_GATEWAY_FIELDS & value.keys())):
        raise expected(
            f"no {', '.join(taken)} among the parameters",
            do="the gateway sets them: use the variant's `model` and `prompt`",
        )
    return value


class VariantEntry(Entry):
    """Upstream model, prompt version and parameters."""

    upstream: Name = Field(description="a key of `upstreams`")
    model: str = Field(min_length=1, description="the model's name at the upstream")
    prompt: PromptName | None = Field(
        default=None, description="`support/v12` is `prompts/support/v12.md`"
    )
    params: Annotated[dict[str, Any], BeforeValidator(_params)] = Field(
        default={}, description="body fields that override the client's"
    )


class RouteEntry(Entry):
    """What apps send as `model`."""

    control: VariantEntry = Field(description="the variant that serves when no rollout runs")
    unit: list[UnitSource] = Field(
        default=list(DEFAULT_UNIT),
        min_length=1,
        description="where the unit that keeps its variant is looked for, in this order",
    )
    anonymous: Annotated[Anonymous, Field(strict=False)] = Field(
        default=Anonymous.CONVERSATION, description="no unit found: `conversation` or `control`"
    )
    segments: dict[Name, SegmentSource] = Field(
        default={}, description="segment -> `header:NAME`, `detect`, `first_message` or `derive`"
    )
    rubrics: list[Name] = Field(
        default=[], description="`rubrics/NAME.yaml`: what answers are graded by"
    )
    content: ContentEntry = Field(
        default_factory=ContentEntry, description="what is kept of prompts and answers"
    )
    on_disconnect: Annotated[OnDisconnect, Field(strict=False)] = Field(
        default=OnDisconnect.CANCEL,
        description="the client leaves: `cancel` the answer, or `drain` it to learn its usage",
    )
    limits: UseEntry | None = Field(default=None, description="what all its clients may use")


class RangeEntry(Entry):
    """Numbers from `min` to `max`, both included."""

    min: float | None = Field(default=None, description="smallest number that is eligible")
    max: float | None = Field(default=None, description="largest number that is eligible")


def _eligible_kind(value: object) -> str | None:
    if isinstance(value, list):
        return "list"
    return "range" if isinstance(value, dict | RangeEntry) else None


Eligible = Annotated[
    Annotated[list[str], Field(min_length=1), Tag("list")] | Annotated[RangeEntry, Tag("range")],
    Discriminator(
        _eligible_kind,
        custom_error_type="expected",
        custom_error_message="{expected}",
        custom_error_context={
            "expected": "a list such as [de, at], or {min: 30, max: 60}",
            "do": "",
        },
    ),
]


class GateEntry(Entry):
    """One metric to be shown no worse than its margin; unset keys come from the overridden gate."""

    kind: Annotated[MetricKind, Field(strict=False)] | None = Field(
        default=None, description="`guardrail`, `goal`, or `secondary` (shown, never decides)"
    )
    margin: PositiveMargin | None = Field(
        default=None, description="how much worse the canary may be: `0.5pp`, `10%` or `0.03`"
    )
    tolerance: Tolerance | None = Field(
        default=None,
        description="harm up to here does not roll back; default 0 (hard failures) or margin/2",
    )
    margin_usd: float | None = Field(
        default=None, gt=0, description="`net_benefit` only: its margin in dollars per response"
    )
    value_per_rubric_point_usd: float | None = Field(
        default=None, gt=0, description="`net_benefit` only: dollars that one rubric point is worth"
    )
    rubric: Name | None = Field(
        default=None,
        description="`net_benefit` only: whose points; default: the route's first rubric, or where "
        "it has none the outcome `quality`, 0-1, that the app sends",
    )


class RolloutEntry(Entry):
    """One attempt to move a route from control to canary."""

    route: RouteName = Field(description="a key of `routes`")
    canary: VariantEntry = Field(description="the new variant")
    plan: Name = Field(
        default="standard", description="a key of `plans`, or the built-in `standard`"
    )
    fallback: Literal["none", "control"] = Field(
        default="none",
        description="`control`: answers what the canary fails before its first byte, which still "
        "counts as the canary's failure",
    )
    preflight: list[Name] = Field(
        default=[],
        description="`checks` that must have passed this canary first (`check NAME --record`)",
    )
    eligible: dict[Name, Eligible] = Field(
        default={},
        description="segment -> allowed values or {min, max}; everyone else stays on control",
    )
    protected: list[Name] = Field(
        default=[], description="segments judged by themselves, for fairness"
    )
    gates: dict[MetricName, GateEntry] = Field(
        default={}, description="metric -> gate; added to, or overriding, every measured stage"
    )


class CheckEntry(Entry):
    """An offline run that must be green before a canary: `llm-canary check NAME`."""

    rubric: Name = Field(description="`rubrics/NAME.yaml`, or a shipped one")
    dataset: str = Field(min_length=1, description="JSONL, CSV or Parquet, relative to this file")
    min_pass: Share | None = Field(default=None, description="smallest share of passed samples")
    max_drop: Share | None = Field(
        default=None, description="largest drop against the baseline run"
    )
    baseline: str | None = Field(
        default=None, min_length=1, description="the earlier run: a file of `--update-baseline`"
    )
    labels: str | None = Field(
        default=None,
        min_length=1,
        description="human labels, which show whether the judge is right",
    )
    responses: str | None = Field(
        default=None, min_length=1, description="recorded answers, where nobody is to be asked"
    )


class StageEntry(Entry):
    """One step; `full` and `standby` are not measured."""

    name: Name = Field(description="`full` and `standby` end a plan; any other name is measured")
    share: Share | None = Field(default=None, description="measured: canary share of units")
    min: Duration | None = Field(default=None, description="measured: shortest time in the stage")
    max: Duration | None = Field(default=None, description="measured: unproven by then = hold")
    min_units: int | None = Field(
        default=None, ge=1, description="measured: floor of effective canary units; default 200"
    )
    gates: dict[MetricName, GateEntry] = Field(
        default={}, description="metric -> gate; added to, or overriding, the plan's"
    )
    holdback: Share | None = Field(default=None, description="`full`: share that stays on control")
    for_: Duration | None = Field(
        default=None, alias="for", description="`standby`: how long the former control stays warm"
    )


class AlphaEntry(Entry):
    """Error rates of the two mistakes."""

    rollback: float | None = Field(
        default=None, gt=0, lt=0.5, description="rolling back a harmless canary; default 0.01"
    )
    promote: float | None = Field(
        default=None, gt=0, lt=0.5, description="promoting past a margin; default 0.05"
    )


class PlanEntry(Entry):
    """Stages and gates. Unset keys come from the plan it extends, else from the defaults."""

    extends: Name | None = Field(default=None, description="the plan to start from")
    stages: list[StageEntry] | None = Field(
        default=None, min_length=1, description="replaces the extended plan's stages"
    )
    gates: dict[MetricName, GateEntry] = Field(
        default={},
        description="metric -> gate for every measured stage; `rubric` = each rubric of the route",
    )
    alpha: AlphaEntry = Field(default_factory=AlphaEntry, description="error rates")
    full_cycle: Duration | None = Field(
        default=None, description="no stage is shorter; default 24h"
    )
    warmup: Duration | None = Field(
        default=None,
        description="cost and latency this soon after a ramp are not scored; default 10m",
    )
    settle: Duration | None = Field(
        default=None,
        description="each response waits this long for a retry by the client; default 15s",
    )
    max_per_unit_day: int | None = Field(
        default=None, ge=1, description="responses of one unit that count per day; default 50"
    )


class MetricEntry(Entry):
    """An outcome metric: the window of a built-in one, or one of your own, sent under its name."""

    window: Duration = Field(description="an outcome counts as matured after this time")
    value: Literal["yes_or_no", "amount"] | None = Field(
        default=None, description="your own: `yes_or_no` (default) or `amount`, any number"
    )
    better: Literal["higher", "lower"] | None = Field(
        default=None, description="your own: whether `higher` (default) or `lower` is better"
    )
    missing: Annotated[Missing, Field(strict=False)] | None = Field(
        default=None,
        description="your own: no outcome in time counts as `zero` (default), or as `not_observed`",
    )


class JudgingEntry(Entry):
    """How answers of running rollouts are drawn, judged and shown to people."""

    samples_per_day: float = Field(
        default=250, gt=0, le=10_000_000, description="judged of each arm and rubric, about"
    )
    targeted: Share = Field(
        default=0.1,
        description="part of the answers worth a look (thumbs down, escalated, refused, empty, "
        "outliers) that is drawn beside; these find failures and decide nothing",
    )
    reviews: Share = Field(
        default=0.2,
        description="part of the drawn answers that people are asked about, where a judge grades",
    )
    double_reviews: Share = Field(
        default=0.2, description="part of those that two people are asked about"
    )
    window: Duration | None = Field(
        default=None,
        description="a gate takes what judge and people have said this long after the answer; "
        "default 24h where a judge grades, 5m where programs do",
    )
    stratum: Name | None = Field(
        default=None, description="a segment that is noted with each sample, for reports"
    )
    max_cost_usd_per_day: float | None = Field(
        default=None,
        gt=0,
        description="judges are asked no more on a day (UTC) that has cost this; calls "
        "without a known price are not counted, which the log and an alert say",
    )
    concurrency: int = Field(
        default=8, ge=1, le=256, description="judge calls under way at once, of one process"
    )
    max_waiting: int = Field(
        default=20_000, ge=1, le=1_000_000, description="samples that wait at most; more are shed"
    )
    reviewer_usd_per_hour: float | None = Field(
        default=None, gt=0, description="what an hour of a reviewer costs, for reports"
    )


class LimitsEntry(Entry):
    """Limits on requests."""

    max_body_bytes: int = Field(
        default=10_000_000, ge=1024, le=1_000_000_000, description="largest request body"
    )


class CanaryFile(Entry):
    """The whole file."""

    version: Literal[1] = Field(description="always 1")
    upstreams: dict[Name, UpstreamEntry] = Field(
        default={}, description="where models are served; at least one"
    )
    prompts: str = Field(
        default="prompts/", min_length=1, description="folder of the prompts, relative to this file"
    )
    routes: dict[RouteName, RouteEntry] = Field(
        default={}, description="what apps send as `model`; at least one"
    )
    rollouts: dict[Name, RolloutEntry] = Field(
        default={}, description="canaries, started by `rollout start`"
    )
    checks: dict[Name, CheckEntry] = Field(default={}, description="offline checks")
    plans: dict[Name, PlanEntry] = Field(
        default={}, description="plans beside the built-in `standard`"
    )
    keys: dict[Name, KeyEntry] = Field(default={}, description="API keys of apps")
    metrics: dict[MetricName, MetricEntry] = Field(default={}, description="outcome metrics")
    judging: JudgingEntry = Field(
        default_factory=JudgingEntry, description="how live answers are graded"
    )
    limits: LimitsEntry = Field(default_factory=LimitsEntry, description="limits on requests")
    feedback: FeedbackEntry = Field(
        default_factory=FeedbackEntry, description="what browsers may say without a key"
    )
    web: WebEntry = Field(default_factory=WebEntry, description="the pages, and who logs in")
    default_upstream: Name | None = Field(
        default=None, description="upstream to which models that are no route are relayed untouched"
    )
