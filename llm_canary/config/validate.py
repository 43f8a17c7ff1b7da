"""From plain values to CanaryFile, with every fault of form noted in words."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from llm_canary.config.document import Document
from llm_canary.config.file import CanaryFile
from llm_canary.config.problems import HIDDEN, KeyPath, Problems, did_you_mean, one_of, shown

_SECRET_KEYS = frozenset({"api_key", "key", "keys"})
# What stands in for a faulty required value, so that its neighbours can still be checked. The
# problem already noted at its place silences whatever the stand-in itself would cause.
_STAND_INS: dict[str, Any] = {
    "api_version": "2024-10-21",
    "base_url": "http://localhost",
    "dataset": "-",
    "input_per_million": 0.0,
    "key": "file:/-",
    "model": "-",
    "output_per_million": 0.0,
    "provider": "-",
    "route": "unknown",
    "rubric": "unknown",
    "upstream": "unknown",
    "version": 1,
    "window": "1h",
}
_MAX_ROUNDS = 100
_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "too_short": "at least one entry",
    "string_too_short": "text that is not empty",
}


def validate(document: Document, problems: Problems) -> CanaryFile:
    """Return the file; faulty parts are noted and left out, so that the rest can be checked."""
    data = copy.deepcopy(document.data)
    for number in range(_MAX_ROUNDS):
        try:
            return CanaryFile.model_validate(data)
        except ValidationError as error:
            faults = [(_path(item["loc"], data), item) for item in error.errors(include_url=False)]
        for path, fault in faults:
            if number == 0:  # later rounds only see what the removals caused
                _note(path, fault, problems)
            is_gap = fault["type"] == "missing" and path[-1] not in _STAND_INS
            _remove(data, path[:-1] if is_gap else path)
    raise problems.error()


def _path(loc: tuple[str | int, ...], data: Any) -> KeyPath:  # noqa: ANN401 - any YAML value
    """Return `loc` without the marks that pydantic adds for unions and keys."""
    path: list[str | int] = []
    for index, part in enumerate(loc):
        is_key = isinstance(data, dict) and part in data
        is_position = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if is_key or is_position:
            data = data[part]
        elif index < len(loc) - 1 or part == "[key]" or not isinstance(data, dict):
            continue
        path.append(part)
    return tuple(path)


def _remove(data: dict[str, Any], path: KeyPath) -> None:
    """Take the faulty part out; a list goes as a whole, so that the others keep their positions."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    inner: Any = data
    for part in path[:-1]:
        if isinstance(inner, dict) and part not in inner:
            return  # it went with something around it
        inner = inner[part]
    if not path or not isinstance(inner, dict):
        return
    stand_in = _STAND_INS.get(str(path[-1]))
    if stand_in is not None and inner.get(path[-1]) != stand_in:
        inner[path[-1]] = stand_in
    else:
        inner.pop(path[-1], None)


def _note(path: KeyPath, fault: ErrorDetails, problems: Problems) -> None:
    kind, context = fault["type"], fault.get("ctx", {})
    value = HIDDEN if _SECRET_KEYS.intersection(path) else shown(fault["input"])
    name = str(path[-1]) if path else ""
    if kind == "missing":
        wrong = "the key is missing"
        problems.add(path, wrong, expected=_meaning(path), do=f"add `{name}:`")
    elif kind == "extra_forbidden":
        known = _known_keys(path[:-1])
        do = did_you_mean(name, known) or "remove it"
        wrong = "unknown key"
        if name in known:
            wrong, do = "the key belongs to an upstream of another `kind`", "remove it"
        problems.add(path, wrong, expected=one_of({*known} - {name}), do=do)
    elif kind == "secret":
        wrong = "a secret is written in plain text" if fault["input"] else "no reference"
        problems.add(path, wrong, expected=context["expected"], do=context["do"])
    elif kind in ("union_tag_not_found", "union_tag_invalid"):
        wrong = "the key `kind` is missing" if kind == "union_tag_not_found" else "unknown `kind`"
        problems.add(
            (*path, "kind"),
            wrong,
            expected="anthropic, litellm or openai",
            do="write `kind: openai`",
        )
    else:
        expected, do = _expectation(kind, context, fault)
        if kind == "string_type" and isinstance(fault["input"], bool | int | float):
            do = "put it in quotes"
        do = do or ("" if isinstance(fault["input"], dict | list) else _near(fault, context))
        wrong = f"{value} does not fit" if value != HIDDEN else "the value does not fit (not shown)"
        problems.add(path, wrong, expected=expected, do=do)


def _expectation(kind: str, context: dict[str, Any], fault: ErrorDetails) -> tuple[str, str]:
    if kind == "expected":
        return context["expected"], context["do"]
    if kind in _KINDS:
        return _KINDS[kind], ""
    if kind in ("literal_error", "enum"):
        return str(context["expected"]).replace("'", ""), ""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [f"{signs[key]} {context[key]}" for key in signs if key in context]
    return f"a number {' and '.join(bounds)}" if bounds else fault["msg"], ""


def _near(fault: ErrorDetails, context: dict[str, Any]) -> str:
    if fault["type"] not in ("literal_error", "enum"):
        return ""
    words = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
    return did_you_mean(fault["input"], words)


def _meaning(path: KeyPath) -> str:
    properties = _schema_at(path[:-1]).get("properties", {})
    return str(properties.get(path[-1], {}).get("description", "a value"))


def _known_keys(path: KeyPath) -> list[str]:
    return list(_schema_at(path).get("properties", {}))


def _schema_at(path: KeyPath) -> dict[str, Any]:
    """Return the JSON schema of the mapping at `path`, the keys of all alternatives together."""
    root = CanaryFile.model_json_schema()
    node: dict[str, Any] = root
    for part in path:
        inner = node.get("properties", {}).get(part) or node.get("additionalProperties")
        node = _merged(inner if isinstance(inner, dict) else node.get("items", {}), root)
    return node


def _merged(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    alternatives: Iterable[dict[str, Any]] = node.get("anyOf", node.get("oneOf", [node]))
    result: dict[str, Any] = {"properties": {}}
    for alternative in alternatives:
        target = alternative
        if "$ref" in alternative:
            target = root["$defs"][alternative["$ref"].rpartition("/")[2]]
        result["properties"] |= target.get("properties", {})
        for key in ("items", "additionalProperties"):
            if isinstance(target.get(key), dict):
                result[key] = target[key]
    return result
