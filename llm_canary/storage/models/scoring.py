"""The sums that decisions read; what they hold is `llm_canary.metrics.state`, as msgpack."""

from sqlalchemy import LargeBinary
from sqlmodel import Field, SQLModel


class MetricStat(SQLModel, table=True):
    """One metric of a rollout in one slice ("all" or "segment=value").

    The row ("", "") holds the totals, (metric, "") what concerns the metric in all slices.
    """

    __tablename__ = "metric_stat"

    rollout_id: str = Field(primary_key=True)
    metric: str = Field(primary_key=True)
    slice: str = Field(primary_key=True)
    state: bytes = Field(sa_type=LargeBinary)


class UnitStat(SQLModel, table=True):
    """What is remembered of one unit until its rollout ends."""

    __tablename__ = "unit_stat"

    rollout_id: str = Field(primary_key=True)
    unit_hash: str = Field(primary_key=True)
    state: bytes = Field(sa_type=LargeBinary)
