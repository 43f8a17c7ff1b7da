"""Reference tables of strict documents as Markdown, written from their models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Definitions = Mapping[str, Mapping[str, Any]]
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false"}


def sections(root: type[BaseModel], places: Mapping[str, str]) -> list[str]:
    """Return a table for each model of `places` (name -> title), in that order.

    Raises ValueError for a model that has no place.
    """
    schema = root.model_json_schema(by_alias=True)
    models = {**schema["$defs"], root.__name__: schema}
    missing = {name for name, model in models.items() if "properties" in model} - places.keys()
    if missing:
        raise ValueError(f"{sorted(missing)} have no place in the reference; add them")
    return [_section(title, models[name], models) for name, title in places.items()]


def renewed(page: str, begin: str, end: str, text: str) -> str:
    """Return `page` with `text` between the two markers."""
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page lacks the markers {begin} and {end}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _section(title: str, model: dict[str, Any], definitions: Definitions) -> str:
    required = model.get("required", [])
    fields = sorted(model["properties"].items(), key=lambda item: item[0] not in required)
    rows = [
        f"| `{name}` | {_kind(field, definitions)} "
        f"| {_default(field, is_required=name in required)} | {field.get('description', '')} |"
        for name, field in fields
    ]
    head = ["| key | kind | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"### {title}", "", model["description"], "", *head, *rows])


def _kind(field: dict[str, Any], definitions: Definitions) -> str:
    if "$ref" in field:
        target = definitions[field["$ref"].rpartition("/")[2]]
        return "mapping" if "properties" in target else "choice"
    if "const" in field:
        return f"`{str(field['const']).lower() if field['const'] is True else field['const']}`"
    if "enum" in field:
        return "choice"
    if alternatives := field.get("anyOf", field.get("oneOf")):
        kinds = [_kind(one, definitions) for one in alternatives if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if field.get("type") == "array":
        return f"list of {_kind(field['items'], definitions)}"
    if field.get("type") == "object":
        inner = field.get("additionalProperties")
        return f"name → {_kind(inner, definitions)}" if isinstance(inner, dict) else "mapping"
    return str(field.get("format") or _TYPES[field["type"]])


def _default(field: dict[str, Any], *, is_required: bool) -> str:
    if is_required:
        return "**required**"
    value = field.get("default")
    if value in (None, [], {}, ""):
        return ""
    if field.get("format") == "duration":
        return f"`{value:g}s`"
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
