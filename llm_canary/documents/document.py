"""YAML 1.2 text as plain values, each with its line.

The node graph is composed by ruamel.yaml and turned into values here, because three things must be
known that a loader hides: the line of every value, every duplicate key at once, and how much
aliases unfold to.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from llm_canary.documents.problems import KeyPath, Problems, shown
from llm_canary.errors import ConfigError

MAX_BYTES = 512 * 1024
MAX_VALUES = 20_000
MAX_DEPTH = 40
_CORE = "tag:yaml.org,2002:"
_BOOLS = {"true": True, "false": False}
_PLAIN_TAGS = ("str", "timestamp", "merge", "value")


@dataclass(frozen=True, slots=True)
class Document:
    """The values of one YAML file and where each stands."""

    data: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line_of(self, path: KeyPath) -> int | None:
        """Return the line of `path`, or of the nearest thing around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path)


@dataclass(frozen=True, slots=True)
class Hints:
    """The ways out that differ by the kind of file."""

    begins: str  # what such a file begins with
    absent: str = ""  # appended when it cannot be read
    too_large: str = "split it"


class _TooLarge(Exception):  # noqa: N818 - never leaves this file
    """Aliases or nesting unfold beyond every honest file."""


def read_document(path: Path, problems: Problems, hints: Hints) -> Document:
    """Return the document of `path`; raise ConfigError when there is nothing to check at all."""
    return parse_document(_text(path, hints), problems, hints)


def parse_document(text: str, problems: Problems, hints: Hints) -> Document:
    """Return the document of `text`; note duplicate keys and odd values in `problems`."""
    root = _compose(text, problems)
    if not isinstance(root, MappingNode):
        expected = f"a mapping that begins with `{hints.begins}`"
        raise problems.fatal(
            "the file is empty" if root is None else "the file is no mapping", expected
        )
    walk = _Walk(problems)
    try:
        data = walk.value(root, ())
    except _TooLarge as error:
        raise problems.fatal(
            str(error), "a file without aliases to large or recursive parts"
        ) from None
    return Document(data=data, lines=walk.lines)


def _text(path: Path, hints: Hints) -> str:
    name = path.name
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}{hints.absent}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{name} is larger than {MAX_BYTES} bytes; {hints.too_large}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{name}:{line}: the text is not UTF-8; save the file as UTF-8") from None


def _compose(text: str, problems: Problems) -> Node | None:
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = MAX_DEPTH
    yaml.composer.warn_double_anchors = False  # the warning would print the line
    try:
        node: Node | None = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        source = text.splitlines()[line - 1 : line] if line else []
        if source and re.match(r" *\t", source[0]):
            raise problems.fatal("a tab indents this line", "spaces", line=line) from None
        raise problems.fatal(_syntax(error), "YAML 1.2", line=line) from None
    except RecursionError:
        raise problems.fatal(
            "the file is nested too deeply", f"at most {MAX_DEPTH} levels"
        ) from None
    except (YAMLError, ValueError) as error:
        # ReaderError: control characters, which YAML forbids.
        line = text[: getattr(error, "position", 0) or 0].count("\n") + 1
        raise problems.fatal("a character that YAML forbids", "printable text", line=line) from None
    return node


def _syntax(error: MarkedYAMLError) -> str:
    """Return ruamel's reason without quoted names: a name may be a secret at the wrong place."""
    reason = re.sub(r"'([^']{3,})'|\"([^\"]{3,})\"", "…", str(error.problem or error.context or ""))
    return f"the YAML cannot be read ({reason})"


class _Walk:
    """One pass over the node graph, with a budget."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.lines: dict[KeyPath, int] = {}
        self._count = 0

    def value(self, node: Node, path: KeyPath) -> Any:  # noqa: ANN401 - any YAML value
        self._count += 1
        if self._count > MAX_VALUES:
            raise _TooLarge(f"the file unfolds to more than {MAX_VALUES} values")
        if len(path) > MAX_DEPTH:
            raise _TooLarge(f"the file is nested more than {MAX_DEPTH} levels deep")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)  # noqa: S101 - there are three kinds of nodes
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode) or not _is_text(key_node):
                odd = shown(key_node.value) if isinstance(key_node, ScalarNode) else "a collection"
                wrong, do = f"the key {odd} is not text", "put it in quotes"
                self.problems.add((*path, odd), wrong, expected="text as key", do=do, line=line)
                continue
            key = key_node.value
            if key in result:
                first = self.lines[*path, key]
                do = f"keep one; the first is on line {first}"
                wrong = "the key stands twice"
                self.problems.add((*path, key), wrong, expected="each key once", do=do, line=line)
                continue
            self.lines[*path, key] = line
            result[key] = self.value(value_node, (*path, key))
        return result

    def _scalar(self, node: ScalarNode, path: KeyPath) -> str | bool | int | float | None:
        try:
            return _plain(_kind(node), node.value)
        except ValueError:
            line = node.start_mark.line + 1
            wrong, do = f"{shown(node.value)} is no plain value", "put it in quotes if it is text"
            self.problems.add(path, wrong, expected="text or a finite number", do=do, line=line)
            return None


def _kind(node: ScalarNode) -> str:
    return str(node.tag or "").removeprefix(_CORE)


def _is_text(node: ScalarNode) -> bool:
    return _kind(node) in _PLAIN_TAGS or (
        _kind(node) == "bool" and node.value.lower() not in _BOOLS
    )


def _plain(kind: str, text: str) -> str | bool | int | float | None:
    """Return the value of a scalar; raise ValueError when it has none that JSON can carry."""
    if kind in _PLAIN_TAGS:
        text.encode()  # an escape can smuggle in half a surrogate pair
        if "\0" in text:
            raise ValueError(kind)
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return _BOOLS.get(text.lower(), text)  # `no` is text
    if kind == "int":
        base = {"0o": 8, "0x": 16, "0b": 2}.get(text.lstrip("+-")[:2].lower(), 10)
        return int(text, base)
    if kind == "float":
        value = float(text.replace(".inf", "inf").replace(".nan", "nan"))
        if math.isfinite(value):
            return value
    raise ValueError(kind)
