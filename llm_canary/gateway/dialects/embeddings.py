"""`POST /v1/embeddings`: text in, vectors out; never a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llm_canary.gateway.dialects.answer import AnswerFacts
from llm_canary.gateway.dialects.chat import CHAT
from llm_canary.gateway.dialects.request import USER, InferenceRequest


class EmbeddingRequest(InferenceRequest):
    """The validated body of a request for embeddings."""

    __slots__ = ()

    def opening(self) -> Iterator[tuple[str, bytes]]:
        """Yield the input."""
        yield USER, self.content()

    def first_user_text(self) -> str:
        """Return the first text of the input."""
        return next(self.texts(), "")

    def texts(self) -> Iterator[str]:
        """Yield each text of the input."""
        given = self.value(("input",))
        for each in given if isinstance(given, list) else [given]:
            if isinstance(each, str):
                yield each

    def content(self) -> bytes:
        """Return the input."""
        return bytes(self.fields.get("input", b"null"))


def _note(facts: AnswerFacts, answer: dict[str, Any]) -> None:
    facts.note_head(answer)
    facts.has_text = False
    if facts.usage is not None:
        facts.usage = {"completion_tokens": 0, **facts.usage}  # there is nothing to generate


EMBEDDINGS = replace(
    CHAT,
    name="embeddings",
    path="/embeddings",
    read=EmbeddingRequest,
    is_answer=lambda answer: isinstance(answer.get("data"), list),
    expects="data",
    note_body=_note,
)
