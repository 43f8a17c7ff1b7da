"""From plain values to a strict model, with every fault of form noted in words."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from llm_canary.documents.document import Document
from llm_canary.documents.problems import HIDDEN, KeyPath, Problems, did_you_mean, one_of, shown

_SECRET_KEYS = frozenset({"api_key", "client_secret", "key", "keys"})
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Form(Generic[Model]):
    """The model of a kind of file, and what its problems may refer to.

    A stand-in replaces a faulty required value, so that its neighbours can still be checked; the
    problem already noted at its place silences whatever the stand-in itself would cause.
    """

    model: type[Model]
    stand_ins: Mapping[str, Any] = field(default_factory=dict)


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


def validate(document: Document, problems: Problems, form: Form[Model]) -> Model:
    """Return the file; faulty parts are noted and left out, so that the rest can be checked."""
    data = copy.deepcopy(document.data)
    for number in range(_MAX_ROUNDS):
        try:
            return form.model.model_validate(data)
        except ValidationError as error:
            faults = [(_path(item["loc"], data), item) for item in error.errors(include_url=False)]
        for path, fault in faults:
            if number == 0:  # later rounds only see what the removals caused
                _note(path, fault, problems, form)
            is_gap = fault["type"] == "missing" and path[-1] not in form.stand_ins
            _remove(data, path[:-1] if is_gap else path, form.stand_ins)
    raise problems.error()


def _path(loc: tuple[str | int, ...], data: Any) -> KeyPath:  # noqa: ANN401 - any YAML value
    """Return `loc` without the marks that pydantic adds for unions and keys."""
    path: list[str | int] = []
    told_apart = False  # the mark of the kind has been passed at this mapping
    for index, part in enumerate(loc):
        following = loc[index + 1] if index + 1 < len(loc) else None
        if not told_apart and _is_mark(part, following, data):
            told_apart = True
            continue
        is_key = isinstance(data, dict) and part in data
        is_position = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if is_key or is_position:
            data, told_apart = data[part], False
        elif index < len(loc) - 1 or part == "[key]" or not isinstance(data, dict):
            continue
        path.append(part)
    return tuple(path)


def _is_mark(part: str | int, following: str | int | None, data: Any) -> bool:  # noqa: ANN401
    """Whether `part` names the kind of the entry `data`, not one of its keys."""
    if not isinstance(data, dict) or part not in (data.get("kind"), data.get("type")):
        return False
    return part not in data or following is None or following in data


def _remove(data: dict[str, Any], path: KeyPath, stand_ins: Mapping[str, Any]) -> None:
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
    stand_in = stand_ins.get(str(path[-1]))
    if stand_in is not None and inner.get(path[-1]) != stand_in:
        inner[path[-1]] = stand_in
    else:
        inner.pop(path[-1], None)


def _note(path: KeyPath, fault: ErrorDetails, problems: Problems, form: Form[Model]) -> None:
    kind, context = fault["type"], fault.get("ctx", {})
    value = HIDDEN if _SECRET_KEYS.intersection(path) else shown(fault["input"])
    name = str(path[-1]) if path else ""
    if kind == "missing":
        wrong = "the key is missing"
        problems.add(path, wrong, expected=_meaning(path, form), do=f"add `{name}:`")
    elif kind == "extra_forbidden":
        known = _known_keys(path[:-1], form)
        do = did_you_mean(name, known) or "remove it"
        wrong = "unknown key"
        if name in known:
            wrong, do = "the key belongs to an entry of another `kind`", "remove it"
        problems.add(path, wrong, expected=one_of({*known} - {name}), do=do)
    elif kind == "secret":
        wrong = "a secret is written in plain text" if fault["input"] else "no reference"
        problems.add(path, wrong, expected=context["expected"], do=context["do"])
    elif kind in ("union_tag_not_found", "union_tag_invalid"):
        tag = context["discriminator"].strip("'")
        known = _schema_at(path, form).get("constants", {}).get(tag, [])
        wrong = (
            f"the key `{tag}` is missing" if kind == "union_tag_not_found" else f"unknown `{tag}`"
        )
        near = did_you_mean(context.get("tag"), known) or f"write `{tag}: {known[-1]}`"
        problems.add((*path, tag), wrong, expected=one_of(known), do=near)
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


def _meaning(path: KeyPath, form: Form[Model]) -> str:
    properties = _schema_at(path[:-1], form).get("properties", {})
    return str(properties.get(path[-1], {}).get("description", "a value"))


def _known_keys(path: KeyPath, form: Form[Model]) -> list[str]:
    return list(_schema_at(path, form).get("properties", {}))


def _schema_at(path: KeyPath, form: Form[Model]) -> dict[str, Any]:
    """Return the JSON schema of the mapping at `path`, the keys of all alternatives together."""
    root = form.model.model_json_schema()
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
        for key, value in target.get("properties", {}).items():
            if "const" in value:
                result.setdefault("constants", {}).setdefault(key, []).append(value["const"])
        for key in ("items", "additionalProperties"):
            if isinstance(target.get(key), dict):
                result[key] = target[key]
    return result
