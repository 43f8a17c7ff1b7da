"""What belongs to the installation itself."""

from sqlmodel import Field, SQLModel


class Installation(SQLModel, table=True):
    """A value made once and shared by all processes, such as the secret that keys unit hashes."""

    __tablename__ = "installation"

    key: str = Field(primary_key=True)
    value: str
