"""Who gives the answers that a check grades, and the one who has given them: a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from llm_canary.documents.rows import RowProblems, read_rows
from llm_canary.errors import ConfigError, DataError
from llm_canary.rubric.item import Item, tool_calls_of


class Answer(Struct, frozen=True):
    """What a candidate said; `failure` says why it said nothing."""

    text: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    failure: str = ""


class Candidate(Protocol):
    """Answers items."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def model(self) -> str | None:
        """Which model answers, as its provider names it; None where nobody says."""
        ...

    @property
    def is_live(self) -> bool:
        """Whether asking again may give another answer."""
        ...

    async def answer(self, item: Item, repeat: int) -> Answer:
        """Return the answer; never raises for what a provider does."""
        ...


class Recorded:
    """Answers from a file of responses, or from the dataset itself."""

    is_live = False
    model: str | None = None

    def __init__(self, path: Path | None) -> None:
        self.name = path.name if path else "the dataset's responses"
        self._answers = _read_responses(path) if path else None

    async def answer(self, item: Item, repeat: int) -> Answer:  # noqa: ARG002 - the protocol's
        """Return what is recorded."""
        if self._answers is not None:
            return self._answers.get(item.id) or Answer(failure="no response is recorded")
        if item.response is None and not item.tool_calls:
            return Answer(failure="the row has no `response`")
        return Answer(item.response or "", tuple(map(dict, item.tool_calls)))


def _read_responses(path: Path) -> dict[str, Answer]:
    problems = RowProblems(path)
    found: dict[str, Answer] = {}
    for line, values in read_rows(path, problems):
        name, response = values.get("id"), values.get("response")
        if isinstance(name, bool) or not isinstance(name, str | int):
            problems.add(line, "`id` is missing")
        elif str(name) in found:
            problems.add(line, f"id {name!r} stands twice")
        elif not isinstance(response, str | None) or "error" in values:
            found[str(name)] = Answer(failure="the recording says that it failed")
        else:
            try:
                calls = tool_calls_of(values.get("tool_calls"))
            except DataError as error:
                problems.add(line, error.message)
                continue
            found[str(name)] = Answer(response or "", tuple(map(dict, calls)))
    problems.raise_any()
    if not found:
        raise ConfigError(f"{path.name} holds no responses")
    return found
