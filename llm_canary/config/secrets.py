"""Secrets by reference: the file names them, the environment or another file holds them.

Standard library only, because the data plane resolves its credentials with it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from llm_canary.errors import ConfigError
from llm_canary.opaque import Opaque

FORMS = "${NAME} or file:/absolute/path"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MAX_BYTES = 65_536


def is_reference(text: str) -> bool:
    """Say whether `text` has the form of a reference."""
    return _VARIABLE.fullmatch(text) is not None or text.startswith("file:/")


def resolve(reference: str) -> Opaque:
    """Return the secret behind `reference`; raise ConfigError that names only the reference."""
    if match := _VARIABLE.fullmatch(reference):
        return _checked(_variable(match[1]), reference)
    if reference.startswith("file:/"):
        return _checked(_file_text(reference), reference)
    # Whatever stands here may be the secret itself, so it is not repeated.
    raise ConfigError(f"a secret is written in plain text; expected a reference: {FORMS}")


def interpolate(text: str) -> str:
    """Return `text` with each `${NAME}` replaced from the environment."""
    replaced = _VARIABLE.sub(lambda match: _variable(match[1]), text)
    if "${" in _VARIABLE.sub("", text):
        raise ConfigError(f"{text!r} holds an unfinished reference; expected ${{NAME}}")
    return replaced


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        state = "not set" if value is None else "empty"
        raise ConfigError(f"environment variable {name} is {state}; set it before starting")
    return value


def _file_text(reference: str) -> str:
    path = Path(reference.removeprefix("file:"))
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "impossible path"
        raise ConfigError(f"{reference} cannot be read: {reason}") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{reference} is larger than {_MAX_BYTES} bytes, so it is no secret")
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{reference} is not UTF-8 text") from None


def _checked(secret: str, reference: str) -> Opaque:
    """Refuse what no HTTP header can carry."""
    if not secret:
        raise ConfigError(f"{reference} is empty; put the secret there")
    if not secret.isascii() or not secret.isprintable() or secret != secret.strip():
        raise ConfigError(
            f"{reference} holds spaces at its ends, line breaks or characters outside ASCII; "
            "expected one line of printable ASCII"
        )
    return Opaque(secret.encode())
