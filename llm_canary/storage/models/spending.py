"""What budgets are compared with."""

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class BudgetDay(SQLModel, table=True):
    """What a key or a route has cost on a day (UTC)."""

    __tablename__ = "budget_day"

    day: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    kind: str = Field(primary_key=True)  # key, route
    name: str = Field(primary_key=True)
    spent_nanousd: int = Field(sa_type=BigInteger)
