"""Patterns of the file, by RE2: whatever they and the text are, the time is that of the length.

RE2 is loaded where a pattern is used, so that an installation without any does not pay for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_canary.errors import ConfigError
from llm_canary.privacy.kinds import Find

MAX_PATTERNS = 50
MAX_PATTERN_CHARS = 500
_MAX_MEMORY = 1 << 20  # of a compiled pattern; RE2 refuses what needs more


class CustomPatterns:
    """The patterns of one route."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        self._patterns = [(name, _compiled(text)) for name, text in patterns.items()]

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def finds(self, text: str) -> Iterator[Find]:
        """Yield what the patterns match; matches without a character are none."""
        for name, pattern in self._patterns:
            for match in pattern.finditer(text):
                start, end = match.span()
                if end > start:
                    yield Find(start, end, name, text[start:end])


def problem_of(pattern: str) -> str | None:
    """Return what is wrong with a pattern, None when it can be used."""
    try:
        _compiled(pattern)
    except ConfigError as error:
        return error.message
    return None


def _compiled(pattern: str) -> Any:  # noqa: ANN401 - RE2 has no types
    import re2  # noqa: PLC0415

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else b""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ConfigError(
            f"{text}; there are no look-arounds and no references to groups"
        ) from None
    if compiled.search("") is not None:
        raise ConfigError("it matches a text without characters; make it narrower")
    return compiled
