"""The form of a dialect: one endpoint's way to ask, to answer, to stream and to fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llm_canary.gateway.dialects.answer import AnswerFacts
from llm_canary.gateway.dialects.request import InferenceRequest
from llm_canary.gateway.sse import Marks


@dataclass(slots=True, frozen=True)
class Dialect:
    """One endpoint."""

    name: str  # as recorded: "chat.completions"
    path: str  # below /v1 and below an upstream's base_url
    read: Callable[[bytes], InferenceRequest]
    is_answer: Callable[[dict[str, Any]], bool]  # whether a 200 holds what was asked for
    expects: str  # what an answer must have, for the error message
    note_body: Callable[[AnswerFacts, dict[str, Any]], None]
    note_event: Callable[[AnswerFacts, bytes], None]  # the payload of one `data:` line
    marks: Marks
    error_body: Callable[..., bytes]
    error_frame: Callable[..., bytes]
    is_failed: Callable[[dict[str, Any]], bool] = lambda _: False  # a 200 that reports a failure
