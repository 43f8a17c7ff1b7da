"""Rollouts, what happened to them, what was decided and why, and who may run the loop."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from llm_canary.storage.dialect import Json, UtcDateTime


class Rollout(SQLModel, table=True):
    """One attempt to move a route from control to canary, with everything frozen at its start.

    `active_route` is the route while the rollout runs and NULL otherwise: the unique index lets at
    most one run on a route.
    """

    __tablename__ = "rollout"
    __table_args__ = (
        UniqueConstraint("name", "attempt"),
        UniqueConstraint("active_route"),
        Index(None, "state"),
    )

    id: str = Field(primary_key=True)
    name: str
    attempt: int
    build_attempt: int  # how often this canary has been tried on this route, this one included
    route: str
    active_route: str | None = None
    state: str
    stage: str | None = None
    share: float
    salt: str
    seq: int  # of the last transition
    spec: dict[str, Any] = Field(sa_type=Json)
    control: dict[str, Any] | None = Field(default=None, sa_type=Json)
    segments: list[str] = Field(sa_type=Json)
    progress: dict[str, Any] = Field(sa_type=Json)
    created_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    stage_started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    outcome: str | None = None
    hold_by: str | None = None  # "robot" or a person
    hold_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    hold_reason: str | None = None
    hold_codes: list[str] = Field(sa_type=Json)
    reminders: int = 0
    last_decision_id: str | None = None


class Transition(SQLModel, table=True):
    """One change that was applied; the number is given out once."""

    __tablename__ = "transition"
    __table_args__ = (UniqueConstraint("rollout_id", "seq"), Index(None, "at"))

    id: str = Field(primary_key=True)
    rollout_id: str = Field(foreign_key="rollout.id")
    seq: int
    at: datetime = Field(sa_type=UtcDateTime)
    action: str
    actor: str
    reason: str
    from_state: str
    to_state: str
    from_stage: str | None = None
    to_stage: str | None = None
    share: float
    decision_id: str | None = None
    fence: int | None = None  # of the lease under which a robot acted


class Decision(SQLModel, table=True):
    """A verdict with the plan and the evidence it was made from, byte for byte."""

    __tablename__ = "decision"
    __table_args__ = (Index(None, "rollout_id", "at"),)

    id: str = Field(primary_key=True)
    rollout_id: str = Field(foreign_key="rollout.id")
    at: datetime = Field(sa_type=UtcDateTime)
    stage: str
    verdict: str
    reasons: list[str] = Field(sa_type=Json)
    plan: bytes = Field(sa_type=LargeBinary)
    evidence: bytes = Field(sa_type=LargeBinary)
    evidence_hash: str
    result: bytes = Field(sa_type=LargeBinary)
    applied: bool


class RouteControl(SQLModel, table=True):
    """The control of a route once a rollout has changed it; it wins over the file."""

    __tablename__ = "route_control"

    route: str = Field(primary_key=True)
    variant: dict[str, Any] = Field(sa_type=Json)
    rollout_id: str
    since: datetime = Field(sa_type=UtcDateTime)


class Lease(SQLModel, table=True):
    """The right of one process to run a loop until it expires; `fence` rises with each holder."""

    __tablename__ = "lease"

    name: str = Field(primary_key=True)
    holder: str
    fence: int
    expires_at: datetime = Field(sa_type=UtcDateTime)
