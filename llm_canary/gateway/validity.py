"""Whether an answer is the JSON that was asked for. Runs in the telemetry thread."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import orjson

# Larger ones are only parsed: a check must not hold up telemetry.
_MAX_SCHEMA_BYTES = 64 * 1024
_MAX_ANSWER_CHARS = 256 * 1024


class _Validator(Protocol):
    def is_valid(self, instance: Any) -> bool:  # noqa: ANN401 - JSON can be anything
        ...


def asks_for_json(response_format: object) -> bool:
    """Say whether a `response_format` asks for JSON."""
    return isinstance(response_format, dict) and response_format.get("type") in (
        "json_object",
        "json_schema",
    )


def is_valid(text: str, response_format: object) -> bool | None:
    """Say whether `text` is what `response_format` asks for; None when that cannot be decided.

    `pattern` is not checked: a client's regular expression could take for ever.
    """
    try:
        value = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return False
    if isinstance(response_format, dict) and response_format.get("type") == "json_object":
        return isinstance(value, dict)
    schema = _schema_of(response_format)
    if schema is None or len(text) > _MAX_ANSWER_CHARS:
        return True
    raw = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)
    if len(raw) > _MAX_SCHEMA_BYTES:
        return True
    return _is_valid(value, raw)


def _schema_of(response_format: object) -> object:
    holder = response_format.get("json_schema") if isinstance(response_format, dict) else None
    return holder.get("schema") if isinstance(holder, dict) else None


def _is_valid(value: object, raw_schema: bytes) -> bool | None:
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - only where schemas are used

    validator = _validator(raw_schema)
    if validator is None:
        return None
    try:
        return validator.is_valid(value)
    except (Unresolvable, RecursionError, ValueError, TypeError):
        return None  # the schema refers to what is not there


@lru_cache(maxsize=128)
def _validator(raw_schema: bytes) -> _Validator | None:
    """Return the validator of a schema; None when it is none."""
    from jsonschema import Draft202012Validator, SchemaError, validators  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    schema = orjson.loads(raw_schema)
    if b'"patternProperties"' in raw_schema:
        return None
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError):
        return None
    cls = validators.extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {"pattern": lambda *_: None}
    )
    # An empty registry: a `$ref` must not make this process fetch a URL.
    validator: _Validator = cls(schema, registry=Registry())
    return validator
