"""`POST /v1/completions`: text in, text out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llm_canary.gateway.dialects.answer import AnswerFacts, dicts, loaded
from llm_canary.gateway.dialects.chat import CHAT, asks_for_usage, choices_of
from llm_canary.gateway.dialects.request import USER, InferenceRequest


class CompletionRequest(InferenceRequest):
    """The validated body of a completion."""

    __slots__ = ()

    def opening(self) -> Iterator[tuple[str, bytes]]:
        """Yield the prompt: a completion is a conversation of its own."""
        yield USER, self.content()

    def first_user_text(self) -> str:
        """Return the prompt as text; tokens have none."""
        return "\n".join(self.texts())

    def texts(self) -> Iterator[str]:
        """Yield each prompt."""
        prompt = self.value(("prompt",))
        for each in prompt if isinstance(prompt, list) else [prompt]:
            if isinstance(each, str):
                yield each

    def content(self) -> bytes:
        """Return the prompt."""
        return bytes(self.fields.get("prompt", b"null"))

    def asks_for_usage(self) -> bool:
        """Say whether the client itself asked for the usage chunk."""
        return asks_for_usage(self)

    def choices(self) -> int:
        """Return how many answers were asked for: `n` for each prompt."""
        prompt = self.value(("prompt",))
        prompts = len(prompt) if isinstance(prompt, list) else 1
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
            prompts = 1  # the tokens of one prompt
        return choices_of(self) * max(prompts, 1)


def _note(facts: AnswerFacts, answer: dict[str, Any]) -> None:
    facts.note_head(answer)
    for entry in dicts(answer.get("choices")):
        choice = facts.choice(entry.get("index"))
        if isinstance(text := entry.get("text"), str):
            choice.text.append(text)
        if isinstance(reason := entry.get("finish_reason"), str):
            choice.note_finish(reason)


COMPLETIONS = replace(
    CHAT,
    name="completions",
    path="/completions",
    read=CompletionRequest,
    note_body=_note,
    note_event=lambda facts, payload: _note(facts, loaded(payload)),
)
