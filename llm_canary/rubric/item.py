"""One row of a dataset, from a file and into one.

A row has `id` and `prompt` (or `messages`), and where they are `reference`, `context`, `tags`,
`conversation` (rows of one are not independent), `response` and `tool_calls`. In CSV and Parquet,
columns that are called `tag:NAME` are tags.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from llm_canary.documents.rows import Row
from llm_canary.errors import DataError
from llm_canary.rubric.sample import Sample

_KNOWN = frozenset(
    {"id", "prompt", "messages", "reference", "context", "tags", "conversation", "response"}
    | {"tool_calls", "metadata", "source", "licence"}
)
_TAG = "tag:"


class Item(NamedTuple):
    """One row of a dataset."""

    id: str
    prompt: str
    history: tuple[Mapping[str, str], ...] = ()  # earlier messages, the system's among them
    reference: str | None = None
    context: str | None = None
    tags: Mapping[str, str] = {}
    conversation: str | None = None
    response: str | None = None  # where the dataset holds answers itself
    tool_calls: Sequence[Mapping[str, Any]] = ()

    def sample(self, response: str, tool_calls: Sequence[Mapping[str, Any]] = ()) -> Sample:
        """Return the answer to this item as what is graded."""
        return Sample(
            id=self.id,
            prompt=self.prompt,
            response=response,
            reference=self.reference,
            context=self.context,
            history=self.history,
            tags=self.tags,
            tool_calls=tool_calls,
        )


class ItemsHash:
    """The SHA-256 of what the items mean, not of how they are written."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, item: Item) -> None:
        """Take in the next item."""
        self._digest.update(orjson.dumps(item, default=list))

    def hexdigest(self) -> str:
        """Return the hash of the items so far."""
        return self._digest.hexdigest()


def item_row(item: Item) -> dict[str, Any]:
    """Return the row that an item is written as."""
    row: dict[str, Any] = {"id": item.id}
    if item.history:
        row["messages"] = [*item.history, {"role": "user", "content": item.prompt}]
    else:
        row["prompt"] = item.prompt
    for name in ("reference", "context", "conversation", "response"):
        if getattr(item, name) is not None:
            row[name] = getattr(item, name)
    if item.tool_calls:
        row["tool_calls"] = list(item.tool_calls)
    return row | {f"{_TAG}{name}": value for name, value in item.tags.items()}


def item_of(row: Row) -> Item:
    """Return the item of a row; raise DataError for what is none."""
    values = row.values
    unknown = [name for name in values if name not in _KNOWN and not name.startswith((_TAG, "x_"))]
    if unknown:
        raise DataError(
            f"unknown key {unknown[0]!r}; expected {', '.join(sorted(_KNOWN))}, tag:NAME or x_NAME"
        )
    name = values.get("id")
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise DataError("`id` is missing; each row needs its own")
    prompt, history = _messages(values)
    return Item(
        id=str(name),
        prompt=prompt,
        history=history,
        reference=_text(values, "reference"),
        context=_text(values, "context"),
        tags=_tags(values),
        conversation=_text(values, "conversation"),
        response=_text(values, "response"),
        tool_calls=tool_calls_of(values.get("tool_calls")),
    )


def tool_calls_of(value: object) -> tuple[Mapping[str, Any], ...]:
    """Return tool calls as names with arguments, from this form or OpenAI's."""
    if isinstance(value, str):
        value = _parsed(value, "tool_calls")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise DataError("`tool_calls` is no list of objects")
    found = []
    for each in value:
        call = each.get("function", each)
        arguments = call.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except ValueError:
                arguments = None  # what the model wrote is no JSON, and no rule is met by it
        found.append({"name": call.get("name"), "arguments": arguments})
    return tuple(found)


def _messages(values: Mapping[str, Any]) -> tuple[str, tuple[Mapping[str, str], ...]]:
    messages = values.get("messages")
    if isinstance(messages, str):
        messages = _parsed(messages, "messages")
    if messages is None:
        prompt = _text(values, "prompt")
        if prompt is None:
            raise DataError("`prompt` (or `messages`) is missing")
        return prompt, ()
    if not isinstance(messages, list) or not messages:
        raise DataError("`messages` is no list of messages")
    turns = []
    for message in messages:
        role, content = (
            (message.get("role"), message.get("content")) if isinstance(message, dict) else (0, 0)
        )
        if not isinstance(role, str) or not isinstance(content, str):
            raise DataError("a message has no `role` or no text as `content`")
        turns.append({"role": role, "content": content})
    if turns[-1]["role"] != "user":
        raise DataError("the last message is not the user's; the answer to it is what is graded")
    return turns[-1]["content"], tuple(turns[:-1])


def _tags(values: Mapping[str, Any]) -> dict[str, str]:
    tags = values.get("tags")
    if isinstance(tags, str):
        tags = _parsed(tags, "tags")
    if tags is not None and not isinstance(tags, dict):
        raise DataError("`tags` is no mapping such as {language: de}")
    found = {str(name): str(value) for name, value in (tags or {}).items()}
    return found | {
        name.removeprefix(_TAG): str(value)
        for name, value in values.items()
        if name.startswith(_TAG)
    }


def _parsed(text: str, name: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise DataError(f"`{name}` is no JSON") from None


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"`{name}` is no text")
