"""Bodies of the control API that are not already a type of another room."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from llm_canary.telemetry.drain import DrainStats
from llm_canary.telemetry.events import InferenceEvent, OutcomeEvent

_Line = StringConstraints(strip_whitespace=True, min_length=1, max_length=500)


class ErrorFacts(BaseModel):
    """What went wrong, with the value and the way out."""

    message: str = Field(examples=["there is no rollout 'support-v14'; there are: support-v13"])
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(examples=[None])
    code: str = Field(examples=["not_found"])


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorFacts


class Act(StrEnum):
    """What a person can do to a rollout."""

    CREATE = "create"
    START = "start"
    HOLD = "hold"
    RESUME = "resume"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


class ActRequest(BaseModel):
    """Why a person acts; both are kept in the history."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, _Line] = Field(examples=["error rate looks odd since noon"])
    actor: Annotated[str, _Line] | None = Field(
        default=None,
        examples=["mara"],
        description="Who acts; the name of the API key is kept beside it.",
    )


class TelemetryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the facts that the gateway of this process handed over since its start."""

    accepted: int
    written: int
    queued: int
    dropped_full: int
    dropped_error: int
    texts_dropped: int = 0  # not stored, because too much was waiting to be redacted
    last_error: str | None = None


class LoopStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one background loop is doing. Times are UTC seconds."""

    name: str
    runs: int
    failures: int
    last_ok_s: float | None = None
    last_error: str | None = None  # None once a later run went well


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The health of the process."""

    version: str
    now_s: float
    config_hash: str
    config_problem: str | None = None  # why the newest file is refused; None = it is in force
    database_problem: str | None = None
    dropped: int | None = None  # facts lost before the spool; None = the gateway runs elsewhere
    telemetry: TelemetryStatus | None = None
    limited: dict[str, dict[str, int]] | None = None  # requests refused, by key and by route
    drain: DrainStats | None = None
    loops: tuple[LoopStatus, ...] = ()


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """A decision reached again; `is_same` = the whole result is, to the last bit."""

    id: str
    stored_verdict: str
    verdict: str
    reasons: tuple[str, ...]
    is_same: bool


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One inference, and what was said about it later, the newest statement last."""

    inference: InferenceEvent
    outcomes: tuple[OutcomeEvent, ...] = ()


class ErasureView(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure has found, or would find; `id` is None for a look without erasing."""

    id: str | None
    kind: str  # user, request, before
    state: str  # preview, running, settling (it looks again a day later), done
    inferences: int
    comments: int
    texts: int | None = None  # None: they are not counted while they are erased
    requested_at_s: float | None = None
    requested_by: str | None = None
    done_at_s: float | None = None
