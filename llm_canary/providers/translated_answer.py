"""What litellm answers, as the JSON and the events that OpenAI's clients know."""

from __future__ import annotations

from typing import Any

import orjson

from llm_canary.providers.wire import AnswerCut


def body_of(response: Any) -> bytes:  # noqa: ANN401 - litellm's
    """Return the JSON of a whole answer."""
    value = response.model_dump(exclude_none=True)
    for choice in value.get("choices") or ():
        if isinstance(message := choice.get("message"), dict):
            message.setdefault("content", None)
            _tidy(message)
    return _encoded(value)


def event_of(chunk: Any, stream: Any) -> bytes:  # noqa: ANN401 - litellm's
    """Return a chunk as a server-sent event; raise AnswerCut for an end that litellm made up."""
    value = chunk.model_dump(exclude_none=True)
    choices = value.get("choices") or []
    for choice in choices:
        if choice.setdefault("finish_reason", None) is not None and _is_made_up(stream):
            raise AnswerCut("the provider's stream ended without a finish_reason")
        _tidy(choice.get("delta") or {})
    is_empty = all(not choice.get("delta") and not choice["finish_reason"] for choice in choices)
    if value.get("usage") and is_empty:
        value["choices"] = []  # as OpenAI's usage chunk has it
    return b"data: " + _encoded(value) + b"\n\n"


def _is_made_up(stream: object) -> bool:
    """Say whether litellm ended a stream by itself: it reports a cut one as finished by `stop`."""
    names = ("received_finish_reason", "intermittent_finish_reason")
    return all(getattr(stream, name, "unknown") is None for name in names)


def _tidy(message: dict[str, Any]) -> None:
    """Take out litellm's placeholders for what the provider did not say."""
    extra = message.get("provider_specific_fields")
    if isinstance(extra, dict) and all(value is None for value in extra.values()):
        del message["provider_specific_fields"]


def _encoded(value: dict[str, Any]) -> bytes:
    if isinstance(usage := value.get("usage"), dict):
        usage.pop("cost", None)  # litellm's own guess; ours is made from the route's price
    return orjson.dumps(value, default=str)
