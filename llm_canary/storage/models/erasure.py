"""What people asked to be erased."""

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from llm_canary.storage.dialect import UtcDateTime


class Erasure(SQLModel, table=True):
    """One erasure: how far it has come, and what it has found. It never holds a clear user id."""

    __tablename__ = "erasure"
    __table_args__ = (Index(None, "state"),)

    id: str = Field(primary_key=True)
    kind: str  # user, request, before
    target: str  # keyed hash of a user, id of a request, seconds since the epoch
    requested_at: datetime = Field(sa_type=UtcDateTime)
    requested_by: str
    state: str  # running, settling (once more, for facts that waited on a disk), done
    position: str = ""  # the last inference that was looked at
    inferences: int = 0
    comments: int = 0
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
