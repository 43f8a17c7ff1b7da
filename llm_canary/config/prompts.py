"""Prompt versions: Jinja2 text beside the file, content-hashed, compiled before it is served."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.sandbox import SandboxedEnvironment

from llm_canary.config.problems import shown
from llm_canary.errors import ConfigError

MAX_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt version."""

    name: str  # "support/v12"
    text: str  # rendered
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
    return Prompt(name=name, text=_render(source, where), hash=hashlib.sha256(data).hexdigest())


def _render(source: str, where: str) -> str:
    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    advice = "write literal braces between {% raw %} and {% endraw %}"
    try:
        tree = environment.parse(source)
    except TemplateSyntaxError as error:
        message = f"{where}:{error.lineno}: the Jinja2 text cannot be read; {advice}"
        raise ConfigError(message) from None
    except RecursionError:
        raise ConfigError(f"{where}: the Jinja2 text is nested too deeply; {advice}") from None
    # Without variables a statement could only compute something fixed, or compute for ever.
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, nodes.Output | nodes.TemplateData):
            message = (
                f"{where}:{node.lineno}: variables and statements are not supported yet; {advice}"
            )
            raise ConfigError(message)
    text = environment.from_string(source).render()
    if not text.strip():
        raise ConfigError(f"{where} is empty; write the system message, or drop `prompt`")
    return text
