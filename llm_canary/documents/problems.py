"""Every problem of the configuration at once, each with line, fact, expectation and way out.

A message never holds a secret: nothing at a secret's place is repeated, nor anything that looks
like one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches

from llm_canary.errors import ConfigError

KeyPath = tuple[str | int, ...]
# A long run of mixed letters and digits, the customary prefix, or credentials inside a URL.
_LOOKS_SECRET = re.compile(r"(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{20,}|\bsk[-_]|://[^/\s]*@")
_MAX_SHOWN = 60
HIDDEN = "(not shown)"


class Problems:
    """The list that grows while a file is checked."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._found: list[tuple[int, str]] = []
        self._paths: set[KeyPath] = set()
        self.line_of: Callable[[KeyPath], int | None] = lambda _: None

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(
        self,
        path: KeyPath,
        wrong: str,
        *,
        expected: str = "",
        do: str = "",
        line: int | None = None,
    ) -> None:
        """Note one problem at `path`; `line` when it is another than the path's.

        A path with a problem at it or below it has been judged already: what follows is no news.
        """
        if path in self._paths:
            return
        self._paths.update(path[:length] for length in range(1, len(path) + 1))
        number = line if line is not None else self.line_of(path)
        parts = [wrong, f"expected {expected}" if expected else "", do]
        text = f"{dotted(path)}: " if path else ""
        text += "; ".join(part for part in parts if part)
        self._found.append((number or 0, self._at(number, text)))

    def fatal(self, wrong: str, expected: str, *, line: int | None = None) -> ConfigError:
        """Return the error of a file that cannot be checked any further."""
        self._found.append((line or 0, self._at(line, f"{wrong}; expected {expected}")))
        return self.error()

    def error(self) -> ConfigError:
        """Return one error that holds every problem, in the order of the lines."""
        found = tuple(dict.fromkeys(text for _, text in sorted(self._found)))
        head = f"{self._file} has {len(found)} problem{'s' if len(found) > 1 else ''}:"
        return ConfigError("\n".join([head, *(f"  {text}" for text in found)]), problems=found)

    def _at(self, line: int | None, text: str) -> str:
        return f"{self._file}:{line}: {text}" if line else f"{self._file}: {text}"


def dotted(path: KeyPath) -> str:
    """Return `path` as people write it: plans.careful.stages[1].min."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{_name(part)}"
    return text.removeprefix(".")


def shown(value: object) -> str:
    """Return `value` as a message may show it."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = repr(value)
    if _LOOKS_SECRET.search(text):
        return HIDDEN
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return the nearest known word as a way out, or nothing."""
    near = get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""


def one_of(known: Iterable[str]) -> str:
    """Return the choice in words."""
    names = sorted(known)
    return f"one of {', '.join(names)}" if names else "none, because none is defined"


def _name(part: str) -> str:
    return shown(part) if _LOOKS_SECRET.search(part) or len(part) > _MAX_SHOWN else part
