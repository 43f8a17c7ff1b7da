"""What belongs to the installation itself."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from llm_canary.storage.dialect import UtcDateTime


class Installation(SQLModel, table=True):
    """A value made once and shared by all processes, such as the secret that keys unit hashes."""

    __tablename__ = "installation"

    key: str = Field(primary_key=True)
    value: str


class ServedPrompt(SQLModel, table=True):
    """The text that a prompt version had when it was first served: from then on it stays."""

    __tablename__ = "served_prompt"

    name: str = Field(primary_key=True)  # "support/v12"
    content_hash: str
    first_served_at: datetime = Field(sa_type=UtcDateTime)
