"""The frozen input of one decision: stored with it, and enough to reach it again bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import isfinite
from typing import Any

import msgspec

from llm_canary.decision.plan import Plan
from llm_canary.errors import DataError
from llm_canary.metrics.freeze import Frozen
from llm_canary.stats.score import ScoreState

EVIDENCE_FORMAT = 1


class Progress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What earlier decisions and people have settled.

    New with each stage, but for `harm` and those of `accepted` that have happened for good.
    """

    looks_done: int = 0
    shown: dict[str, str] = {}  # metric -> how it was shown not inferior in this stage
    accepted: tuple[str, ...] = ()  # codes of problems that a person resumed past
    extended_until_s: float | None = None  # stage age to which a person extended the stage
    harm: tuple[str, ...] = ()  # reasons of the first crossing; once there, it stays


class Counts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """First failures of units at one share."""

    share: float
    canary: int
    total: int


class SliceEvidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One metric in one segment; `rank` is the value's place in order of appearance."""

    segment: str
    value: str
    rank: int
    score: ScoreState
    harm_v: float
    first: tuple[Counts, ...] = ()


class GradingEvidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the answers behind a rubric's numbers were drawn and graded; pairs as ever."""

    rubric: str
    eligible: tuple[int, int] = (0, 0)  # scored, completed answers
    without_text: tuple[int, int] = (0, 0)  # of these: nothing is kept that could be graded
    drawn: tuple[int, int] = (0, 0)
    waiting: tuple[int, int] = (0, 0)  # of the drawn, as the next three
    judged: tuple[int, int] = (0, 0)
    failed: tuple[int, int] = (0, 0)
    shed: tuple[int, int] = (0, 0)
    labelled: tuple[int, int] = (0, 0)  # asked of people by chance, and answered in time
    lately: tuple[int, int] | None = None  # asked and answered last, of the arm with fewer answered
    judges: tuple[str, ...] = ()  # versions that have graded
    models: tuple[str, ...] = ()  # as their providers report them
    second_models: tuple[str, ...] = ()  # of the judge that is asked where the first is in doubt
    standing: str = "not_enough"  # of the judge: trusted, untrusted or not_enough
    reason: str = ""
    labels: int = 0  # human labels that it was compared with
    calibrated_age_s: float | None = None
    drift: str | None = None  # stable, judge_drift or system_change
    drift_models: tuple[str, ...] = ()  # as reported at that look
    moved: tuple[int, int] = (0, 0)  # anchors judged otherwise than at first, and compared


class MetricEvidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One metric over all units; pairs are (control, canary)."""

    metric: str
    applicable: tuple[int, int]
    observed: tuple[int, int]
    baseline: int  # control values collected towards its frozen numbers
    frozen: Frozen | None = None
    score: ScoreState = msgspec.field(default_factory=ScoreState)
    first: tuple[Counts, ...] = ()
    harm_v: tuple[float, float] = (0.0, 0.0)  # running maxima of V at 0 and at the tolerance
    stage_v: float | None = None  # the same at this stage's margin
    final_v: float = 0.0  # the same at the final margin
    stage_s: float = 0.0  # the stage's own responses
    stage_i: float = 0.0
    snapshots: tuple[tuple[float, float], ...] = ()  # (S, running maximum of V) at restarts
    squares: tuple[tuple[float, float], ...] = ()  # (PP, XX) at the last of them; older lack them
    quantiles: tuple[float | None, float | None] = (None, None)  # as observed, quantile metrics
    denominators: tuple[float, float] = (0.0, 0.0)  # sums, of ratios
    segments: tuple[SliceEvidence, ...] = ()
    grading: GradingEvidence | None = None  # of rubrics


class HealthFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What tells whether the comparison may be trusted; pairs are (control, canary)."""

    new_units: tuple[Counts, ...] = ()  # by the share at which a unit was first seen
    in_both_arms: int = 0
    stage_units: tuple[int, int] = (0, 0)
    stage_responses: tuple[int, int] = (0, 0)
    last_age_s: tuple[float | None, float | None] = (None, None)  # since the last response
    backlog_s: float = 0.0  # age of the oldest response that should have been scored
    telemetry_accepted: int = 0
    telemetry_dropped: int = 0
    new_models: tuple[str, ...] = ()  # "canary: gpt-5-mini-2026-11-01"


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything `decide` reads beside the plan."""

    rollout_id: str
    rollout: str
    route: str
    stage: str
    share: float
    attempt: int
    now_s: float
    stage_age_s: float
    segments: tuple[str, ...]  # registered at the start; they share half of the alarm's weight
    progress: Progress
    health: HealthFacts
    metrics: tuple[MetricEvidence, ...]
    protected: tuple[str, ...] = ()  # those of `segments` under fairness rules
    format: int = EVIDENCE_FORMAT


def encode(evidence: Evidence) -> bytes:
    """Return the canonical JSON: one form for one evidence, floats to the last bit."""
    return msgspec.json.encode(evidence, order="sorted")


def decode(data: bytes) -> Evidence:
    """Return the evidence of `data`; raise DataError when it is none."""
    try:
        return msgspec.json.decode(data, type=Evidence)
    except msgspec.MsgspecError as error:
        raise DataError(f"this is no evidence of format {EVIDENCE_FORMAT}: {error}") from error


def encode_plan(plan: Plan) -> bytes:
    """Return the canonical JSON of the plan."""
    return msgspec.json.encode(plan, order="sorted")


def digest(plan: bytes, evidence: bytes) -> str:
    """Return the SHA-256 that ties a decision to the plan and the evidence it was made from."""
    return hashlib.sha256(plan + b"\n" + evidence).hexdigest()


def refuse_unusable(evidence: Evidence) -> None:
    """Raise DataError when a number of the evidence is not finite, or a count is negative."""
    if found := _unusable(msgspec.to_builtins(evidence)):
        path, value = found
        raise DataError(
            f"evidence{path} is {value!r}, and numbers must be finite and counts not negative; "
            "nothing is decided from it: start a new rollout, and report this as a bug"
        )


def _unusable(node: dict[str, Any] | Sequence[Any]) -> tuple[str, float] | None:
    """Return path and value of the first such number."""
    # Thousands of numbers, at every look at a rollout: so they are looked at where they stand.
    for key, each in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(each, float):
            if not isfinite(each):
                return f".{key}", each
        elif isinstance(each, int):
            if each < 0:
                return f".{key}", each
        elif isinstance(each, (dict, list, tuple)) and (found := _unusable(each)):
            return f".{key}{found[0]}", found[1]
    return None
