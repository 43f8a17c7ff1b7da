"""Every difference between SQLite and PostgreSQL that columns and statements meet."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import JSON, ColumnElement, DateTime, Dialect, TableValuedAlias, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.types import TypeDecorator, TypeEngine

from llm_canary.errors import DataError


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime: `timestamptz` on PostgreSQL, sortable text without zone on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive datetimes: their zone would be guessed."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise DataError(f"datetime {value} has no time zone; use llm_canary.clock.utc()")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the value in UTC, whatever zone the session of the database is in."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(TypeDecorator[Any]):
    """A JSON document: `jsonb` on PostgreSQL, text on SQLite."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type of `dialect`."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(JSONB(none_as_null=True))
        return dialect.type_descriptor(JSON(none_as_null=True))


def is_sqlite(bind: Engine | Connection) -> bool:
    """Whether `bind` talks to SQLite (else: PostgreSQL)."""
    return bind.dialect.name == "sqlite"


def text_size(bind: Engine | Connection, text: Any) -> ColumnElement[int]:  # noqa: ANN401
    """Return the size of a text, the same for equal ones; PostgreSQL need not read it for that."""
    return func.length(text) if is_sqlite(bind) else func.octet_length(text)


def json_members(bind: Engine | Connection, document: Any) -> TableValuedAlias:  # noqa: ANN401
    """Return the members of a JSON object to select from: `key`, and `value` as text."""
    members = func.json_each if is_sqlite(bind) else func.jsonb_each_text
    return members(document).table_valued("key", "value", joins_implicitly=True)


def json_text(
    bind: Engine | Connection,
    document: Any,  # noqa: ANN401
    key: ColumnElement[str],
    name: str,
) -> ColumnElement[str]:
    """Return the text at `key`, then `name` of a JSON document; NULL where there is none."""
    if is_sqlite(bind):
        return func.json_extract(document, '$."' + key + f'".{name}')
    return func.jsonb_extract_path_text(document, key, name)


def without_nul(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON with U+FFFD for each NUL: PostgreSQL has no text with one, nor looks for one."""
    match value:
        case str() if "\0" in value:
            return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
        case dict():
            return {without_nul(name): without_nul(each) for name, each in value.items()}
        case list() | tuple():
            return [without_nul(each) for each in value]
        case _:
            return value


def sqlite_time(seconds: float) -> str:
    """Return UTC `seconds` as `UtcDateTime` stores it on SQLite."""
    second, microsecond = divmod(round(seconds * 1e6), 1_000_000)
    return f"{_sqlite_second(second)}.{microsecond:06d}"


@lru_cache(maxsize=256)  # the rows of a batch share a few seconds
def _sqlite_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat(" ")
