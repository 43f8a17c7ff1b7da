"""What is graded: one answer with what is needed to grade it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Sample(NamedTuple):
    """One answer to one prompt; neither variant nor model is in it, so that none can be shown."""

    id: str
    prompt: str
    response: str
    reference: str | None = None
    context: str | None = None
    history: Sequence[Mapping[str, str]] = ()  # earlier messages: role and content
    tags: Mapping[str, str] = {}
    tool_calls: Sequence[Mapping[str, Any]] = ()  # name and arguments

    def material(self, name: str) -> str | None:
        """Return the prompt, response, reference or context; None where it is absent or empty."""
        return {
            "prompt": self.prompt,
            "response": self.response,
            "reference": self.reference,
            "context": self.context,
        }[name] or None
