"""Prompt versions: Jinja2 text beside the file, content-hashed, taken apart before served."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, TemplateSyntaxError, nodes

from llm_canary.documents.problems import shown
from llm_canary.errors import ConfigError
from llm_canary.routing.table import PromptVariable

MAX_BYTES = 256 * 1024
_ALLOWED = '{{ metadata.name }} or {{ metadata.name | default("text") }}'
_BRACES = "write literal braces between {% raw %} and {% endraw %}"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt version."""

    name: str  # "support/v12"
    text: str | None  # without its comments; None when it has variables
    parts: tuple[str | PromptVariable, ...]  # empty when it has none
    hash: str  # SHA-256 of the source, hex


def prompt_file(folder: Path, name: str) -> Path:
    """Return the file of `name`; raise ConfigError when it would lie outside `folder`."""
    path = folder / f"{name}.md"
    try:
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # a name too long, a link to itself
        raise ConfigError(
            f"prompt {shown(name)} has an impossible path: {error.args[-1]}"
        ) from None
    if not is_inside:
        raise ConfigError(
            f"prompt {shown(name)} leads outside {folder.name}/; move the file into it"
        )
    return path


def load_prompt(folder: Path, name: str) -> Prompt:
    """Return the prompt version `name`; raise ConfigError naming file, line and way out."""
    path = prompt_file(folder, name)
    where = f"{folder.name}/{name}.md"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{where} cannot be read: {error.strerror}; expected the prompt's text there"
        ) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{where} is larger than {MAX_BYTES} bytes; shorten it")
    try:
        source = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{where}:{line}: the text is not UTF-8; save the file as UTF-8"
        ) from None
    parts = _parts(source, where)
    digest = hashlib.sha256(data).hexdigest()
    if any(isinstance(part, PromptVariable) for part in parts):
        return Prompt(name=name, text=None, parts=parts, hash=digest)
    text = "".join(part for part in parts if isinstance(part, str))
    if not text.strip():
        raise ConfigError(f"{where} is empty; write the system message, or drop `prompt`")
    return Prompt(name=name, text=text, parts=(), hash=digest)


def _parts(source: str, where: str) -> tuple[str | PromptVariable, ...]:
    """Return the template's text and variables in their order, nothing of it computed."""
    tree, expressions = _parsed(source, where)
    for node in tree.body:
        if not isinstance(node, nodes.Output):
            message = (
                f"{where}:{node.lineno}: statements between {{% and %}} are not allowed; expected "
                f"{_ALLOWED}; {_BRACES}"
            )
            raise ConfigError(message)
    parts: list[str | PromptVariable] = []
    for node in (inner for output in tree.find_all(nodes.Output) for inner in output.nodes):
        if not isinstance(node, nodes.TemplateData):
            parts.append(_variable(node, next(expressions), where))
        elif parts and isinstance(parts[-1], str):
            parts[-1] += node.data
        elif node.data:
            parts.append(node.data)
    return tuple(parts)


def _parsed(source: str, where: str) -> tuple[nodes.Template, Iterator[str]]:
    """Return the template and its expressions as they are written."""
    environment = Environment(autoescape=False)  # noqa: S701 - the text goes to a model
    try:
        tree = environment.parse(source)
        return tree, _expressions(list(environment.lex(source)))
    except TemplateSyntaxError as error:
        message = f"{where}:{error.lineno}: the Jinja2 text cannot be read; {_BRACES}"
        raise ConfigError(message) from None
    except ValueError:  # a number of thousands of digits
        raise ConfigError(f"{where}: the Jinja2 text cannot be read; {_BRACES}") from None
    except RecursionError:
        raise ConfigError(f"{where}: the Jinja2 text is nested too deeply; {_BRACES}") from None


def _expressions(tokens: Iterable[tuple[int, str, str]]) -> Iterator[str]:
    """Yield what stands between each {{ and }}, as it is written."""
    inside: list[str] | None = None
    for _, kind, text in tokens:
        if kind == "variable_begin":
            inside = []
        elif kind == "variable_end" and inside is not None:
            yield "".join(inside).strip()
            inside = None
        elif inside is not None:
            inside.append(text)


def _variable(node: nodes.Expr, written: str, where: str) -> PromptVariable:
    match node:
        case nodes.Getattr(node=nodes.Name(name="metadata"), attr=str(name)):
            return PromptVariable(path=("metadata", name))
        case nodes.Filter(
            node=nodes.Getattr(node=nodes.Name(name="metadata"), attr=str(name)),
            name="default",
            args=[nodes.Const(value=str(default))],
            kwargs=[],
            dyn_args=None,
            dyn_kwargs=None,
        ) if _is_text(default):
            return PromptVariable(path=("metadata", name), default=default)
        case _:
            message = (
                f"{where}:{node.lineno}: the expression {shown(written)} is not allowed; "
                f"expected {_ALLOWED}; {_BRACES}"
            )
            raise ConfigError(message)


def _is_text(value: str) -> bool:
    """Whether UTF-8 can carry it: an escape can smuggle in half a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
