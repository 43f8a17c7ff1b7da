"""The SQL tables; only `llm_canary.storage` imports them.

Telemetry tables have no foreign keys: a fact is never refused because what it points to is not
known here yet.
"""

from sqlmodel import SQLModel

# A later migration can drop only what has a name; by itself SQLite names nothing.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
