"""A recorded exchange as what judges and people see of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llm_canary.rubric.sample import Sample

_MEDIA = re.compile("image|audio|video|file|document")


def recorded_turns(request: str) -> list[dict[str, str]] | None:
    """Return the texts of a recorded request up to the user's last; None where there is none.

    A recorded request is what the client sent as `messages`, `input` or `prompt`, cut where it was
    too long: JSON that does not end is no request any more. Of a message without text there is
    what it was, `[image_url]`.
    """
    return _until_user(_turns(request)) or None


def _until_user(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    last = max((k for k, each in enumerate(turns) if each["role"] == "user"), default=-1)
    return turns[: last + 1]


def _turns(request: str) -> list[dict[str, str]]:
    try:
        given = json.loads(request)
    except ValueError:
        return []
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        return []
    turns = []
    for each in given:
        if isinstance(each, str):
            turns.append({"role": "user", "content": each})
        elif isinstance(each, dict) and (text := _text(each.get("content"))):
            turns.append({"role": str(each.get("role", "user")), "content": text})
    return turns


def recorded_sample(
    name: str, request: str, response: str, *, tags: Mapping[str, str]
) -> Sample | None:
    """Return the exchange to be graded; None where the request cannot be read any more.

    Where the user has said nothing, the model has answered the other messages.
    """
    turns = _turns(request)
    turns = _until_user(turns) or turns
    if not turns:
        return None
    return Sample(
        id=name,
        prompt=turns[-1]["content"],
        response=response,
        history=turns[:-1],
        tags=tags,
    )


def stored_sample(name: str, known: tuple[Any, ...] | None) -> Sample | None:
    """Return the exchange of a row of `texts`; None where its text is not kept or unreadable.

    Judges and people are given the same: what does not apply to one does not apply to the other.
    """
    if known is None:
        return None
    endpoint, route, request, response, segments = known
    if request is None or response is None:
        return None
    tags = {str(key): str(value) for key, value in (segments or {}).items()}
    tags |= {"endpoint": endpoint, **({"route": route} if route else {})}
    return recorded_sample(name, request, response, tags=tags)


def _text(content: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [each for each in content if isinstance(each, dict)]
    texts = [each["text"] for each in parts if isinstance(each.get("text"), str)]
    kinds = [str(each.get("type", "")) for each in parts]
    return "\n".join(texts) or " ".join(f"[{kind}]" for kind in kinds if _MEDIA.search(kind))
